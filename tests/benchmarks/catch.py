"""Does DQN with a convolutional network learn to catch a ball that it sees? Five seeds.

Two agents evolve in the game of `tests/catch.py` until their best is confirmed at 0.9 over a
hundred fresh episodes (random play returns about -0.5, perfect play 1); it is then frozen and plays
two hundred unseen ones:

    python tests/benchmarks/catch.py
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

from machine import described

import evolab as ev
from tests.catch import Catch

RESULT = Path(__file__).parent / "results" / "catch.json"
TARGET, LONGEST, UNSEEN = 0.9, 40_000, 200


def solve(seed: int) -> dict:
    """One seed: the curve, when the target was confirmed, and the unseen test."""
    exp = ev.Experiment(
        Catch,
        algorithm="DQN",
        population=2,
        num_envs=4,
        network=ev.CNN((16,), latent=32, hidden=(32,)),
        hyperparameters={"lr": 1e-3, "batch_size": 32, "epsilon_steps": 2_000, "tau": 0.02, "learn_step": 2},
        search_space={"lr": ev.Float(3e-4, 3e-3)},
        mutations=ev.Mutations(none=0.6, architecture=0.2, parameters=0.0, activation=0.0),
        steps_per_generation=2_000,
        eval_episodes=20,
        target=TARGET,
        seed=seed,
    )
    exp.fill(500)
    started, curve, solved = time.process_time(), [], None
    while solved is None and exp.total_steps < LONGEST:
        generation = exp.step()
        curve.append([generation.total_steps, round(generation.fitness, 3), generation.confirmed])
        if generation.confirmed is not None and generation.confirmed >= TARGET:
            solved = generation.total_steps
    with ev.envs.make(Catch, population=1, num_envs=1) as envs:
        unseen = float(ev.evaluate(ev.Population.of([exp.elite]), envs, UNSEEN, seed=10_000 + seed)[0])
    found = exp.elite.describe()["architecture"]
    exp.close()
    return {
        "seed": seed,
        "solved_at_total_steps": solved,
        "unseen_mean_return": unseen,
        "architecture": found,
        "cpu_seconds": round(time.process_time() - started, 1),
        "curve": curve,
    }


def main() -> None:
    """Run the seeds and write what came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    outcomes = []
    for seed in parser.parse_args().seeds:
        outcomes.append(solve(seed))
        print({name: value for name, value in outcomes[-1].items() if name != "curve"}, flush=True)
    steps = [one["solved_at_total_steps"] or float("inf") for one in outcomes]
    head = described() | {"target": TARGET, "solved": int(np.isfinite(steps).sum())}
    head |= {
        "median_total_steps": float(np.median(steps)) if np.isfinite(np.median(steps)) else None,
        "median_unseen_return": float(np.median([one["unseen_mean_return"] for one in outcomes])),
    }
    RESULT.write_text(json.dumps(head | {"seeds": outcomes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
