"""The experiments of the command line, ready to train, with their folders and goals."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

from evolab.core import checks
from evolab.envs.ids import current_id
from evolab.experiment.config.conversions import read
from evolab.experiment.config.island_options import FILE
from evolab.experiment.experiment import Experiment

MOST_STEPS = 1_000_000
"""Environment steps after which `evolab solve` gives up where it is told no budget."""

GOALS = ("generations", "max_steps", "minutes")


def solve(options: argparse.Namespace) -> tuple[Path, Experiment, dict[str, Any]]:
    """The experiment of `evolab solve`, ready."""
    goals = {name: getattr(options, name) for name in GOALS}
    _check_goals(goals)
    if all(value is None for value in goals.values()):
        goals["max_steps"] = MOST_STEPS
    settings = {
        name: getattr(options, name) for name in ("algorithm", "population", "seed", "device", "target")
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    experiment = Experiment(options.env, **settings)
    if experiment.target is None:
        experiment.target = _threshold(options.env)
    seed = experiment.config["seed"]
    name = f"{Path(options.env).stem if experiment.name == 'data' else experiment.name}-{experiment.algorithm.name}"
    try:
        folder = _folder(options.out, f"{name.replace('/', '-').replace(':', '-')}-seed{seed}")
        experiment.folder = folder
    except Exception:
        experiment.close()
        raise
    return folder, experiment, goals


def _threshold(environment: str) -> float | None:
    """The return at which an environment says that it is solved; None where it does not say."""
    try:
        return gymnasium.spec(current_id(environment)).reward_threshold
    except (gymnasium.error.Error, ValueError):
        return None


def run(options: argparse.Namespace) -> tuple[Path, Experiment, dict[str, Any]]:
    """The experiment of `evolab run`, filled and ready."""
    place = Path(options.config)
    settings = {} if place.is_dir() else read(place)
    if settings.get("islands") or (place / FILE).exists():
        raise ValueError(
            f"{place}: islands are trained by `evolab sweep {place}`; a file names them in a section sweep: {{islands: 4}}."
        )
    goals: dict[str, Any] = {"fill": None, **dict.fromkeys(GOALS), "target": settings.get("target")}
    section = settings.pop("run", None) or {}
    for name, value in section.items():
        if name not in goals:
            raise checks.unknown("option of the section run", name, goals)
        goals[name] = value
    for name in goals:
        if getattr(options, name) is not None:
            goals[name] = getattr(options, name)
    if isinstance(goals["fill"], str) and goals["fill"].isdecimal():
        goals["fill"] = int(goals["fill"])
    if place.is_dir():
        experiment = Experiment.load(place)
        experiment.folder = place  # one saved by hand is kept by itself from now on
        if goals["target"] is not None:
            experiment.target = float(goals["target"])
        goals["target"] = experiment.target
    if all(goals[name] is None for name in (*GOALS, "target")):
        raise ValueError(
            "a run needs a goal: --generations 20, --max-steps 300000, --minutes 10 or --target 200."
        )
    _check_goals(goals)
    target, source = goals.pop("target"), goals.pop("fill")
    if place.is_dir():
        if goals["generations"] is not None:
            goals["generations"] += experiment.generation
        return place, experiment, goals
    folder = _folder(options.out, place.stem)
    experiment = Experiment.from_config({**settings, "target": target}, folder=folder)
    try:
        if source is not None and experiment.algorithm.takes_others_experience:
            experiment.fill(source)
    except Exception:
        experiment.close()
        with contextlib.suppress(OSError):
            folder.rmdir()  # nothing was learnt, so nothing is kept
        raise
    return folder, experiment, goals


def _check_goals(goals: Mapping[str, object]) -> None:

    for name in GOALS:
        if goals[name] is not None:
            check = checks.positive if name == "minutes" else checks.positive_integer
            check(name, goals[name])


def _folder(given: Path | None, name: str) -> Path:
    """A folder for the run that is not in use."""
    folder = given
    if folder is None:
        folder, number = Path("runs") / name, 1
        while folder.exists():
            number += 1
            folder = Path("runs") / f"{name}-{number}"
    elif folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty. Name another folder with --out, or empty it.")
    return folder
