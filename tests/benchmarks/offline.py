"""Learning from data, measured: a narrow expert, random data, FQE's ranking, TD3+BC.

Run `python tests/benchmarks/offline.py narrow|random|fqe|td3bc`; each writes its figures to
results/offline_<name>.json beside this file. The random data are `cartpole_random_v1.1.0.h5`
in the folder EVOLAB_DATA (by default `shared/data` beside the checkout).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
import torch

import evolab as ev
from evolab.evaluation import Evaluated, evaluating
from evolab.sources.offline import buffer_from

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("EVOLAB_DATA") or HERE.parents[2] / "shared" / "data")
RANDOM = SHARED / "cartpole_random_v1.1.0.h5"


def controller(observation: np.ndarray) -> Any:
    """A CartPole policy that always reaches 500: push towards where the pole falls."""
    return (np.asarray(observation) @ np.array([0.1, 0.25, 1.0, 0.5]) > 0).astype(np.int64)


def returns(population: ev.Population, env: str, episodes: int, seed: int) -> np.ndarray:
    """[P, K]: undiscounted returns of every agent over the same K episodes."""
    with ev.envs.make(env, population=len(population), num_envs=episodes) as envs:
        *_, last = evaluating(population, envs, seed)
    assert isinstance(last, Evaluated)
    return last.returns


def save(name: str, figures: dict[str, Any]) -> None:
    """Write and print the figures with the commit and the machine they come from."""
    git = ["git", "-C", str(HERE)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "../../evolab"]).returncode != 0
    about = {
        "commit": commit + (" with changes" if dirty else ""),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    path = HERE / "results" / f"offline_{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**figures, "measured": about}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


def narrow(updates: int = 3_000) -> dict[str, Any]:
    """A deterministic expert's 10 000 steps: CQN imitates, alpha = 0 believes what was never tried."""
    data = ev.collect("CartPole-v1", controller, steps=10_000, seed=0, num_envs=4)
    rows: dict[str, Any] = {"data mean return": data.mean_return, "updates": updates}
    for alpha in (1.0, 0.0):
        means = []
        for seed in range(3):
            buffer, (observations, actions) = buffer_from(data)
            population = ev.Population(
                "CQN", observations, actions, 1, hyperparameters={"cql_alpha": alpha}, seed=seed
            )
            population.learn(buffer, updates=updates)
            means.append(float(returns(population, "CartPole-v1", 100, seed=10_000 + seed).mean()))
        rows[f"cql_alpha {alpha:g}"] = means
    rows["goal"] = "at least 475 each with cql_alpha 1, below 100 each with 0; 100 unseen episodes"
    return rows


def random(generations: int = 20) -> dict[str, Any]:
    """Population 4 on random data, judged in the environment; its elite on 100 unseen episodes."""
    rows = []
    for seed in range(5):
        started = time.perf_counter()
        exp = ev.Experiment(
            "CartPole-v1", "CQN", population=4, steps_per_generation=750, eval_episodes=10, seed=seed
        )
        exp.fill(RANDOM)
        exp.run(generations=generations, target=500.0)
        seconds = time.perf_counter() - started
        elite = exp.elite
        unseen = returns(elite._population, "CartPole-v1", 100, seed=20_000 + seed)
        rows.append(
            {
                "seed": seed,
                "elite mean of 100": float(unseen.mean()),
                "confirmed": float(elite.fitness),
                "generations": exp.generation,
                "seconds": seconds,
            }
        )
        print(rows[-1], flush=True)
        exp.close()
    scores = [row["elite mean of 100"] for row in rows]
    return {
        "runs": rows,
        "median": float(np.median(scores)),
        "longest seconds": max(row["seconds"] for row in rows),
        "goal": "median of 5 seeds at least 400; under 180 s each",
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", gym.error.DependencyNotInstalled)
    chosen = sys.argv[1:] or ["narrow", "random", "fqe", "td3bc"]
    for name in chosen:
        save(name, globals()[name]())
