"""How long does an update take, and how much of the machine's matrix product is that?

Every algorithm at 1, 4, 16 and 64 agents, hidden layers 2x64 and 2x256, batches of 128 and 256,
on one thread. The multiply-adds are counted by torch, the ceiling is the same run's batched
product of the same widths:

    python tests/benchmarks/updates.py
    python tests/benchmarks/updates.py TD3 --agents 16 --hidden 64 --batch 128
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from machine import described, gemm_rate
from torch.utils.flop_counter import FlopCounterMode

import evolab as ev

RESULT = Path(__file__).parent / "results" / "updates.json"
ALGORITHMS = ("DQN", "CQN", "DDPG", "TD3", "TD3BC", "SAC")
DISCRETE = ("DQN", "CQN")
STORED = 5_000


def case(algorithm: str, agents: int, hidden: int, batch: int) -> tuple[ev.Population, ev.ReplayBuffer]:
    """A population on Lunar Lander's spaces, and made-up experience."""
    actions = Discrete(4) if algorithm in DISCRETE else Box(-1, 1, (2,))
    population = ev.Population(
        algorithm,
        Box(-1, 1, (8,)),
        actions,
        size=agents,
        network=ev.MLP([hidden, hidden]),
        hyperparameters={"batch_size": batch},
        seed=1,
        device="cpu",
    )
    stream = np.random.default_rng(1)
    buffer = ev.ReplayBuffer(STORED)
    discrete = algorithm in DISCRETE
    buffer.add(
        SimpleNamespace(
            observation=stream.normal(size=(STORED, 8)).astype("f"),
            action=stream.integers(0, 4, STORED)
            if discrete
            else stream.uniform(-1, 1, (STORED, 2)).astype("f"),
            reward=stream.normal(size=STORED).astype("f"),
            next_observation=stream.normal(size=(STORED, 8)).astype("f"),
            terminated=stream.random(STORED) < 0.01,
            valid=None,
        )
    )
    return population, buffer


def measured(algorithm: str, agents: int, hidden: int, batch: int, repeats: int = 5) -> dict[str, float]:
    """Medians over the repeats, each as many updates as take some tenths of a second."""
    population, buffer = case(algorithm, agents, hidden, batch)
    population.learn(buffer, updates=4)
    with FlopCounterMode(display=False) as counter:
        population.learn(buffer, updates=2)  # two: a delayed policy moves once
    operations = counter.get_total_flops() / 2 / agents
    started = time.perf_counter()
    population.learn(buffer, updates=2)
    count = max(2, 2 * int(0.15 / (time.perf_counter() - started)))
    seconds, rates = [], []
    for _ in range(repeats):
        rates.append(gemm_rate(3, hidden))
        started = time.perf_counter()
        population.learn(buffer, updates=count)
        seconds.append((time.perf_counter() - started) / count / agents)
    micro, ceiling = 1e6 * float(np.median(seconds)), float(np.max(rates))
    return {
        "microseconds_per_agent": round(micro, 1),
        "megaflop": round(operations / 1e6, 2),
        "gemm_gflops": round(ceiling, 1),
        "share_of_gemm": round(operations / (micro * 1e3) / ceiling, 3),
    }


def main() -> None:
    """Measure what was asked for, print a table, and write it where everything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithms", nargs="*")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 256])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':8s}{'hidden':>8s}{'batch':>7s}{'agents':>8s}{'us/agent':>11s}{'MFLOP':>8s}{'of GEMM':>9s}")
    rows = []
    for algorithm in options.algorithms or ALGORITHMS:
        for hidden in options.hidden:
            for batch in options.batch:
                for agents in options.agents:
                    row = measured(algorithm, agents, hidden, batch)
                    rows.append(
                        {"algorithm": algorithm, "hidden": hidden, "batch": batch, "agents": agents, **row}
                    )
                    print(
                        f"{algorithm:8s}{f'2x{hidden}':>8s}{batch:7d}{agents:8d}"
                        f"{row['microseconds_per_agent']:11.1f}{row['megaflop']:8.1f}{row['share_of_gemm']:9.0%}",
                        flush=True,
                    )
    if not options.algorithms:
        RESULT.write_text(json.dumps({**described(), "updates": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
