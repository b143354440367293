"""How long does a population's update take on a CUDA device, and what is left when it is one graph?

TD3 on Lunar Lander's spaces, batches of 128, everything on the device: recorded as a graph, launched operation by
operation, and recorded with tf32 products; beside them AgileRL's update of one agent on the same device, P of which
follow one another. Medians of several runs, taken in turns:

    python tests/benchmarks/gpu.py [--peers FOLDER] [--agents 1 4 16 64 256]
    python tests/benchmarks/gpu.py --all FOLDER

`--peers` as in `peers.py`; without it AgileRL is left out. `--all` runs the tests that need a device as well, the whole
loop, the memory that is taken and the peer, within ten minutes, into `FOLDER/gpu.json`. `--device cpu` tries the
script where there is no CUDA device; what it prints then is no result, and is not written beside the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_all import everything
from loop import steps_per_second
from machine import described
from peer_environments import python_of
from updates import case, population_of

import evolab as ev
from evolab.population import grouping

RESULT = Path(__file__).parent / "results" / "gpu.json"
BATCH, ENOUGH = 128, 0.3
WAYS = {
    "graph": {"EVOLAB_GRAPHS": "1", "precision": "float32"},
    "operations": {"EVOLAB_GRAPHS": "0", "precision": "float32"},
    "graph, tf32": {"EVOLAB_GRAPHS": "1", "precision": "tf32"},
}
PEER = """
import json, sys, time, torch, numpy as np
from agilerl.algorithms import TD3
from agilerl.components.data import Transition, transition_to_tensordict
from agilerl.components.replay_buffer import ReplayBuffer
from gymnasium.spaces import Box
device, hidden, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
net = {"encoder_config": {"hidden_size": [hidden]}, "head_config": {"hidden_size": [hidden]}}
agent = TD3(Box(-1, 1, (8,)), Box(-1, 1, (2,)), net_config=net, batch_size=128, device=device)
memory, rng, stored = ReplayBuffer(max_size=5000, device=device), np.random.default_rng(1), 5000
rows = transition_to_tensordict(Transition(
    obs=rng.normal(size=(stored, 8)).astype("f"), action=rng.uniform(-1, 1, (stored, 2)).astype("f"),
    reward=rng.normal(size=stored).astype("f"), next_obs=rng.normal(size=(stored, 8)).astype("f"),
    done=(rng.random(stored) < 0.01).astype("f")))
rows.batch_size = [stored]
memory.add(rows)
wait = torch.cuda.synchronize if device == "cuda" else lambda: None
for updates in (20, count):
    wait(); started = time.perf_counter()
    for _ in range(updates):
        agent.learn(memory.sample(128))
    wait()
