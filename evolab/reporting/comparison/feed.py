"""What a dashboard of runs says: rows, curves and what sets the runs apart, as small JSON-able messages."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from evolab.history.history import History
from evolab.reporting.comparison.association import association
from evolab.reporting.comparison.curves import RunCurve, Source
from evolab.reporting.comparison.listing import existing, places
from evolab.reporting.comparison.reader import GrowingRun, RunAtHand
from evolab.reporting.comparison.settings import brief, differing
from evolab.reporting.dashboard.short_numbers import short

POINTS = 200
"""Of a curve; where it has more generations, those at which the best so far rose come first."""
SCAN = 2.0
"""Seconds between two looks for new folders."""
LOOK = 0.5
"""Seconds of reading after which what was read so far is told."""
PART = 12
"""Runs whose curves travel in one message."""
COLUMNS = 24
"""Settings that are told at most."""

Reader: TypeAlias = "GrowingRun | RunAtHand"


class RunsFeed:
    """Follows folders of runs, and runs at hand.

    Args:
        what: a folder that holds runs, at any depth; or several folders, experiments or histories.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: nothing was given.
    """

    def __init__(self, what: Source | Iterable[Source]) -> None:
        sources = [what] if isinstance(what, str | PathLike | History | RunCurve) else list(what)
        if not sources:
            raise ValueError('there is nothing to follow: give a folder of runs, such as "runs/".')
        self.folders = [existing(one) for one in sources if isinstance(one, str | PathLike)]
        held = [one for one in sources if not isinstance(one, str | PathLike)]
        self.runs: dict[str, Reader] = {
            name: RunAtHand(one, name)
            for name, one in ((f"in this notebook {i + 1}", one) for i, one in enumerate(held))
        }
        self.columns: list[str] = []
        self.more = False
        self._scanned = -math.inf
        self._told: dict[str, Any] = {}
        self._curves: dict[str, Any] = {}
        self._lock = threading.RLock()

    @property
    def title(self) -> str:
        """What is followed, in a few words."""
        return ", ".join(map(str, self.folders)) or "this notebook"

    def look(self, quick: bool = False, seconds: float = math.inf) -> bool:
        """Read on wherever a run has grown; True if there was anything new.

        Args:
            quick: the facts of new folders alone, without their generations.
            seconds: after which no further run is read; `more` is True then.
        """
        with self._lock:
            fresh = self._scan()
            if quick:
                return fresh
            until = time.monotonic() + seconds
            self.more = False
            for run in list(self.runs.values()):
                self.more = time.monotonic() > until
                if self.more:
                    break
                fresh = run.look() or fresh
            return fresh

    def _scan(self) -> bool:
        if time.monotonic() - self._scanned < SCAN:
            return False
        self._scanned = time.monotonic()
        found: dict[str, Path] = {}
        for folder in self.folders:
            for place in places(folder, 0):
                name = str(place.relative_to(folder)) if place != folder else folder.name
                # Two folders may hold runs of one name.
                found[name if name not in found else str(place)] = place
        fresh = False
        for name, place in found.items():
            if name not in self.runs:
                self.runs[name] = run = GrowingRun(place, name)
                run.meet()
                fresh = True
        for name in [n for n, run in self.runs.items() if isinstance(run, GrowingRun) and n not in found]:
            del self.runs[name]
            fresh = True
        if fresh:
            self.columns = differing(run.config for run in self.runs.values() if run.config)[:COLUMNS]
        return fresh

    # What is told -------------------------------------------------------------------------------

    def messages(self, everything: bool = False) -> list[dict[str, Any]]:
        """What a page lacks that has seen all earlier messages, or all there is; curves in parts."""
        with self._lock:
            if everything:
                self._told, self._curves = {}, {}
            rows = {name: self._row(run) for name, run in list(self.runs.items())}
            changed = {name: row for name, row in rows.items() if self._told.get(name) != row}
            gone = [name for name in self._told if name not in rows]
            self._told = rows
            head = {
                "type": "runs", "title": self.title, "columns": [[name, brief(name)] for name in self.columns],
                "rows": changed, "gone": gone, "reset": everything, "importance": self._importance(),
            }  # fmt: skip
            grown = [
                name
                for name, run in self.runs.items()
                if run.curve.numbers
                and self._curves.get(name) != (len(run.curve.numbers), run.curve.numbers[-1])
            ]
            for name in grown:
                curve = self.runs[name].curve
                self._curves[name] = (len(curve.numbers), curve.numbers[-1])
            parts = [grown[i : i + PART] for i in range(0, len(grown), PART)]
            curves = [
                {"type": "runs", "curves": {n: self._curve(self.runs[n]) for n in part}} for part in parts
            ]
            return ([head] if changed or gone or everything else []) + curves

    def state(self) -> dict[str, Any]:
        """All there is in one piece, for a notebook that is saved."""
        with self._lock:
            told, known = self._told, self._curves
            try:
                whole: dict[str, Any] = {"rows": {}, "curves": {}}
                for message in self.messages(everything=True):
                    whole = {**whole, **{k: v for k, v in message.items() if k != "curves"}}
                    whole["curves"] |= message.get("curves", {})
                return whole
            finally:
                self._told, self._curves = told, known

    def details(self, name: str) -> dict[str, Any]:
        """How one run's winner came to be: its schedule and its architecture over generations."""
        run = self.runs.get(name)
        if run is None:
            return {"type": "details", "run": name, "error": "this run is gone."}
        try:
            line = [e for e, _ in run.history().ancestry()]
        except (ValueError, KeyError, TypeError, OSError) as error:
            return {"type": "details", "run": name, "error": f"{type(error).__name__}: {error}"}
        stride = max(1, math.ceil(len(line) / POINTS))
        kept = line[::-1][::stride][::-1]
        names = list(kept[-1].hyperparameters) if kept else []
        return {
            "type": "details", "run": name, "n": [e.generation for e in kept], "t": [e.steps or e.updates for e in kept],
            "h": {n: [short(e.hyperparameters.get(n)) for e in kept] for n in names},
            "hidden": [list(e.hidden) for e in kept], "activation": list(kept[-1].activation) if kept else [],
            "layers": kept[-1].architecture if kept and kept[-1].layers else "",
        }  # fmt: skip

    def _row(self, run: Reader) -> dict[str, Any]:
        curve, facts = run.curve, run.facts
        now = next((f for f in reversed(curve.fitness) if math.isfinite(f)), None)
        return {
            "writing": run.writing, "trouble": run.trouble[:300],
            "n": curve.numbers[-1] if curve.numbers else facts.get("generation", 0),
            "t": curve.steps[-1] if curve.steps else None,
            "s": short(curve.seconds[-1], 3) if curve.seconds else None,
            "now": None if now is None else short(now),
            "best": short(curve.best if curve.numbers else facts.get("best_fitness")),
            "confirmed": short(run.confirmed), "target": run.config.get("target"), "seed": run.config.get("seed"),
            "saved": round(run.saved), "what": [run.config.get("environment"), run.config.get("algorithm")],
            "v": [run.config.get(name) for name in self.columns],
            "w": {n: short(v) for n, v in run.winner.items()}, "shape": run.shape,
        }  # fmt: skip

    def _curve(self, run: Reader) -> dict[str, list[Any]]:
        c, rises, best = run.curve, [], -math.inf
        for i, fitness in enumerate(c.fitness):
            if fitness > best:
                best = fitness
                rises.append(i)
        last = len(c.numbers) - 1
        kept = sorted({*rises[:: max(1, math.ceil(len(rises) / POINTS))], *rises[-1:], 0, last})
        return {
            "n": [c.numbers[i] for i in kept], "t": [c.steps[i] for i in kept], "s": [short(c.seconds[i]) for i in kept],
            "f": [short(c.tops[i]) for i in kept],
        }  # fmt: skip

    def _importance(self) -> list[list[Any]]:
        """Name, strength, low and high of each setting that differs, strongest first."""
        runs = [run for run in self.runs.values() if run.curve.best is not None]
        scores = [run.confirmed if run.confirmed is not None else run.curve.best for run in runs]
        found: list[list[Any]] = []
        for name in self.columns:
            told = association(
                [run.config.get(name) for run in runs], [math.nan if s is None else s for s in scores]
            )
            if told is not None:
                found.append([brief(name), *(short(v, 3) for v in told)])
        return sorted(found, key=lambda row: -row[1])
