"""How fast is the whole TD3 loop on one thread? Environment steps per second, evaluation excluded.

Acting, stepping Lunar Lander, storing and learning at one update per environment step (2x64,
batch 128), for a fresh population and for one mutated over ten generations; also selection and
mutation alone. Beside it the rate of the matrix product that the figures stand on:

    python tests/benchmarks/loop.py
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from machine import described, gemm_rate

import evolab as ev

RESULT = Path(__file__).parent / "results" / "loop.json"


def steps_per_second(
    agents: int, mutated: bool, vector_steps: int = 60, repeats: int = 7, device: str = "cpu"
) -> float:
    """Median over the repeats."""
    envs = ev.envs.make("LunarLanderContinuous-v3", population=agents, num_envs=8, seed=1)
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


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    rows = []
    before = gemm_rate()
    for agents in (1, 4, 16, 64):
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
        "evolution_of_64_ms": round(1000 * evolution, 1),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
