"""What hindsight is worth: bits to be flipped (`tests/goals.py`), and FetchReach where gymnasium-robotics is installed.

Agents that do not evolve learn with a share of samples whose goals were reached, and without; everything else is equal. Then
the best one plays fifty fresh episodes:

    python tests/benchmarks/hindsight.py
    python tests/benchmarks/hindsight.py --only FetchReach-v4
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

from machine import described

import evolab as ev
from tests.goals import BitFlip

RESULT = Path(__file__).parent / "results" / "hindsight.json"
BITS = {6: 4_000, 9: 8_000, 12: 16_000}
"""Bits, and environment steps of both agents together."""
FETCH, FETCH_STEPS = "FetchReach-v4", 10_000
SHARES, AGENTS, EPISODES = (0.0, 0.8), 2, 50


def reached(environment, algorithm: str, steps: int, share: float, seed: int) -> dict:
    """The mean return, and the share of goals that were met, of the best agent after so many steps."""
    values = {"hindsight": share, "discount": 0.98}
    if algorithm == "DQN":
        values["epsilon_steps"] = steps // 4
    exp = ev.Experiment(
        environment, algorithm, population=AGENTS, num_envs=4, network=[64], hyperparameters=values, evolving=False,
        draw=False, seed=seed, device="cpu", progress=False,
    )  # fmt: skip
    started = time.process_time()
    exp.run(max_steps=steps)
    spent = round(time.process_time() - started, 1)
    best = exp.evaluate(EPISODES, seed=seed + 1_000)
    # What never meets its goal earns -1 in every step.
    met = sum(earned > -length for earned, length in zip(best.returns, best.lengths, strict=True)) / EPISODES
    exp.close()
    return {
        "seed": seed,
        "mean_return": round(float(best.mean), 2),
        "met": round(float(met), 2),
        "cpu_seconds": spent,
    }


def main() -> None:
    """Run the seeds and write what came; what was not asked for stays as it was."""
    tasks = {f"{bits} bits": (partial(BitFlip, bits), "DQN", steps) for bits, steps in BITS.items()}
    if importlib.util.find_spec("gymnasium_robotics"):
        import gymnasium
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
        tasks[FETCH] = (FETCH, "SAC", FETCH_STEPS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", default=list(tasks), choices=list(tasks))
    asked = parser.parse_args()
    found = json.loads(RESULT.read_text())["tasks"] if RESULT.exists() else {}
    for name in asked.only:
        environment, algorithm, steps = tasks[name]
        outcomes = {}
        for share in SHARES:
            outcomes[str(share)] = [
                reached(environment, algorithm, steps, share, seed) for seed in asked.seeds
            ]
            print(name, share, outcomes[str(share)], flush=True)
        found[name] = {"algorithm": algorithm, "total_steps": steps, "shares": outcomes}
        head = described() | {"agents": AGENTS, "episodes": EPISODES}
        RESULT.write_text(json.dumps(head | {"tasks": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
