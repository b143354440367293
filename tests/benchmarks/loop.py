"""How fast is the whole TD3 loop on one thread? Environment steps per second, evaluation excluded.

Acting, stepping Lunar Lander, storing and learning at one update per environment step (2x64,
batch 128), for a fresh population and for one mutated over ten generations; also selection and
mutation alone, and where the time of whole runs of some generations goes. Beside it the rate of the matrix
product that the figures stand on:

    python tests/benchmarks/loop.py
    python tests/benchmarks/loop.py shares
    EVOLAB_CPU=x86-64-v3 MKL_ENABLE_INSTRUCTIONS=AVX2 python tests/benchmarks/loop.py

The second measures the shares alone, the last what AVX2 gives, into a result of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import described, gemm_rate

import evolab as ev
from evolab.networks.kernels import adam_rows, build, perceptrons, td_updates
from evolab.training import loop

CPU = os.environ.get("EVOLAB_CPU")  # compiled for another processor, its results apart
RESULT = Path(__file__).parent / "results" / f"loop{f'_{CPU}' if CPU else ''}.json"
LANDER = "LunarLanderContinuous-v3"


def steps_per_second(
    agents: int, mutated: bool, vector_steps: int = 60, repeats: int = 7, device: str = "cpu"
) -> float:
    """Median over the repeats."""
    envs = ev.envs.make(LANDER, population=agents, num_envs=8, seed=1)
    spaces = envs.single_observation_space, envs.single_action_space
    population = ev.Population("TD3", *spaces, size=agents, network=ev.MLP([64, 64]), seed=1, device=device)
    buffer = ev.ReplayBuffer(100_000)
    stream = np.random.default_rng(1)
    if mutated:
        for generation in range(10):
            ev.evolve(
                population,
                stream.normal(size=agents),
                ev.Tournament(size=min(2, agents)),
                ev.Mutations(),
                generation=generation,
            )
    observation = envs.reset(seed=1)
    while len(buffer) < 2_000:
        transition = envs.step(population.random_actions(8, stream))
        buffer.add(transition)
        observation = transition.reset_observation
    rates = []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        for _ in range(vector_steps):
            transition = envs.step(population.act(observation))
            buffer.add(transition)
            population.learn(buffer)
            observation = transition.reset_observation
        if repeat:
            rates.append(vector_steps * 8 * agents / (time.perf_counter() - started))
    envs.close()
    return float(np.median(rates))


def evolution_seconds(agents: int = 64) -> float:
    """Selection plus mutation plus a new layout, median of ten."""
    from gymnasium.spaces import Box

    population = ev.Population("TD3", Box(-1, 1, (8,)), Box(-1, 1, (2,)), size=agents, seed=1, device="cpu")
    stream = np.random.default_rng(1)
    seconds = []
    for generation in range(10):
        started = time.perf_counter()
        ev.evolve(
            population,
            stream.normal(size=agents),
            ev.Tournament(size=min(2, agents)),
            ev.Mutations(),
            generation=generation,
        )
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


class Stopwatch:
    """Seconds by name: those of calls while it runs, and of what stops it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.runs = True

    def of(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                if self.runs:
                    self.add(name, time.perf_counter() - started)

        timed.argtypes = getattr(call, "argtypes", None)  # type: ignore[attr-defined]
        return timed

    def instead(self, name: str, work: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """`work`, a generator, timed as a whole; what happens inside of it is not counted apart."""

        def timed(*args: Any) -> Any:
            self.runs, started = False, time.perf_counter()
            try:
                return (yield from work(*args))
            finally:
                self.runs = True
                self.add(name, time.perf_counter() - started)

        return timed

    def add(self, name: str, seconds: float) -> None:
        """So much more of it."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class Timed:
    """The kernels, timed."""

    def __init__(self, kernels: Any, watch: Stopwatch) -> None:
        self._kernels, self._watch = kernels, watch

    def __getattr__(self, name: str) -> Any:
        return self._watch.of("products", getattr(self._kernels, name))


def shares(agents: int, algorithm: str = "TD3", generations: int = 3, steps: int = 320) -> dict[str, Any]:
    """Where the time of a whole run goes: of its last generations, checkpoints and displays apart."""
    experiment = ev.Experiment(
        LANDER, algorithm, population=agents, num_envs=8, network=[64, 64], hyperparameters={"batch_size": 128},
        update_ratio=1.0, steps_per_generation=steps, seed=1,
    )  # fmt: skip
    experiment.fill(2_000)
    state, watch = experiment._state, Stopwatch()
    for _ in loop.train(state, generations=1):  # warms up, and declares what the kernels take
        pass
    replaced = [
        *((module, "library") for module in (adam_rows, perceptrons, td_updates)),
        *((loop, name) for name in ("_evaluate", "confirm")),
    ]
    before = [getattr(module, name) for module, name in replaced]
    kernels = Timed(build.library(torch.float32), watch)
    for module, name in replaced:
        new = (
            (lambda dtype: kernels)
            if name == "library"
            else watch.instead("evaluation", getattr(module, name))
        )
        setattr(module, name, new)
    envs, since = state.envs, time.perf_counter()
    assert envs is not None
    state.population.rebuild(
        [state.population.individual(row) for row in range(agents)]
    )  # with these kernels
    for name in ("step", "reset"):
        setattr(envs, name, watch.of("environments", getattr(envs, name)))
    try:
        for _ in loop.train(state, generations=generations):
            pass
        whole = time.perf_counter() - since
    finally:
        for (module, name), was in zip(replaced, before, strict=True):
            setattr(module, name, was)
    found = {name: round(seconds / whole, 3) for name, seconds in sorted(watch.seconds.items())}
    found["everything else"] = round(1 - sum(watch.seconds.values()) / whole, 3)
    return {"algorithm": algorithm, "agents": agents, "seconds": round(whole, 2), "shares": found}


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    told = [shares(agents) for agents in (4, 16)]
    for one in told:
        print(json.dumps(one), flush=True)
    if sys.argv[1:] == ["shares"]:
        return
    rows = []
    before = gemm_rate()
    for agents in (1, 4, 16) if CPU else (1, 4, 16, 64):
        for mutated in (False, True):
            rate = steps_per_second(agents, mutated)
            rows.append({"agents": agents, "mutated": mutated, "steps_per_second": round(rate)})
            print(
                f"P = {agents:3d}  {'mutated' if mutated else 'fresh':8s} {rate:8.0f} environment steps/s",
                flush=True,
            )
    evolution = evolution_seconds()
    gemm = max(before, gemm_rate())
    print(f"selection and mutation of 64 agents: {1000 * evolution:.1f} ms; bmm: {gemm:.1f} GFLOP/s")
    result = {
        **described(),
        "gemm_gflops": round(gemm, 1),
        "loop": rows,
        "where_the_time_goes": told,
        "evolution_of_64_ms": round(1000 * evolution, 1),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
