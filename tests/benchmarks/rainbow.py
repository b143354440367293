"""What each of Rainbow's parts is worth alone, and all of them together: returns of DQN agents that do not evolve.

Agents differ in their weights, their environments and their draws, and share nothing: each is a seed. A part is an option or
a hyperparameter of DQN; everything else is equal, and nothing was tuned for a task:

    python tests/benchmarks/rainbow.py
    python tests/benchmarks/rainbow.py --only CartPole-v1 --parts double noisy
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from machine import described

import evolab as ev

RESULT = Path(__file__).parent / "results" / "rainbow.json"
TASKS = {"CartPole-v1": 8_000, "Acrobot-v1": 8_000, "LunarLander-v3": 20_000}
"""Environment steps that each agent learns from."""
SEEDS, MARKS, EPISODES = 4, 8, 4
"""Agents, how often all of them are measured, and greedy episodes of each then."""
PRIORITIES, STEPS = {"priority": 0.6, "importance": 0.4}, {"n_step": 3}
PARTS = {
    "double": (ev.DQN(), {}),
    "priorities": (ev.DQN(), PRIORITIES),
    "three steps": (ev.DQN(), STEPS),
    "dueling": (ev.DQN(dueling=True), {}),
    "noisy": (ev.DQN(noisy=True), {}),
    "quantiles": (ev.QRDQN(), {}),
    "all": (ev.QRDQN(dueling=True, noisy=True), PRIORITIES | STEPS),
}


def learned(task: str, part: str) -> dict:
    """Returns at every mark, in the order of agents, and what they cost."""
    algorithm, values = PARTS[part]
    exp = ev.Experiment(
        task, algorithm, population=SEEDS, num_envs=4, network=[64, 64], evolving=False, revive=False, draw=False,
        hyperparameters={"epsilon_steps": TASKS[task] // 4, **values}, search_space={}, normalise=(),
        buffer=ev.ReplayBuffer(50_000, shared=False), update_ratio=0.25, fitness="return", eval_episodes=EPISODES,
        steps_per_generation=TASKS[task] // MARKS, seed=0, device="cpu", progress=False,
    )  # fmt: skip
    started = time.process_time()
    exp.run(generations=MARKS)
    spent = round(time.process_time() - started, 1)
    found = exp.history.fitness.pivot(index="generation", columns="agent", values="fitness")
    steps = {"total_steps": exp.total_steps, "evaluation_steps": exp.evaluation_steps, "cpu_seconds": spent}
    exp.close()
    return {"curves": [[round(value, 1) for value in found[agent]] for agent in found], **steps}


def main() -> None:
    """Run what was asked for and write what came; the rest stays as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(RESULT.read_text())["tasks"] if RESULT.exists() else {}
    for task in asked.only:
        for part in asked.parts:
            outcome = learned(task, part)
            found.setdefault(task, {})[part] = outcome
            curves = outcome["curves"]
            means = [round(sum(curve) / len(curve)) for curve in curves]
            print(task, part, means, [curve[-1] for curve in curves], outcome["cpu_seconds"], flush=True)
            head = described() | {
                "agents": SEEDS,
                "episodes": EPISODES,
                "steps_of_each": {one: TASKS[one] for one in found},
            }
            RESULT.write_text(json.dumps(head | {"tasks": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
