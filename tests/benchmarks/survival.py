"""What surviving costs: seconds of a checkpoint, and memory of a training cell that is run again and again.

    python tests/benchmarks/survival.py [--runs 200]

A population of 64 TD3 agents (2x64) with 100 000 transitions, saved and loaded; a run with a million
transitions, saved once and then after every 10 000 new ones; a notebook's cell that makes an
experiment, fills it, trains it, saves it and shows its dashboard, run 200 times in one real kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from machine import described  # noqa: E402

import evolab as ev  # noqa: E402
from evolab.core.experience import Transition  # noqa: E402

RESULT = HERE / "results" / "survival.json"
REPEATS, LATER, NEW = 7, 5, 10_000


def experiment(agents: int, capacity: int, **options: Any) -> ev.Experiment:
    """TD3 on Lunar Lander, its buffer full of random numbers of the right shapes."""
    exp = ev.Experiment(
        "LunarLanderContinuous-v3", "TD3", population=agents, num_envs=1, network=[64, 64], seed=1,
        device="cpu", steps_per_generation=64, eval_steps=50, buffer=ev.ReplayBuffer(capacity), **options,
    )  # fmt: skip
    add(exp, capacity, 0)
    return exp


def add(exp: ev.Experiment, count: int, seed: int) -> None:
    """More transitions."""
    stream = np.random.default_rng(seed)
    for start in range(0, count, 100_000):
        size = min(100_000, count - start)
        seen = stream.normal(size=(2, size, 8)).astype("f")
        no = np.zeros(size, dtype=bool)
        exp.buffer.add(
            Transition(
                seen[0], stream.uniform(-1, 1, (size, 2)).astype("f"), stream.normal(size=size).astype("f"),
                seen[1], no, no, seen[1], ~no,
            )
        )  # fmt: skip


def timed(work: Any) -> tuple[float, float, Any]:
    """Wall and CPU seconds, and what came of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def summary(rows: list[tuple[float, float, Any]]) -> dict[str, float]:
    """The median and the best of the wall times, and the median of the CPU times."""
    walls, cpus = [row[0] for row in rows], [row[1] for row in rows]
    return {
        "wall_median": round(float(np.median(walls)), 3),
        "wall_best": round(min(walls), 3),
        "cpu_median": round(float(np.median(cpus)), 3),
    }


def checkpoints(folder: Path) -> dict[str, Any]:
    """Save and load 64 agents with 100 000 transitions."""
    exp = experiment(64, 100_000)
    exp.step()
    saves = [timed(lambda n=n: exp.save(folder / f"run-{n}")) for n in range(REPEATS)]
    size = sum(path.stat().st_size for path in (folder / "run-0").rglob("*") if path.is_file())
    loads = []
    for n in range(REPEATS):
        loads.append(timed(lambda n=n: ev.Experiment.load(folder / f"run-{n}")))
        loads[-1][2].close()
    exp.close()
    return {"megabytes": round(size / 1e6, 1), "save": summary(saves), "load": summary(loads)}


def million(folder: Path) -> dict[str, Any]:
    """Save a run with a million transitions, and again after 10 000 more, and more."""
    exp = experiment(4, 1_000_000)
    exp.step()
    first = timed(lambda: exp.save(folder / "run"))
    later = []
    for n in range(LATER):
        add(exp, NEW, n + 1)
        exp.step()
        later.append(timed(exp.save))
    exp.close()
    wall, cpu, loaded = timed(lambda: ev.Experiment.load(folder / "run"))
    same = torch.equal(loaded.buffer.fields["observation"], exp.buffer.fields["observation"])
    assert same, "the buffer came back changed"
    loaded.close()
    return {
        "buffer_megabytes": round(exp.buffer.nbytes / 1e6),
        "first_save_wall": round(first[0], 3),
        "first_save_cpu": round(first[1], 3),
        "later_save": summary(later),
        "load_wall": round(wall, 3),
        "load_cpu": round(cpu, 3),
    }


CELL = """
exp = ev.Experiment(
    "CartPole-v1", "DQN", population=4, num_envs=2, seed=1, steps_per_generation=200, eval_steps=50,
    device="cpu",
)
exp.fill(200)
exp.run(generations=2)
exp.save(folder + "/run", overwrite=True)
exp.dashboard()
"""

FIRST = """
import gc, os, sys, tempfile
os.environ |= {{"TQDM_DISABLE": "1", "SDL_VIDEODRIVER": "dummy"}}
sys.path.insert(0, {root!r})
import evolab as ev
folder = tempfile.mkdtemp()
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
"""


class Kernel:
    """A Jupyter kernel, told which cell is run, as JupyterLab tells it."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(env=os.environ | {"OMP_NUM_THREADS": "1"})

    def run(self, code: str, cell: str) -> str:
        """What a cell printed."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell})
        self.client.shell_channel.send(message)
        printed = ""
        while True:
            said = self.client.get_iopub_msg(timeout=300)
            if said["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            if said["msg_type"] == "stream" and said["content"]["name"] == "stdout":
                printed += said["content"]["text"]
            assert said["msg_type"] != "error", said["content"]["evalue"]
            if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
                return printed


def reruns(count: int) -> dict[str, Any]:
    """Memory over `count` runs of the cell; the first tenth is warming up."""
    kernel = Kernel()
    kernel.run(FIRST.format(root=str(ROOT)), "first")
    sizes = []
    for _ in range(count):
        kernel.run(CELL, "training")
        sizes.append(float(kernel.run("print(resident())", "measure")))
    kernel.manager.shutdown_kernel(now=True)
    start = max(1, count // 10)
    slope = np.polyfit(np.arange(start, count), sizes[start:], 1)[0]
    return {
        "runs": count,
        "megabytes_after_a_tenth": round(sizes[start], 1),
        "megabytes_at_the_end": round(sizes[-1], 1),
        "megabytes_per_run": round(float(slope), 4),
    }


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--runs", type=int, default=200)
    count = options.parse_args().runs
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    result: dict[str, Any] = described()
    parts = {"64_agents_100k": checkpoints, "1_000_000_transitions": million}
    for name, part in parts.items():
        folder = Path(tempfile.mkdtemp())
        try:
            result[name] = part(folder)
        finally:
            shutil.rmtree(folder)
        print(name, result[name], flush=True)
    result["reruns"] = reruns(count)
    print("reruns", result["reruns"], flush=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
