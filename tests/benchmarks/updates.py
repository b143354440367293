"""How long does an update take, and how much of the machine's matrix product is that?

Every algorithm at 1, 4, 16 and 64 agents, hidden layers 2x64 and 2x256, batches of 128 and 256,
on one thread, in CPU time. The multiply-adds are counted by torch in the same update made of its operations, the
ceiling is the batched product of the same widths just before and after: the share is a median of such pairs, as
others who use the machine's caches slow both.

    python tests/benchmarks/updates.py
    python tests/benchmarks/updates.py TD3 --agents 16 --hidden 64 --batch 128
    python tests/benchmarks/updates.py TD3 SAC --keep
    python tests/benchmarks/updates.py --profile
    python tests/benchmarks/updates.py --threads 2
    EVOLAB_CPU=x86-64-v3 MKL_ENABLE_INSTRUCTIONS=AVX2 python tests/benchmarks/updates.py

The first writes the result anew, the third into the result of other algorithms' parts, the fourth adds where the
time of an update goes, the fifth how much faster updates are on two cores than on one, in turns, by the clock of a
quiet machine, the last measures what AVX2 gives, beside MKL's product with AVX2, into a result of its own.
PPO's update is one minibatch of a rollout, its share of the one pass over the whole rollout included.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from machine import described, gemm_beside
from torch.utils.flop_counter import FlopCounterMode

import evolab as ev
from evolab.networks.kernels import adam_rows as rows
from evolab.networks.kernels import build
from evolab.networks.kernels import td_updates as updates
from evolab.networks.mlp.compiled_kernel import CompiledMLPKernel

CPU = os.environ.get("EVOLAB_CPU")  # compiled for another processor, its results apart
RESULT = Path(__file__).parent / "results" / f"updates{f'_{CPU}' if CPU else ''}.json"
ALGORITHMS = ("DQN", "QRDQN", "CQN", "DDPG", "TD3", "TD3BC", "SAC", "TQC", "PPO")
DISCRETE = ("DQN", "QRDQN", "CQN")
STORED = 5_000
KEYS = ("algorithm", "hidden", "batch", "agents")


class Plain(ev.MLP):
    """The same networks, made of torch's operations, which torch can count."""

    def computes_unpadded(self, like: torch.Tensor) -> bool:
        """Never."""
        return False


class Timed:
    """The kernels, with a stopwatch."""

    def __init__(self, kernels: Any, seconds: dict[str, float]) -> None:
        self.kernels, self.seconds = kernels, seconds

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.kernels, name)

        def timed(*about: Any) -> Any:
            started = time.perf_counter()
            result = call(*about)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
            return result

        timed.argtypes = call.argtypes
        return timed


def population_of(
    algorithm: str,
    agents: int,
    hidden: int,
    batch: int,
    network: type[ev.MLP] = ev.MLP,
    device: str = "cpu",
    precision: str = "float32",
) -> ev.Population:
    """A population on Lunar Lander's spaces."""
    return ev.Population(
        algorithm,
        Box(-1, 1, (8,)),
        Discrete(4) if algorithm in DISCRETE else Box(-1, 1, (2,)),
        size=agents,
        network=network([hidden, hidden]),
        hyperparameters={"batch_size": batch},
        seed=1,
        device=device,
        precision=precision,
    )


def case(population: ev.Population) -> Callable[[int], int]:
    """Made-up experience: a function that makes so many updates."""
    algorithm = population.algorithm.name
    if algorithm == "PPO":
        return rollouts(population)
    buffer = ev.ReplayBuffer(STORED, device=population.device)
    buffer.add(experience((STORED,), algorithm in DISCRETE))

    def learn(count: int) -> int:
        population.learn(buffer, updates=count)
        return count

    return learn


def rollouts(population: ev.Population) -> Callable[[int], int]:
    """PPO's updates: passes over a rollout of 64 steps in 8 environments, the same one again and again."""
    buffer = ev.RolloutBuffer(64)
    while not buffer.full:
        buffer.add(experience((len(population), 8), discrete=False))

    def learn(updates: int) -> int:
        made, first = 0, population.individuals[0]
        while made < updates:
            before, buffer.steps = first.updates, buffer.horizon
            population.learn(buffer)
            made += first.updates - before
        return made

    return learn


def experience(shape: tuple[int, ...], discrete: bool) -> SimpleNamespace:
    """Transitions of nowhere."""
    stream = np.random.default_rng(1)
    return SimpleNamespace(
        observation=stream.normal(size=(*shape, 8)).astype("f"),
        action=stream.integers(0, 4, shape) if discrete else stream.uniform(-1, 1, (*shape, 2)).astype("f"),
        reward=stream.normal(size=shape).astype("f"),
        next_observation=stream.normal(size=(*shape, 8)).astype("f"),
        terminated=stream.random(shape) < 0.01,
        truncated=np.zeros(shape, bool),
        valid=None if len(shape) == 1 else np.ones(shape, bool),
    )


