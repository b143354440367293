"""Would it pay to step environments while the population learns? TD3's loop with and without it, in turns.

A thread steps the environments with actions of the policies before the update, while the updates run: the kernels
hold no interpreter lock, nor does waiting for other processes. Measured for Lunar Lander in this process, and for
an environment of 2 ms a step, computing or waiting, in processes of its own:

    python tests/benchmarks/overlap.py

In this process it costs 4% to 7%: environments and updates wait for the same interpreter. In processes of their own
it gains 7% where two cores compute all the time, and a quarter where environments wait. So `overlap=True` is an
option of experiments with `vectorization="async"`, and off.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from machine import described

import evolab as ev

RESULT = Path(__file__).parent / "results" / "overlap.json"
MILLISECONDS = 2.0


class Slow(gymnasium.Env[Any, Any]):
    """A step takes 2 ms: of computing, or of waiting for something elsewhere."""

    def __init__(self, waiting: bool) -> None:
        self.observation_space = spaces.Box(-1, 1, (8,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.waiting = waiting

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Nothing happens here."""
        super().reset(seed=seed)
        return np.zeros(8, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take 2 ms."""
        end = time.perf_counter() + MILLISECONDS / 1000
        if self.waiting:
            time.sleep(MILLISECONDS / 1000)
        while not self.waiting and time.perf_counter() < end:
            pass
        return self.np_random.normal(size=8).astype(np.float32), 0.0, False, False, {}


class Loop:
    """A population in its environments, with a buffer that is long enough."""

    def __init__(self, environment: Any, agents: int, num_envs: int, vectorization: str) -> None:
        self.envs = ev.envs.make(
            environment, population=agents, num_envs=num_envs, seed=1, vectorization=vectorization
        )
        about = self.envs.single_observation_space, self.envs.single_action_space
        self.population = ev.Population(
            "TD3",
            *about,
            size=agents,
            network=[64, 64],
            seed=1,
            device="cpu",
            hyperparameters={"batch_size": 128},
        )
        self.buffer, stream = ev.ReplayBuffer(100_000), np.random.default_rng(1)
        self.observation = self.envs.reset(seed=1)
        while len(self.buffer) < 256:
            self._keep(self.envs.step(self.population.random_actions(num_envs, stream)))
        self.pool = ThreadPoolExecutor(1)

    def _keep(self, transition: Any) -> None:
        self.buffer.add(transition)
        self.observation = transition.reset_observation

    def one_after_the_other(self) -> None:
        """Act, step, learn."""
        self._keep(self.envs.step(self.population.act(self.observation)))
        self.population.learn(self.buffer)

    def overlapped(self) -> None:
        """Act, then step and learn at once; the newest transitions wait for the next update."""
        stepped = self.pool.submit(self.envs.step, self.population.act(self.observation))
        self.population.learn(self.buffer)
        self._keep(stepped.result())

    def close(self) -> None:
        """Free everything."""
        self.pool.shutdown()
        self.envs.close()


def measured(
    environment: Any, agents: int, num_envs: int, vectorization: str, repeats: int = 7
) -> dict[str, Any]:
    """Environment steps per second both ways, and the median of their ratios."""
    loop = Loop(environment, agents, num_envs, vectorization)
    rates: dict[str, list[float]] = {"one after the other": [], "overlapped": []}
    for repeat in range(repeats + 1):
        for name, step in zip(rates, (loop.one_after_the_other, loop.overlapped), strict=True):
            started, steps = time.perf_counter(), 0
            while time.perf_counter() - started < 0.7:
                step()
                steps += agents * num_envs
            if repeat:
                rates[name].append(steps / (time.perf_counter() - started))
    loop.close()
    ratio = float(np.median(np.array(rates["overlapped"]) / np.array(rates["one after the other"])))
    return {name: round(float(np.median(found))) for name, found in rates.items()} | {
        "ratio": round(ratio, 2)
    }


def main() -> None:
    """Measure, print, write."""
    cases = {
        "Lunar Lander, in this process": ("LunarLanderContinuous-v3", "sync", [(4, 8), (16, 8), (64, 8)]),
        "computing 2 ms, in processes": (partial(Slow, False), "async", [(4, 2)]),
        "waiting 2 ms, in processes": (partial(Slow, True), "async", [(4, 2)]),
    }
    rows = []
    for name, (environment, vectorization, sizes) in cases.items():
        for agents, num_envs in sizes:
            row = {"environment": name, "agents": agents, "num_envs": num_envs}
            rows.append(row | measured(environment, agents, num_envs, vectorization))
            print(rows[-1], flush=True)
    about = described() | {"threads": torch.get_num_threads()}
    RESULT.write_text(json.dumps({**about, "loop": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
