"""evolab's own arms of `hpo.py` as one sweep: many runs at once, that end where evolab itself says that the target is met.

Here evolab knows the target, as a user would have it: a run ends with the first elite that averages it over evolab's own
fresh episodes, or with the budget. The referee then plays 100 episodes of what each run hands out: is what was said
to be solved solved? The lines are therefore no runs of `hpo.py`, whose referee decides when a run ends and counts
steps and CPU time itself, and stand in a file of their own. A sweep that is cut short goes on, with the same call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hpo_evolab import ARMS
from hpo_referee import EPISODES, play
from hpo_tasks import TASKS

import evolab as ev

FILE = "sweep.jsonl"
PLACE = ("arm", "task", "budget", "seed")


def run_sweep(
    wanted: Iterable[Mapping[str, Any]], folder: Path, engine: str = "folder", workers: int | None = None
) -> list[dict[str, Any]]:
    """Train the runs of evolab's own arms side by side, and have the referee try what they hand out.

    Args:
        wanted: `arm`, `task`, `seed` and `budget` of each, as `hpo.planned` has them.
        folder: of the results: a sweep for each arm and task, and one file of lines.
        engine: of the sweeps.
        workers: of the engine; None for one for each core.

    Returns:
        the lines that were added.
    """
    file, added = folder / FILE, list[dict[str, Any]]()
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {tuple(run[name] for name in PLACE) for run in known}
    asked: dict[tuple[str, str, int], list[int]] = {}
    for one in wanted:
        if one["arm"] in ARMS:
            asked.setdefault((one["arm"], one["task"], one["budget"]), []).append(one["seed"])
    for (arm, task, budget), seeds in asked.items():
        options = {"max_steps": budget, "target": TASKS[task].target, "progress": False, **ARMS[arm]}
        many = {} if engine == "local" else {"workers": workers}
        home = folder / arm / task
        sweep = ev.sweep(seeds, home, environment=task, engine=engine, **many, **options)
        for told in sweep.table.to_dict("records"):
            exp = ev.load(home / told["run"])
            row = {"arm": arm, "task": task, "budget": budget, "seed": exp.config["seed"], "engine": engine}
            if row["seed"] in seeds and tuple(row[name] for name in PLACE) not in done:
                added.append(row | judged(exp, told))
                with file.open("a") as lines:
                    lines.write(json.dumps(added[-1]) + "\n")
            exp.close()
    return added


def judged(exp: ev.Experiment, told: Mapping[str, Any]) -> dict[str, Any]:
    """What a run said of itself, and what the referee finds."""
    task, elite = TASKS[exp.config["environment"]], exp.elite
    seed = np.random.SeedSequence([exp.config["seed"], told["steps"]])
    mean = float(np.mean(play(task.name, partial(elite.act, explore=False), EPISODES, seed)))
    return {
        "said": told["state"],
        "steps": told["steps"],
        "seconds": round(told["seconds"], 2),
        "estimate": elite.fitness,
        "mean": round(mean, 3),
        "solved": mean >= task.target,
    }
