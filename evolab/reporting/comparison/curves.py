"""Anytime curves of runs: the best fitness found so far, by label, with the middle over seeds."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evolab.core import checks
from evolab.history.history import History
from evolab.reporting.comparison.listing import about, existing, places
from evolab.reporting.comparison.settings import differing, flat, telling, words
from evolab.storage.files import Damaged
from evolab.training.generation_folders import ABOUT

AXES = {
    "total_steps": "environment steps of all agents (training + evaluation)",
    "generations": "generation",
    "seconds": "seconds of training and evaluation",
}
MOST = 3
"""Settings, and names of runs, that a label lists."""


@runtime_checkable
class RunCurve(Protocol):
    """A run that is at hand, such as an `Experiment`."""

    @property
    def history(self) -> History:
        """Every finished generation."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Every option as plain values."""

    @property
    def confirmed(self) -> tuple[float, int | None] | None:
        """Mean return of the elite over fresh episodes, and how many, where that is known; None before there were any."""

    @property
    def status(self) -> str:
        """What it is doing, such as "running"."""


Source: TypeAlias = "str | PathLike[str] | History | RunCurve"
"""A folder of a run, its history, or the run itself."""


class Named(NamedTuple):
    """One run to compare: what it is called, how it was set, what it told."""

    name: str
    config: Mapping[str, Any]
    history: History


def groups(
    what: Mapping[str, Source | Iterable[Source]] | Iterable[Source] | Source,
) -> dict[str, list[Named]]:
    """Runs with at least one fitness, by label; those that differ in their seed alone share one."""
    if isinstance(what, Mapping):
        named = {str(label): [_named(one) for one in _listed(part)] for label, part in what.items()}
    else:
        sources, root = _listed(what), None
        if isinstance(what, (str, PathLike)) and not (Path(what).expanduser() / ABOUT).exists():
            root = existing(what)
            sources = list(places(root, 0))
        named = labelled([_named(one) for one in sources] if root is None else _readable(sources, root))
    kept = {
        label: [run for run in found if any(math.isfinite(g.fitness) for g in run.history)]
        for label, found in named.items()
    }
    return {label: found for label, found in kept.items() if found}


def labelled(found: Sequence[Named]) -> dict[str, list[Named]]:
    """Runs of one kind together, called by their names and by what sets the kinds apart."""
    kinds: dict[str, tuple[dict[str, Any], list[Named]]] = {}
    settings = [flat(run.config) for run in found]
    apart = differing(settings)
    for run, own in zip(found, settings):
        key = json.dumps({name: own.get(name) for name in apart}, default=str)
        kinds.setdefault(key, (own, []))[1].append(run)
    told = telling(apart, [own for own, _ in kinds.values()], MOST)
    labels: dict[str, list[Named]] = {}
    for own, members in kinds.values():
        said = [words(name, own[name]) for name in told if name in own] + ["…"] * (len(apart) > MOST)
        names = [run.name for run in members if run.name]
        if not said and not names:
            said = [str(own[name]) for name in ("algorithm", "environment") if name in own] or ["run"]
        label = ", ".join(said)
        if names and len(members) <= MOST:
            label = f"{', '.join(names)} ({label})" if label else ", ".join(names)
        while label in labels:
            label += "'"
        labels[label] = members
    return labels


def targets(found: Mapping[str, Sequence[Named]]) -> list[float]:
    """The returns that the runs aim at, each once."""
    aims = [run.config.get("target") for members in found.values() for run in members]
    return sorted({float(aim) for aim in aims if isinstance(aim, int | float)})


def anytime(history: History, axis: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each generation ended, and the best fitness up to there."""
    generations = [g for g in history if math.isfinite(g.fitness)]
    y = np.maximum.accumulate(np.array([g.fitness for g in generations], dtype=float))
    if axis == "seconds":
        return np.cumsum([sum(g.seconds.values()) for g in generations]), y
    return np.array([g.number if axis == "generations" else g.all_steps for g in generations], dtype=float), y


def middle(
    curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], interval: float
) -> tuple[NDArray[np.float64], ...]:
    """Where, low, median and high of several anytime curves over the stretch that they share.

    Args:
        curves: each (x, y), y in force from its x on.
        interval: share of the curves between low and high.
    """
    xs = np.unique(np.concatenate([x for x, _ in curves]))
    xs = xs[(xs >= max(x[0] for x, _ in curves)) & (xs <= min(x[-1] for x, _ in curves))]
    if not len(xs):  # runs that share no stretch: the longest speaks for all
        xs = max((x for x, _ in curves), key=len)
    table = np.array([y[np.searchsorted(x, xs, side="right").clip(1) - 1] for x, y in curves])
    low, median, high = np.quantile(table, [(1 - interval) / 2, 0.5, (1 + interval) / 2], axis=0)
    return xs, low, median, high


def _readable(places: Iterable[Source], root: Path) -> list[Named]:
    """The runs of a folder; one that cannot be read is named in a warning, and breaks nothing."""
    found = []
    for place in places:
        try:
            found.append(_named(place, root))
        except (Damaged, ValueError, KeyError, TypeError, OSError) as error:
            warnings.warn(f"{place} is left out: {error}", stacklevel=4)
    return found


def _listed(part: Source | Iterable[Source]) -> list[Source]:
    if isinstance(part, Iterable) and not isinstance(part, (str, PathLike, History, RunCurve)):
        return list(part)
    return [part]


def _named(one: Source, root: Path | None = None) -> Named:
    if isinstance(one, History):
        return Named("", {}, one)
    if isinstance(one, RunCurve):
        return Named("", one.config, one.history)
    path = checks.path("a run to compare", one)
    if not (path / "history" / "generations.jsonl").exists():
        raise FileNotFoundError(f"there is no saved run at {path}.")
    name = str(path.relative_to(root)) if root is not None and path != root else path.name
    facts = about(path)
    history = History.from_json_lines(path / "history", until=facts.get("generation"))
    return Named(name, facts.get("config") or {"run": name}, history)
