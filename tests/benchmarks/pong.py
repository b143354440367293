"""Does DQN learn Pong from pixels? One agent, the network of Mnih et al. 2015, a million steps, one core.

Nothing evolves and nothing is searched: what is measured is learning from pictures, with the hyperparameters that are
published for Atari's games (Mnih et al. 2015; copies of the targets are averages here). Every 10 000 steps the agent plays
three greedy episodes. What has been reached is a checkpoint, and the same command goes on from it:

    python tests/benchmarks/pong.py --run pong_run
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

from machine import described

import evolab as ev

RESULT = Path(__file__).parent / "results" / "pong.json"
GAME, STEPS, BUFFER, EVERY, SAVED_EVERY = "ALE/Pong-v5", 1_000_000, 100_000, 10_000, 20_000
EPISODES, LONGEST = 3, 27_000  # the game's own limit, in steps of four frames
NATURE = ev.CNN([32, 64, 64], kernels=[8, 4, 3], strides=[4, 2, 1], padding=0, latent=512, hidden=[])
PUBLISHED = {
    "lr": 1e-4,
    "discount": 0.99,
    "batch_size": 32,
    "tau": 0.005,
    "learn_step": 4,
    "epsilon_start": 1.0,
    "epsilon_end": 0.01,
    "epsilon_steps": 100_000,
}


def begun(seed: int) -> ev.Experiment:
    """The experiment before its first step."""
    exp = ev.Experiment(
        GAME,
        ev.DQN(huber=1.0),
        population=1,
        num_envs=4,
        frame_stack=4,
        network=NATURE,
        hyperparameters=PUBLISHED,
        search_space={},
        draw=False,
        normalise=(),
        evolving=False,
        revive=False,
        fitness="return",  # one step of one episode: what is measured is played by itself
        eval_episodes=1,
        eval_steps=1,
        update_ratio=1,
        steps_per_generation=EVERY,
        buffer=ev.ReplayBuffer(BUFFER),
        device="cpu",
        seed=seed,
        progress=False,
    )
    exp.fill(EVERY)
    return exp


def memory() -> float:
    """The most memory that this process ever had, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def go_on(folder: Path, seed: int, steps: int) -> dict[str, Any]:
    """Learn until so many steps, from the checkpoint where there is one; the curve so far, written at each mark."""
    record_file = folder / "pong.json"
    record: dict[str, Any] = {"seed": seed, "curve": [], "cpu_seconds": 0.0, "peak_memory_gib": 0.0}
    if record_file.exists():
        record = json.loads(record_file.read_text())
        exp = ev.Experiment.load(folder / "checkpoint")
    else:
        exp = begun(seed)
    record["curve"] = [mark for mark in record["curve"] if mark["steps"] <= exp.total_steps]
    began, before = time.process_time(), record["cpu_seconds"]
    while exp.total_steps < steps:
        exp.step()
        played = exp.evaluate(EPISODES, exp.population[0], seed=exp.total_steps, max_steps=LONGEST)
        record["curve"].append({"steps": exp.total_steps, "returns": [float(one) for one in played.returns]})
        record |= {
            "cpu_seconds": round(before + time.process_time() - began, 1),
            "peak_memory_gib": round(max(record["peak_memory_gib"], memory()), 2),
        }
        print(record["curve"][-1], record["cpu_seconds"], record["peak_memory_gib"], flush=True)
        if exp.total_steps % SAVED_EVERY < EVERY or exp.total_steps >= steps:
            exp.save(folder / "checkpoint", overwrite=True)
            record_file.write_text(json.dumps(record))
    exp.close()
    return record


def main() -> None:
    """Go on with a run and write what came."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    given.run.mkdir(parents=True, exist_ok=True)
    record = go_on(given.run, given.seed, given.steps)
    RESULT.write_text(
        json.dumps(described() | {"game": GAME, "hyperparameters": PUBLISHED} | record, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
