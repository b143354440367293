"""What the rest of a generation costs, and how everything grows: with the population, with the buffer.

Evaluation, a table's new layout, selection and mutation, a checkpoint, the first step of the quickstart in a kernel that
is just being opened; memory and time of an agent among 1 to 256; transitions among up to a million, and images.
Each beside the machine's own ceiling of the same run. CPU time on one thread, so that neighbours on the machine
do not count; wall time where a kernel or a disk is waited for:

    python tests/benchmarks/parts.py
    python tests/benchmarks/parts.py buffer images
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from machine import described, gemm_rate, memory_rate

import evolab as ev
from evolab.evaluation.episodes import evaluating

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "parts.json"
LANDER = "LunarLanderContinuous-v3"
QUICKSTART = ROOT / "tutorials" / "quickstart.ipynb"

KERNEL = """
import json, sys, time
from pathlib import Path
cells = [
    "".join(cell["source"]) for cell in json.loads(Path(sys.argv[1]).read_text())["cells"] if cell["cell_type"] == "code"
]
last = next(index for index, cell in enumerate(cells) if "exp.step()" in cell)
from jupyter_client.manager import start_new_kernel
started = time.perf_counter()
manager, client = start_new_kernel(kernel_name="python3")
opened, each = time.perf_counter(), []
for cell in cells[: last + 1]:
    before = time.perf_counter()
    reply = client.execute_interactive(cell, timeout=120, output_hook=lambda message: None)
    assert reply["content"]["status"] == "ok", reply["content"]
    each.append(round(time.perf_counter() - before, 2))
done, cpu = time.perf_counter(), []
client.execute_interactive(
    "import time; print(time.process_time())", timeout=60, output_hook=lambda message: cpu.append(message["content"])
)
cpu = round(float(next(content["text"] for content in cpu if "text" in content)), 2)
client.stop_channels()
manager.shutdown_kernel(now=True)
opens = round(opened - started, 2)
print(json.dumps({"kernel_opens": opens, "cells": each, "cpu": cpu, "in_all": round(done - started, 2)}))
"""


def seconds(work: Callable[[], Any], repeats: int = 5, best: bool = False) -> float:
    """CPU time of one call, median (or best) over the repeats; the first call warms up."""
    found = []
    work()
    for _ in range(repeats):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return float(min(found) if best else np.median(found))


def exponent(sizes: list[int], costs: list[float]) -> float:
    """x in cost ~ size^x over the upper half of the sizes: 1 is linear, 2 would be quadratic."""
    half = len(sizes) // 2
    return round(math.log(costs[-1] / costs[half]) / math.log(sizes[-1] / sizes[half]), 2)


def made_up(rows: int) -> SimpleNamespace:
    """Lunar Lander's transitions, without Lunar Lander."""
    stream = np.random.default_rng(1)
    return SimpleNamespace(
        observation=stream.normal(size=(rows, 8)).astype("f"),
        action=stream.uniform(-1, 1, (rows, 2)).astype("f"),
        reward=stream.normal(size=rows).astype("f"),
        next_observation=stream.normal(size=(rows, 8)).astype("f"),
        terminated=stream.random(rows) < 0.01,
        valid=None,
    )


def landers(agents: int, batch: int = 128) -> ev.Population:
    """TD3 2x64."""
    spaces, settings = (Box(-1, 1, (8,)), Box(-1, 1, (2,))), {"batch_size": batch}
    return ev.Population("TD3", *spaces, agents, hyperparameters=settings, seed=1, device="cpu")


def evaluation() -> dict[str, Any]:
    """Environment steps of evaluation per second, beside what the environments alone do."""
    rows = []
    for agents in (4, 16, 64):
        envs = ev.envs.make(LANDER, population=agents, num_envs=4, seed=1)
        evaluator, players = envs.evaluator(4), landers(agents)
        started = time.process_time()
        *_, found = evaluating(players, evaluator, seed=1, max_steps=60)
        rate = found.steps / (time.process_time() - started)  # type: ignore[union-attr]
        envs.reset(seed=1)
        still = np.zeros((agents, 4, 2), "f")
        alone = seconds(lambda e=envs, a=still: e.step(a), 20, best=True)
        ceiling = 4 * agents / alone
        rows.append(
            {
                "agents": agents,
                "steps_per_second": round(rate),
                "environments_alone": round(ceiling),
                "share": round(rate / ceiling, 2),
            }
        )
        envs.close()
        evaluator.close()
    return {"evaluation": rows}


