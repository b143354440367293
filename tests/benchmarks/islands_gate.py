"""Do islands find more than one population of the same size for the same steps? Three tasks, equal steps in all.

One population of 16 on one replay, four islands of four agents with a replay each, and the same islands with all
transitions of an epoch sent along to the neighbour. Steps are those of training and evaluation together; every island has a
quarter of them. A generation is 125 steps of each agent, islands migrate every two, and all select by tournaments of
two; all else is evolab's default, with its number of updates: one of each agent for every transition that is stored
in a population of 16, two in one of four, whose replay holds a quarter.

What is compared is the leader's elite, over fresh episodes that count nowhere: 20 at the end of each epoch, 100 at the end
of all, and the steps to the first epoch whose 20 average the target. A run that is in the file is not run again.

    python tests/benchmarks/islands_gate.py --seeds 5
    python tests/benchmarks/islands_gate.py --table
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hpo_tasks import TASKS
from machine import described

import evolab as ev
from evolab.experiment.islands.joined_history import JoinedHistory
from evolab.training.run_folder import RunFolder

RESULT = Path(__file__).parent / "results" / "islands_gate.jsonl"
AGENTS, COUNT, EVERY, STEPS = 16, 4, 2, 125
BUDGETS = {"CartPole-v1": 24_000, "Acrobot-v1": 12_000, "Pendulum-v1": 6_000}
ISLANDS: dict[str, Any] = {"islands": COUNT, "every": EVERY}
ARMS: dict[str, dict[str, Any] | None] = {
    "one population": None,
    "four islands": ISLANDS,
    "four islands, transitions": ISLANDS | {"transitions": EVERY * STEPS * AGENTS // COUNT},
}
"""Sections of `ev.sweep`; None for one population."""


def trained(task: str, arm: str, seed: int) -> dict[str, Any]:
    """One search, and what its elite is worth."""
    common: dict[str, Any] = {
        "environment": task,
        "max_steps": BUDGETS[task],
        "steps_per_generation": STEPS,
        "selection": ev.Tournament(2),
        "keep": 1_000,
        "device": "cpu",
        "progress": False,
    }
    section, started = ARMS[arm], time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "s"
        if section is None:
            made = ev.sweep([seed], home, population=AGENTS, checkpoint_every=EVERY, **common)
        else:
            made = ev.sweep(section, home, population=AGENTS // COUNT, seed=seed, **common)
        seconds = time.process_time() - started
        names = made.table["run"].tolist()
        curve = list(measured(home, names, seed))
        exp = ev.load(home / made.leader)
        worth = exp.evaluate(100, seed=10_000 + seed).mean
        exp.close()
        steps = int(made.table["steps"].sum())
    target = TASKS[task].target
    return {
        "task": task,
        "arm": arm,
        "seed": seed,
        "return": worth,
        "to_target": next((at for at, mean in [*curve, (steps, worth)] if mean >= target), None),
        "steps": steps,
        "cpu_seconds": round(seconds, 1),
        "curve": curve,
    }


def measured(home: Path, names: list[str], seed: int) -> Iterator[tuple[int, float]]:
    """Steps of all, and the mean of the leader's elite, at the end of each epoch."""
    joined = JoinedHistory(home, names)
    joined.refresh()
    for number in range(EVERY, len(joined.history) + 1, EVERY):
        told = joined.history.generations[number - 1]
        known = [one.generations[:number] for one in joined.told]
        best = [
            max((g.confirmed for g in part if g.confirmed is not None), default=-math.inf) for part in known
        ]
        leader = home / names[int(np.argmax(best))]
        if number in RunFolder(leader).numbers():
            exp = ev.load(leader, generation=number)
            mean = exp.evaluate(20, seed=20_000 + seed).mean
            exp.close()
            yield told.total_steps + told.evaluation_steps, round(float(mean), 2)


def table(path: Path) -> str:
    """Median and range by task and arm."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = []
    for task in BUDGETS:
        for arm in ARMS:
            found = [row for row in rows if row["task"] == task and row["arm"] == arm]
            if found:
                values = [row["return"] for row in found]
                needed = [math.inf if row["to_target"] is None else row["to_target"] for row in found]
                arrived = sum(map(math.isfinite, needed))
                cpu = np.median([row["cpu_seconds"] for row in found])
                every = " ".join(f"{value:.0f}" for value in values)
                lines.append(
                    f"{task:12} {arm:26} median {np.median(values):7.1f} of {every:26} target {arrived} of {len(found)}, "
                    f"median {np.median(needed):7.0f} steps; {cpu:4.0f} s of CPU"
                )
    return "\n".join(lines)


def main() -> None:
    """Measure what is not in the file yet, or show it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--tasks", nargs="+", default=list(BUDGETS), choices=list(BUDGETS))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(options.out))
        return
    torch.set_num_threads(1)
    known = (
        [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    )
    done = {(row["task"], row["arm"], row["seed"]) for row in known}
    for seed in range(100, 100 + options.seeds):
        for task in options.tasks:
            for arm in options.arms:
                if (task, arm, seed) not in done:
                    row = trained(task, arm, seed) | described()
                    with options.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print({name: value for name, value in row.items() if name != "curve"}, flush=True)


if __name__ == "__main__":
    main()
