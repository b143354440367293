"""What does an update of a population that sees cost, against separate modules? One thread, DQN.

Four agents, images of 3 x 32 x 32, batch 64: a whole update (double targets, loss, gradients, Adam,
Polyak) per agent, of the population and of four plain modules with torch.optim.Adam; and the share
of the population's time that is spent inside convolutions and matrix products, its floor:

    python tests/benchmarks/images.py
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from gymnasium import spaces
from machine import described, gemm_rate
from torch.profiler import ProfilerActivity, profile

import evolab as ev

RESULT = Path(__file__).parent / "results" / "images.json"
SPACE = spaces.Box(0, 255, (3, 32, 32), np.uint8)
AGENTS, BATCH, REPEATS, PROFILES = 4, 64, 31, 9
PRODUCTS = ("conv", "bmm", "baddbmm", "addmm", "aten::mm", "matmul")
CHANNELS = {
    "equal": [(32, 32)] * 4,
    "mixed": [(32, 32), (24, 32), (32, 24), (24, 24)],
    "narrow": [(16, 16)] * 4,
}


def population_of(channels: list[tuple[int, ...]]) -> ev.Population:
    """Agents of these channels in one table."""
    ones = [
        ev.Population(
            "DQN",
            SPACE,
            spaces.Discrete(4),
            1,
            network=ev.CNN(sizes),
            hyperparameters={"batch_size": BATCH},
            search_space={},
            seed=index,
            device="cpu",
        )
        for index, sizes in enumerate(channels)
    ]
    members = [one.individual(0) for one in ones]
    for index, individual in enumerate(members):
        individual.id = index
    ones[0].rebuild(members)
    return ones[0]


class Separate:
    """One agent of plain PyTorch."""

    def __init__(self, population: ev.Population, row: int) -> None:
        self.q = population[row].module().core
        self.slow = copy.deepcopy(self.q)
        self.adam = torch.optim.Adam(self.q.parameters(), lr=5e-4)

    def update(self, batch: SimpleNamespace, row: int) -> None:
        """One step of double DQN on bytes, as a careful user writes it."""
        now = batch.observation[row].flatten(1).float() / 255
        then = batch.next_observation[row].flatten(1).float() / 255
        with torch.no_grad():
            best = self.q(then).argmax(1, keepdim=True)
            value = self.slow(then).gather(1, best)[:, 0]
            target = batch.reward[row] + 0.99 * (1 - batch.terminated[row]) * value
        error = self.q(now).gather(1, batch.action[row][:, None])[:, 0] - target
        self.adam.zero_grad()
        error.square().mean().backward()
        self.adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.slow.parameters()), list(self.q.parameters()), 0.005)


def batch_of() -> SimpleNamespace:
    """Random experience [P, B, ...]."""
    g = torch.Generator().manual_seed(0)

    def picture() -> torch.Tensor:
        return torch.randint(0, 256, (AGENTS, BATCH, 3, 32, 32), dtype=torch.uint8, generator=g)

    return SimpleNamespace(
        observation=picture(),
        action=torch.randint(4, (AGENTS, BATCH), generator=g),
        reward=torch.randn(AGENTS, BATCH, generator=g),
        next_observation=picture(),
        terminated=torch.zeros(AGENTS, BATCH),
    )


def milliseconds(function: Callable[..., object], *arguments: object) -> float:
    """CPU time of one call: other processes on the machine do not count."""
    started = time.process_time()
    function(*arguments)
    return 1000 * (time.process_time() - started)


def update_all(separate: list[Separate], batch: SimpleNamespace) -> None:
    """One update of every agent, one after the other."""
    for row, one in enumerate(separate):
        one.update(batch, row)


def profiled(population: ev.Population, batch: SimpleNamespace) -> tuple[float, dict[str, float]]:
    """Share of an update's time inside convolutions and matrix products, both passes; and of each operation.

    The median of several profiles, which count the time that others take on a shared machine.
    """
    for _ in range(3):
        population.learn(batch)
    found = []
    for _ in range(PROFILES):
        with profile(activities=[ProfilerActivity.CPU]) as record:
            for _ in range(8):
                population.learn(batch)
        times = {event.key: event.self_cpu_time_total for event in record.key_averages()}
        total = sum(times.values())
        inside = sum(time for name, time in times.items() if any(word in name for word in PRODUCTS))
        shares = sorted(((name, time / total) for name, time in times.items()), key=lambda pair: -pair[1])
        found.append((inside / total, {name: round(share, 4) for name, share in shares[:16]}))
    return sorted(found, key=lambda pair: pair[0])[PROFILES // 2]


def main() -> None:
    """Measure in turns, print, write."""
    torch.set_num_threads(1)
    batch, rows = batch_of(), {}
    for name, channels in CHANNELS.items():
        population = population_of(channels)
        separate = [Separate(population, row) for row in range(AGENTS)]
        together, apart = [], []
        for repeat in range(REPEATS + 2):
            pair = milliseconds(population.learn, batch), milliseconds(update_all, separate, batch)
            if repeat >= 2:
                together.append(pair[0] / AGENTS)
                apart.append(pair[1] / AGENTS)
        share, operations = profiled(population, batch)
        rows[name] = {
            "channels": [list(sizes) for sizes in channels],
            "groups": len(population.groups),
            "population_ms_per_agent": round(float(np.median(together)), 3),
            "separate_ms_per_agent": round(float(np.median(apart)), 3),
            "times_faster": round(float(np.median(np.array(apart) / np.array(together))), 2),
            "share_in_convolutions_and_products": round(share, 3),
            "profile": operations,
        }
        print(name, rows[name], flush=True)
    head = described() | {"gemm_gflops": round(gemm_rate(), 1), "batch": BATCH, "image": list(SPACE.shape)}
    RESULT.write_text(json.dumps(head | {"updates": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