def mutated(population: ev.Population, seed: int = 1) -> None:
    """Ten generations of chance."""
    stream, agents = np.random.default_rng(seed), len(population)
    for generation in range(10 * seed, 10 * seed + 10):
        fitness = stream.normal(size=agents)
        ev.evolve(population, fitness, ev.Tournament(min(2, agents)), ev.Mutations(), generation=generation)


def growth() -> dict[str, Any]:
    """Memory and time of one agent among many: an update, a new layout, evolution."""
    buffer, bandwidth, rows = ev.ReplayBuffer(20_000), memory_rate(), []
    buffer.add(made_up(20_000))
    counts = [1, 4, 16, 64, 256]
    for agents in counts:
        population = landers(agents)
        update = seconds(lambda p=population: p.learn(buffer, updates=2), max(3, 64 // agents)) / 2
        table = sum(tensor.nbytes for tensor in population.table.values())
        fresh = repacking(population)
        mutated(population)
        stream = np.random.default_rng(2)
        evolution = seconds(
            lambda p=population, s=stream: ev.evolve(
                p, s.normal(size=len(p)), ev.Tournament(min(2, len(p))), ev.Mutations(), generation=21
            ),
            3,
        )
        rows.append(
            {
                "agents": agents,
                "kib_per_agent": round(table / agents / 1024, 1),
                "update_us_per_agent": round(1e6 * update / agents, 1),
                "repacking_us_per_agent": round(1e6 * fresh / agents, 1),
                "repacking_share_of_memory_bandwidth": round(2 * table / fresh / 1e9 / bandwidth, 3),
                "repacking_mutated_us_per_agent": round(1e6 * repacking(population) / agents, 1),
                "evolution_us_per_agent": round(1e6 * evolution / agents, 1),
            }
        )
    powers = {
        name: exponent(counts, [row[name] * row["agents"] for row in rows])
        for name in rows[0]
        if name.endswith("per_agent")
    }
    return {"growth_with_agents": rows, "grows_as_agents_to_the_power_of": powers}


def evolved(seeds: int = 3) -> dict[str, Any]:
    """An update of agents that ten generations made different, beside a uniform population of the same work."""
    buffer, rows = ev.ReplayBuffer(20_000), []
    buffer.add(made_up(20_000))
    for agents in (4, 16, 64):
        ratios, shapes, groups = [], [], []
        for seed in range(seeds):
            mixed = landers(agents)
            mutated(mixed, seed)
            batch = round(multiply_adds(mixed) / multiply_adds(landers(agents)) * 128)
            uniform, pair = landers(agents, max(1, batch)), []
            for population in (mixed, uniform):
                pair.append(seconds(lambda p=population: p.learn(buffer, updates=4), max(3, 32 // agents)))
            ratios.append(pair[0] / pair[1])
            shapes.append(len({individual.genes for individual in mixed.individuals}))
            groups.append(len(mixed.groups))
        rows.append(
            {
                "agents": agents,
                "architectures": int(np.median(shapes)),
                "groups": int(np.median(groups)),
                "times_slower_than_uniform": round(float(np.median(ratios)), 2),
                "of_each_seed": [round(ratio, 2) for ratio in ratios],
            }
        )
    return {"evolved": rows}


def multiply_adds(population: ev.Population) -> float:
    """Of one forward pass of everybody's batch, as the agents are and not as they are padded."""
    total = 0.0
    for individual in population.individuals:
        per_row = sum(
            role.recipe(population.network).cost(role, individual.genes) for role in population.roles.values()
        )
        total += per_row * individual.hyperparameters["batch_size"]
    return total


def repacking(population: ev.Population) -> float:
    """Seconds of the whole table's new layout."""

    def again() -> None:
        population.rebuild([population.individual(row) for row in range(len(population))])

    return seconds(again)


def buffer() -> dict[str, Any]:
    """Bytes of a transition and the time to add and to draw, as the buffer grows to a million."""
    rows, generator = [], torch.Generator().manual_seed(1)
    counts = [10_000, 100_000, 1_000_000]
    block = made_up(10_000)
    for count in counts:
        store = ev.ReplayBuffer(count)
        started = time.process_time()
        while len(store) < count:
            store.add(block)
        filled = time.process_time() - started
        few = SimpleNamespace(
            **{k: v if v is None else v[:32].reshape(4, 8, *v.shape[1:]) for k, v in vars(block).items()}
        )
        rows.append(
            {
                "transitions": count,
                "bytes_per_transition": round(store.nbytes / count, 1),
                "fill_ns_per_transition": round(1e9 * filled / count),
                "add_32_us": round(1e6 * seconds(lambda s=store, f=few: s.add(f), 200), 1),
                "sample_4x128_us": round(
                    1e6 * seconds(lambda s=store: s.sample(slice(0, 4), 128, generator), 200), 1
                ),
            }
        )
        del store
    return {"buffer": rows}


def images() -> dict[str, Any]:
    """The same for pictures of 84 x 84 x 4 bytes, shared by one agent or by 64."""
    rows, generator, stream = [], torch.Generator().manual_seed(1), np.random.default_rng(1)
    for count in (1_000, 4_000, 16_000):
        for agents in (1, 64):
            store = ev.ReplayBuffer(count)
            pictures = stream.integers(0, 256, (agents, 1, 84, 84, 4), dtype=np.uint8)
            step = SimpleNamespace(
                observation=pictures,
                action=np.zeros((agents, 1), np.int64),
                reward=np.zeros((agents, 1), "f"),
                next_observation=pictures,
                terminated=np.zeros((agents, 1), bool),
                valid=None,
            )
            while len(store) < count:
                store.add(step)
            draw = seconds(lambda s=store: s.sample(slice(0, 4), 32, generator), 20)
            moved = 2 * 4 * 32 * 2 * pictures[0].nbytes
            rows.append(
                {
                    "transitions": count,
                    "agents": agents,
                    "dtype": str(store.example.dtype).removeprefix("torch."),
                    "bytes_per_transition": round(store.nbytes / count, 1),
                    "sample_4x32_us": round(1e6 * draw, 1),
                    "sample_gb_per_second": round(moved / draw / 1e9, 1),
                }
            )
            del store
    return {"images_84x84x4": rows}


def checkpoint() -> dict[str, Any]:
    """Saving a run whole, beside writing as many bytes into one file."""
    rows = []
    for agents in (4, 16, 64):
        with tempfile.TemporaryDirectory() as folder:
            experiment = ev.Experiment(LANDER, population=agents, num_envs=1, buffer=20_000, seed=1)
            experiment.fill(20_000 if agents == 4 else 2_000)
            wall, cpu = [], []
            for _ in range(4):
                started = time.perf_counter(), time.process_time()
                experiment.save(Path(folder) / "run", overwrite=True)
                wall.append(time.perf_counter() - started[0])
                cpu.append(time.process_time() - started[1])
            newest = max((Path(folder) / "run").rglob("*.safetensors"), key=lambda path: path.stat().st_mtime)
            size = sum(path.stat().st_size for path in newest.parent.rglob("*") if path.is_file())
            started = time.perf_counter()
            with open(Path(folder) / "plain", "wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
            plain = time.perf_counter() - started
            rows.append(
                {
                    "agents": agents,
                    "transitions": len(experiment.buffer),
                    "mib": round(size / 2**20, 2),
                    "ms": round(1e3 * float(np.median(wall)), 1),
                    "cpu_ms": round(1e3 * float(np.median(cpu)), 1),
                    "writing_as_many_bytes_ms": round(1e3 * plain, 1),
                }
            )
    return {"checkpoint": rows}


def first_step(repeats: int = 3) -> dict[str, Any]:
    """From opening a kernel to the end of the quickstart's first `exp.step()`, wall seconds."""
    environment = os.environ | {"EVOLAB_SHORT": "0", "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    found = []
    for _ in range(repeats):
        command = [sys.executable, "-c", KERNEL, str(QUICKSTART)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    middle = sorted(found, key=lambda one: one["in_all"])[len(found) // 2]
    return {
        "first_step_of_the_quickstart": {
            "goal_seconds": 5,
            "seconds": middle["in_all"],
            "of_these_the_kernel_opens": middle["kernel_opens"],
            "cells": middle["cells"],
            "cpu_seconds_of_the_kernel": middle["cpu"],
            "all_runs": [one["in_all"] for one in found],
            "load_average": round(os.getloadavg()[0], 1),
        }
    }


PARTS = {
    part.__name__: part for part in (evaluation, growth, evolved, buffer, images, checkpoint, first_step)
}


def main() -> None:
    """Measure what was asked for, print it, and write it into the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them without a name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result |= described() | {
        "gemm_gflops": round(gemm_rate(), 1),
        "memory_gb_per_second": round(memory_rate(), 1),
    }
    for name in options.parts or PARTS:
        found = PARTS[name]()
        print(json.dumps(found, indent=1), flush=True)
        result |= found
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
