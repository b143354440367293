"""Do islands find more than one population of the same size for the same steps? Three tasks, equal steps in all.

One population of 16 on one replay, four islands of four agents with a replay each, and the same islands with their newest
transitions sent along. Steps are those of training and evaluation together; every island has a quarter of them. A generation
is 125 steps of each agent in all of them, and islands migrate every four; all else is evolab's default. What is compared is
the elite at the end, over 100 fresh episodes that are not counted.

    python tests/benchmarks/islands_gate.py --seeds 5 --out tests/benchmarks/results/islands_gate.jsonl
    python tests/benchmarks/islands_gate.py --table tests/benchmarks/results/islands_gate.jsonl
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import described

import evolab as ev

AGENTS, COUNT, EVERY, STEPS = 16, 4, 4, 125
TASKS = {"CartPole-v1": 30_000, "Acrobot-v1": 30_000, "Pendulum-v1": 15_000}
ARMS = ("one population", "four islands", "four islands, transitions")


def trained(task: str, arm: str, seed: int) -> dict[str, Any]:
    """One search, and what its elite is worth."""
    common: dict[str, Any] = {
        "environment": task,
        "max_steps": TASKS[task],
        "steps_per_generation": STEPS,
        "seed": seed,
        "device": "cpu",
        "progress": False,
    }
    started = time.process_time()
    with tempfile.TemporaryDirectory() as home:
        if arm == ARMS[0]:
            made = ev.sweep([seed], home, population=AGENTS, **common)
        else:
            section: dict[str, Any] = {"islands": COUNT, "every": EVERY}
            if arm == ARMS[2]:
                section["transitions"] = True
            made = ev.sweep(section, home, population=AGENTS // COUNT, **common)
        seconds = time.process_time() - started
        exp = ev.load(Path(home) / made.leader)
        worth = exp.evaluate(100, seed=10_000 + seed)
        steps = int(made.table["steps"].sum())
        exp.close()
    return {"task": task, "arm": arm, "seed": seed, "return": worth.mean, "steps": steps, "seconds": seconds}


def table(path: Path) -> str:
    """Median and range by task and arm."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = []
    for task in TASKS:
        for arm in ARMS:
            found = [row for row in rows if row["task"] == task and row["arm"] == arm]
            if found:
                values = np.array([row["return"] for row in found])
                cpu = np.median([row["seconds"] for row in found])
                every = " ".join(f"{value:.0f}" for value in values)
                lines.append(
                    f"{task:16} {arm:27} median {np.median(values):7.1f}  of {every}; {cpu:.0f} s of CPU"
                )
    return "\n".join(lines)


def main() -> None:
    """Measure what is not in the file yet, or show it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("islands_gate.jsonl"))
    parser.add_argument("--arms", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        print(table(options.table))
        return
    known = (
        [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    )
    done = {(row["task"], row["arm"], row["seed"]) for row in known}
    for seed in range(100, 100 + options.seeds):
        for task in TASKS:
            for arm in (ARMS[number] for number in options.arms):
                if (task, arm, seed) not in done:
                    row = trained(task, arm, seed) | described()
                    with options.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(row, flush=True)


if __name__ == "__main__":
    main()
