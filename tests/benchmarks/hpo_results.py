"""The results file of `hpo.py`: one JSON line a run, appended in one write; and the figures of each task and arm."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from hpo_tasks import ARMS, GROUPS, MARKS, TASKS

Run = dict[str, Any]
KEY = ("arm", "task", "seed", "budget", "limit", "minutes")


def key(run: Run) -> tuple[Any, ...]:
    """What makes two runs the same, so that a finished one is not run again."""
    return tuple(run[name] for name in KEY)


def append(path: Path, run: Run) -> None:
    """Add a run as one line, in one write; half a line that a killed writer left is closed off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        whole = size == 0 or file.read(1) == b"\n"
        file.write((b"" if whole else b"\n") + json.dumps(run).encode() + b"\n")


def read(path: Path) -> list[Run]:
    """All whole lines of the file; of equal runs the first."""
    found: dict[tuple[Any, ...], Run] = {}
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            try:
                run = json.loads(line)
                found.setdefault(key(run), run)
            except (ValueError, KeyError, TypeError):
                continue  # half a line
    return list(found.values())


def grouped(runs: Iterable[Run]) -> dict[str, dict[str, list[Run]]]:
    """Task -> arm -> its runs by seed, in the order of the tasks; of a group's arms the better one, seed by seed.

    Of each task only the runs with its largest budget count; where one was run with several limits, the one that
    had most time, or most steps to spend.
    """
    runs = list(runs)
    arms = {member: group for group, members in GROUPS.items() for member in members}
    largest = {
        task: max(run["budget"] for run in runs if run["task"] == task)
        for task in {run["task"] for run in runs}
    }
    best: dict[tuple[str, str, int], Run] = {}
    for run in sorted(runs, key=lambda run: (run["minutes"] or float("inf"), run["limit"])):
        if run["budget"] == largest[run["task"]]:
            best[run["task"], run["arm"], run["seed"]] = run
    merged: dict[tuple[str, str, int], Run] = {}
    for (task, arm, seed), run in best.items():
        place = task, arms.get(arm, arm), seed
        if place not in merged or score(run) > score(merged[place]):
            merged[place] = run
    order = list(dict.fromkeys(arms.get(arm, arm) for arm in ARMS))
    found: dict[str, dict[str, list[Run]]] = {}
    for task, arm, seed in sorted(
        merged, key=lambda place: (list(TASKS).index(place[0]), order.index(place[1]), place[2])
    ):
        found.setdefault(task, {}).setdefault(arm, []).append(merged[task, arm, seed])
    return found


def score(run: Run) -> float:
    """Larger is better: solved sooner before solved later before not solved, and then by the last mean return.

    Solved: the budget divided by the steps that it took, above 0. Not solved: the normalised return less 1.
    """
    if run["steps"] is not None:
        return float(run["budget"] / run["steps"])
    return TASKS[run["task"]].normalised(run["means"][str(MARKS[-1])]) - 1.0


def steps_of(run: Run) -> float:
    """Steps to the target, or those that were spent without reaching it."""
    return float(run["spent_steps"] if run["steps"] is None else run["steps"])


def interquartile_mean(values: Iterable[float]) -> float:
    """The mean without the lowest and the highest quarter, each rounded down, as `rliable` has it."""
    ordered = np.sort(np.asarray(list(values), dtype=float))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def measured(runs: list[Run]) -> dict[str, Any]:
    """The figures of one arm on one task.

    Returns:
        `runs`, `solved`, `timed_out` and `failed`, counts; `steps`, interquartile mean to the target, in which
        those that never arrived count as what they spent; `median_steps`, infinite where half never arrived, and
        `median_cpu_seconds` likewise; `means`, interquartile means of the return at each mark, where a run
        without a policy yet counts as random actions; None where no run had one.
    """
    steps = [float("inf") if run["steps"] is None else run["steps"] for run in runs]
    seconds = [float("inf") if run["steps"] is None else run["cpu_seconds"] for run in runs]
    means = {}
    for mark in map(str, MARKS):
        values = [run["means"][mark] for run in runs]
        known = [TASKS[runs[0]["task"]].random if value is None else value for value in values]
        means[mark] = interquartile_mean(known) if any(value is not None for value in values) else None
    return {
        "runs": len(runs),
        "solved": sum(run["steps"] is not None for run in runs),
        "timed_out": sum(run["outcome"] == "time" for run in runs),
        "failed": sum(run["outcome"] == "failed" for run in runs),
        "steps": interquartile_mean(map(steps_of, runs)),
        "median_steps": float(np.median(steps)),
        "median_cpu_seconds": float(np.median(seconds)),
        "means": means,
    }