print(json.dumps((time.perf_counter() - started) / count * 1e3))
"""


def learner(agents: int, hidden: int, device: str, way: str) -> Callable[[int], int]:
    """A warmed-up population: a function that makes so many updates, one of its ways."""
    os.environ["EVOLAB_GRAPHS"] = WAYS[way]["EVOLAB_GRAPHS"]
    precision = WAYS[way]["precision"]
    learn = case(population_of("TD3", agents, hidden, BATCH, device=device, precision=precision))
    learn(32)
    return learn


def milliseconds(learn: Callable[[int], int], way: str, device: str) -> float:
    """Of one update, over as many as take some tenths of a second."""
    os.environ["EVOLAB_GRAPHS"] = WAYS[way]["EVOLAB_GRAPHS"]
    count = 16
    while True:
        waited(device)
        started = time.perf_counter()
        learn(count)
        waited(device)
        seconds = time.perf_counter() - started
        if seconds > ENOUGH:
            return 1e3 * seconds / count
        count = 8 * max(count // 4, int(1.2 * ENOUGH / seconds * count / 8))


def waited(device: str) -> None:
    """Until the device has nothing to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def peer(python: Path, device: str, hidden: int, count: int = 300) -> float:
    """Milliseconds of one update of one agent of AgileRL's, two hidden layers, LayerNorm as it has it."""
    command = [str(python), "-c", PEER, device, str(hidden), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def kernels(learn: Callable[[int], int], way: str, updates: int = 160) -> dict[str, Any]:
    """Share of the clock's time in which the device computes, and where it computes longest."""
    from torch.profiler import ProfilerActivity, profile

    os.environ["EVOLAB_GRAPHS"] = WAYS[way]["EVOLAB_GRAPHS"]
    started = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        started = time.perf_counter()
        learn(updates)
        torch.cuda.synchronize()
        total = 1e6 * (time.perf_counter() - started)
    found = sorted(seen.key_averages(), key=lambda one: -one.device_time_total)
    busy = sum(one.device_time_total for one in found)
    return {
        "device_busy": round(busy / total, 3),
        "kernels_per_update": round(sum(one.count for one in found) / updates, 1),
        "longest": {one.key[:90]: round(one.device_time_total / busy, 3) for one in found[:12]},
    }


def measured(agents: int, hidden: int, device: str, python: Path | None, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    learners = {way: learner(agents, hidden, device, way) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    peers = []
    for _ in range(repeats):
        for way, learn in learners.items():
            times[way].append(milliseconds(learn, way, device))
        if python is not None:
            peers.append(agents * peer(python, device, hidden))
    row: dict[str, Any] = {way: round(float(np.median(found)), 4) for way, found in times.items()}
    if peers:
        row["AgileRL"] = round(float(np.median(peers)), 3)
        row["times_faster"] = round(row["AgileRL"] / row["graph"], 1)
    if device == "cuda":
        row["profile"] = kernels(learners["graph"], "graph")
        row["megabytes"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        torch.cuda.reset_peak_memory_stats()
    return {"agents": agents, "hidden": hidden, **row}


def one_more_bucket(device: str, agents: int = 16, repeats: int = 3) -> dict[str, float]:
    """What a further bucket costs an update, and what could be multiplied meanwhile: `grouping.ON_CUDA`."""
    found, buckets, before = [], [], grouping.ON_CUDA
    for price in (1e18, 0.0):  # agents of all shapes in one bucket, and each shape in its own
        grouping.ON_CUDA = price
        population = population_of("TD3", agents, 64, BATCH, device=device)
        mutations = ev.Mutations(
            none=0, architecture=1, parameters=0, activation=0, hyperparameters=0, new_layer=0
        )
        ev.evolve(population, np.arange(float(agents)), ev.Tournament(), mutations, generation=1)
        learn = case(population)
        learn(32)
        buckets.append(sum(len(group.buckets) for group in population.table.groups))
        found.append(float(np.median([milliseconds(learn, "graph", device) for _ in range(repeats)])))
    grouping.ON_CUDA = before
    left = torch.randn(agents, BATCH, 64, device=device)
    right = torch.randn(agents, 64, 64, device=device)
    waited(device)
    started = time.perf_counter()
    for _ in range(300):
        torch.bmm(left, right)
    waited(device)
    rate = 300 * agents * BATCH * 64**2 / (time.perf_counter() - started)
    more = (found[1] - found[0]) / max(1, buckets[1] - buckets[0])
    return {
        **{f"milliseconds, {count} buckets": one for count, one in zip(buckets, found, strict=True)},
        "multiply_adds_of_one_more": round(more / 1e3 * rate),
    }


def main() -> None:
    """Measure, print a table, and write it where it was measured on a CUDA device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="everything, within ten minutes")
    parser.add_argument("--quick", action="store_true", help="with --all: fewer agents, to try it")
    parser.add_argument("--loop", action="store_true", help="environment steps a second of the whole loop")
    parser.add_argument("--buckets", action="store_true", help="what one more bucket costs")
    parser.add_argument("--json", action="store_true", help="print the rows at the end, and write nothing")
    options = parser.parse_args()
    if options.all is not None:
        everything(options.all, options.device, quick=options.quick, peers=options.peers)
        return
    if options.loop:
        rates = {agents: steps_per_second(agents, False, 20, 3, options.device) for agents in options.agents}
        print(json.dumps({str(agents): round(rate) for agents, rate in rates.items()}))
        return
    if options.buckets:
        print(json.dumps(one_more_bucket(options.device)))
        return
    python = None if options.peers is None else python_of(options.peers, "agilerl")
    rows = []
    print(
        f"{'':6s}{'agents':>8s}" + "".join(f"{way:>14s}" for way in (*WAYS, "AgileRL")) + "   ms per update"
    )
    for hidden in options.hidden:
        for agents in options.agents:
            row = measured(agents, hidden, options.device, python, options.repeats)
            rows.append(row)
            cells = "".join(f"{row.get(way, float('nan')):14.3f}" for way in (*WAYS, "AgileRL"))
            print(f"{f'2x{hidden}':6s}{agents:8d}{cells}", flush=True)
    if options.json:
        print(json.dumps(rows))
    elif options.device == "cuda":
        about = {"device": torch.cuda.get_device_name(), "batch": BATCH, "repeats": options.repeats}
        RESULT.write_text(json.dumps({**described(), **about, "updates": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
