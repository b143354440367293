"""What does it change where environments give tensors, against the same ones by way of numpy?

The whole loop, acting, storing and learning, and the same without learning, in the torch CartPole of
`tests/torch_cartpole.py`; beside it the same environment as one of Gymnasium's, whose arrays are views of its tensors. In
turns, in CPU time, one thread:

    python tests/benchmarks/on_device.py

On a CPU nothing is copied from one device to another either way: what differs is which library does the small sums.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

from machine import described

import evolab as ev
from tests.torch_cartpole import TorchCartPole

RESULT = Path(__file__).parent / "results" / "on_device.json"
REPEATS, STEPS = 9, 300
SIZES = [(4, 8), (4, 64), (4, 512)]
"""Agents, and environments of each."""


class ByNumpy(gymnasium.vector.VectorEnv):
    """The same environment, as arrays."""

    def __init__(self, num_envs: int) -> None:
        self.inner = TorchCartPole(num_envs)
        self.num_envs, self.metadata = num_envs, self.inner.metadata
        self.single_observation_space = self.inner.single_observation_space
        self.single_action_space = self.inner.single_action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Arrays in the place of tensors."""
        seen, info = self.inner.reset(seed=seed, options=options)
        return seen.numpy(), info

    def step(self, action: np.ndarray) -> Any:
        """Arrays in the place of tensors."""
        *told, info = self.inner.step(torch.from_numpy(action))
        return (*(one.numpy() for one in told), info)


class Loop:
    """One population in one kind of environments."""

    def __init__(self, kind: Any, agents: int, num_envs: int, learns: bool) -> None:
        self.envs = ev.envs.make(vector=lambda n, seed: kind(n), population=agents, num_envs=num_envs, seed=0)
        spaces = self.envs.single_observation_space, self.envs.single_action_space
        self.population = ev.Population("DQN", *spaces, agents, network=[64, 64], seed=0, device="cpu")
        self.buffer, self.learns = ev.ReplayBuffer(100_000), learns
        self.observation, self.ended = self.envs.reset(), None

    def run(self, steps: int) -> float:
        """Environment steps per second of CPU time."""
        started = time.process_time()
        for _ in range(steps):
            action = self.population.act(self.observation, ended=self.ended)
            transition = self.envs.step(action)
            self.buffer.add(transition)
            if self.learns and len(self.buffer) >= 1_000:
                self.population.learn(self.buffer, ratio=1 / self.envs.num_envs)
            self.observation, self.ended = transition.reset_observation, transition.ended
        spent = time.process_time() - started
        return steps * self.envs.population * self.envs.num_envs / spent


def main() -> None:
    """Measure in turns, print, write."""
    torch.set_num_threads(1)
    rows = []
    for agents, num_envs in SIZES:
        for learns in (False, True):
            loops = {
                name: Loop(kind, agents, num_envs, learns)
                for name, kind in (("tensors", TorchCartPole), ("numpy", ByNumpy))
            }
            for one in loops.values():
                one.run(300)
            found = {name: [] for name in loops}
            for _ in range(REPEATS):
                for name, one in loops.items():
                    found[name].append(one.run(STEPS))
            ratio = np.array(found["tensors"]) / np.array(found["numpy"])
            rows.append(
                {
                    "agents": agents,
                    "environments_of_each": num_envs,
                    "learns": learns,
                    "tensors_steps_per_second": round(float(np.median(found["tensors"]))),
                    "numpy_steps_per_second": round(float(np.median(found["numpy"]))),
                    "times_as_fast": round(float(np.median(ratio)), 2),
                    "least_and_most": [round(float(ratio.min()), 2), round(float(ratio.max()), 2)],
                }
            )
            print(rows[-1], flush=True)
    RESULT.write_text(json.dumps(described() | {"loops": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