def measured(algorithm: str, agents: int, hidden: int, batch: int, repeats: int = 9) -> dict[str, float]:
    """Medians over the repeats, each as many updates as take some tenths of a second."""
    counted = case(population_of(algorithm, agents, hidden, batch, Plain))
    with FlopCounterMode(display=False) as counter:
        made = counted(2)  # two: a delayed policy moves once
    learn = case(population_of(algorithm, agents, hidden, batch))
    learn(4)
    operations = counter.get_total_flops() / made / agents
    started = time.process_time()
    made = learn(2)
    count = max(2, 2 * int(0.15 * made / 2 / (time.process_time() - started)))
    seconds, rates = [], []
    before = gemm_beside(hidden)
    for _ in range(repeats):
        started = time.process_time()
        made = learn(count)
        seconds.append((time.process_time() - started) / made / agents)
        after = gemm_beside(hidden)
        rates.append((before + after) / 2)
        before = after
    micro = 1e6 * np.array(seconds)
    return {
        "microseconds_per_agent": round(float(np.median(micro)), 1),
        "megaflop": round(operations / 1e6, 2),
        "gemm_gflops": round(float(np.median(rates)), 1),
        "gflops": round(float(operations / np.median(micro) / 1e3), 1),
        "share_of_gemm": round(float(np.median(operations / (micro * 1e3) / np.array(rates))), 3),
    }


def profiled(algorithm: str, hidden: int, agents: int = 16, batch: int = 128) -> dict[str, object]:
    """Shares of an update's time inside the kernels (products, activations, Adam's steps) and outside of them."""
    population = population_of(algorithm, agents, hidden, batch)
    learn = case(population)
    learn(16)
    seconds: dict[str, float] = {}
    timed = Timed(build.library(torch.float32), seconds)
    for group in population.groups:
        for bound in group.bound.values():
            if isinstance(bound.kernel, CompiledMLPKernel):
                bound.kernel.every.kernels = bound.kernel.single.kernels = timed
    before = rows.library
    rows.library = updates.library = lambda dtype: timed
    started = time.perf_counter()
    learn(64)
    learn(max(64, 8 * int(8 / (time.perf_counter() - started))))
    total = time.perf_counter() - started
    rows.library = updates.library = before
    parts = {
        "whole updates": "learn",
        "whole rollouts": "learn_rollouts",
        "regressions, Adam's step included": "regress",
        "passes forward": "forward",
        "passes backward": "backward",
        "Adam": "adam",
        "targets follow": "polyak_update",
    }
    shares = {name: round(seconds[call] / total, 3) for name, call in parts.items() if call in seconds}
    return {
        "algorithm": algorithm,
        "agents": agents,
        "hidden": hidden,
        "batch": batch,
        "share_in_kernels": round(sum(shares.values()), 3),
        "operations": {**shares, "everything else": round(1 - sum(shares.values()), 3)},
    }


def on_threads(algorithm: str, agents: int, hidden: int, threads: int, repeats: int = 9) -> dict[str, Any]:
    """How many times faster updates are with so many threads than with one, in turns, by the clock."""
    learns, seconds = {}, {1: list[float](), threads: list[float]()}
    for each in seconds:
        torch.set_num_threads(each)
        learns[each] = case(population_of(algorithm, agents, hidden, 128))
        learns[each](8)
    torch.set_num_threads(1)
    started = time.perf_counter()
    made = learns[1](4)
    count = max(4, int(0.15 * made / (time.perf_counter() - started)) // 2 * 2)
    for _ in range(repeats):
        for each, taken in seconds.items():
            torch.set_num_threads(each)
            started = time.perf_counter()
            made = learns[each](count)
            taken.append((time.perf_counter() - started) / made)
    torch.set_num_threads(1)
    ratios = np.array(seconds[1]) / np.array(seconds[threads])
    return {
        **dict(zip(KEYS, (algorithm, hidden, 128, agents), strict=True)),
        "threads": threads,
        "times_faster": round(float(np.median(ratios)), 2),
        "least": round(float(ratios.min()), 2),
        "most": round(float(ratios.max()), 2),
    }


def written(found: dict[str, Any]) -> None:
    """Print something beside the updates, and put it into the result."""
    print(json.dumps(found, indent=1))
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps({**before, **found}, indent=1) + "\n")


def main() -> None:
    """Measure what was asked for, print a table, and write it where everything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithms", nargs="*")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--keep", action="store_true", help="write what is measured into the result")
    parser.add_argument("--profile", action="store_true", help="where the time of an update goes, alone")
    parser.add_argument("--threads", type=int, default=1, help="beside one, how much faster so many are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.profile:
        asked = options.algorithms or ("DQN", "TD3", "SAC", "PPO")
        written({"profile": [profiled(each, hidden) for each in asked for hidden in options.hidden]})
        return
    if options.threads > 1:
        asked = options.algorithms or ("DQN", "TD3", "SAC", "PPO")
        cases = [(each, agents, hidden) for each in asked for hidden in options.hidden for agents in (4, 16)]
        written({"on_threads": [on_threads(*about, options.threads) for about in cases]})
        return
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
    if not options.algorithms or options.keep:
        before = json.loads(RESULT.read_text()) if RESULT.exists() and options.keep else {}
        new = {tuple(row[key] for key in KEYS) for row in rows}
        rows += [row for row in before.get("updates", []) if tuple(row[key] for key in KEYS) not in new]
        rows.sort(key=lambda row: (ALGORITHMS.index(row["algorithm"]), *(row[key] for key in KEYS[1:])))
        RESULT.write_text(json.dumps({**before, **described(), "updates": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
