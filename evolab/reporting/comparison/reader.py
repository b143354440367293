"""One run as a comparison needs it, read on while its files grow, without building a history of every agent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evolab.core.plain_values import from_special
from evolab.history.history import History
from evolab.reporting.comparison.curves import RunCurve
from evolab.reporting.comparison.listing import about
from evolab.reporting.comparison.settings import flat
from evolab.storage import lock
from evolab.storage.files import Damaged
from evolab.training.generation_folders import ABOUT

CHECKED = 64  # bytes before the place reached that must be as they were: otherwise the file was written anew
TAIL = 200_000  # bytes at the end of a file that hold the newest generation's rows
_JSON = json.JSONDecoder()


class Curve:
    """What a run's generations told, a value for each in every list.

    Attributes:
        numbers: of the generations.
        steps: up to the end of each, evaluation included.
        seconds: the same in time.
        fitness: of the best agent.
        tops: the best fitness so far; minus infinity before there was one.
        confirmed: the best mean over fresh episodes so far; minus infinity before there was one.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.steps: list[int] = []
        self.seconds: list[float] = []
        self.fitness: list[float] = []
        self.tops: list[float] = []
        self.confirmed: list[float] = []

    def add(self, number: int, steps: int, seconds: float, fitness: float, confirmed: float | None) -> None:
        """Add a generation; what stands at its number or later is replaced.

        Args:
            number: of the generation.
            steps: up to its end, evaluation included.
            seconds: that it took.
            fitness: of its best agent.
            confirmed: mean over fresh episodes, where there were any.
        """
        while self.numbers and self.numbers[-1] >= number:
            for column in (self.numbers, self.steps, self.seconds, self.fitness, self.tops, self.confirmed):
                column.pop()  # type: ignore[attr-defined]
        self.numbers.append(number)
        self.steps.append(steps)
        self.seconds.append(seconds + (self.seconds[-1] if self.seconds else 0.0))
        self.fitness.append(fitness)
        self.tops.append(_higher(self.tops, fitness))
        self.confirmed.append(_higher(self.confirmed, confirmed))

    @property
    def best(self) -> float | None:
        """The best fitness of a single evaluation."""
        return self.tops[-1] if self.tops and self.tops[-1] > -math.inf else None

    @property
    def best_confirmed(self) -> float | None:
        """The best mean over fresh episodes."""
        return self.confirmed[-1] if self.confirmed and self.confirmed[-1] > -math.inf else None


class GrowingRun:
    """The folder of a run, which any process may be writing to.

    Args:
        path: the folder.
        name: what the run is called.

    Attributes:
        config: every setting by its dotted name.
        curve: its generations so far.
        winner: hyperparameters of the newest generation's best agent.
        shape: its hidden widths.
        trouble: why it cannot be read; empty where it can.
        saved: when it was written last, in seconds since 1970.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.config: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.curve = Curve()
        self.winner: dict[str, Any] = {}
        self.shape: list[Any] = []
        self.trouble = ""
        self.saved = 0.0
        self._stamp: Any = None
        self._generations = Lines(path / "history" / "generations.jsonl")
        self._fitness = Lines(path / "history" / "fitness.jsonl")
        self._firsts: dict[int, dict[str, Any]] = {}  # each generation's first row: that of its best agent

    @property
    def confirmed(self) -> float | None:
        """What is known of the elite, from the newest checkpoint; where that is older, the highest mean that was seen."""
        newest = not self.curve.numbers or self.facts.get("generation") == self.curve.numbers[-1]
        known = self.facts.get("elite_fitness") if newest else None
        return known if known is not None else self.curve.best_confirmed

    @property
    def writing(self) -> bool:
        """True while a process has the folder open for writing."""
        return lock.writer(self.path) is not None

    def meet(self) -> None:
        """Read the facts alone, which is quick; the generations follow with `look`."""
        try:
            self.facts = about(self.path) if (self.path / ABOUT).exists() else {}
            self.config = flat(self.facts.get("config") or {})
            self.trouble = ""
        except (Damaged, ValueError, KeyError, TypeError, OSError) as error:
            self.trouble = str(error)

    def look(self) -> bool:
        """Read on; True if there was something new."""
        files = [_stamp(path) for path in (self.path / ABOUT, self._generations.path)]
        if (stamp := (files, self.writing)) == self._stamp:
            return False
        self._stamp = stamp
        self.saved = max(seconds for seconds, _ in files)
        self.meet()
        try:
            self._read()
        except KeyError as missing:
            self.trouble = self.trouble or f"{self.path / 'history'} is damaged: a line lacks {missing}."
        except (ValueError, TypeError, OSError) as error:
            self.trouble = self.trouble or f"{self.path / 'history'} is damaged: {error}"
        return True

    def _read(self) -> None:
        for _ in (1, 2):
            self._note_firsts()
            heads = list(self._generations.read())
            if not (self._generations.restarted or self._fitness.restarted):
                break
            # Written anew, or rolled back: everything again, once.
            self.curve, self._firsts = Curve(), {}
            self._generations, self._fitness = Lines(self._generations.path), Lines(self._fitness.path)
        for head in map(_value, heads):
            row = self._firsts.pop(head["number"], None)
            agents = head["evaluations"]
            if row is None or not agents:
                continue
            steps = head["total_steps"] + (head["evaluation_steps"] if row["steps"] else 0)
            means = map(from_special, (row["fitness"], head["confirmed"]))
            self.curve.add(head["number"], steps, sum(head["seconds"].values()), *means)
        if heads:
            self._note_winner()

    def _note_firsts(self) -> None:
        known = ""
        for line in self._fitness.read():
            if known and line.startswith(known):
                continue
            row = _value(line)
            known = f'{{"generation": {row["generation"]}, '
            self._firsts.setdefault(row["generation"], row)

    def _note_winner(self) -> None:
        path, number = self.path / "history" / "hyperparameters.jsonl", self.curve.numbers[-1]
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            text = file.read().decode("utf-8", "replace")
        start = f'{{"generation": {number}, '
        line = next((line for line in text.split("\n") if line.startswith(start)), None)
        if line is not None:
            row = json.loads(line)
            self.winner, self.shape = row["hyperparameters"], row["hidden"]

    def history(self) -> History:
        """All of it, for a closer look."""
        return History.from_json_lines(self.path / "history")


class RunAtHand:
    """An experiment or a history of this process, which needs no folder; see `GrowingRun` for the attributes.

    Args:
        run: the experiment or the history.
        name: what it is called.
    """

    def __init__(self, run: RunCurve | History, name: str) -> None:
        self.run, self.name = run, name
        self.curve = Curve()
        self.facts: dict[str, Any] = {}
        self.config: dict[str, Any] = {} if isinstance(run, History) else flat(run.config)
        self.winner: dict[str, Any] = {}
        self.shape: list[Any] = []
        self.trouble, self.saved = "", 0.0

    @property
    def confirmed(self) -> float | None:
        """What is known of the elite; of a history alone the highest mean that was seen."""
        if isinstance(self.run, History):
            return self.curve.best_confirmed
        return None if self.run.confirmed is None else self.run.confirmed[0]

    @property
    def writing(self) -> bool:
        """True while it trains."""
        return not isinstance(self.run, History) and self.run.status in ("running", "pausing", "stopping")

    def meet(self) -> None:
        """Nothing has to be read."""

    def look(self) -> bool:
        """Read on; True if there was something new."""
        generations = list(self.history())
        fresh = generations[len(self.curve.numbers) :]
        for g in fresh:
            self.curve.add(g.number, g.all_steps, sum(g.seconds.values()), g.fitness, g.confirmed)
            self.winner, self.shape = dict(g.best.hyperparameters), list(g.best.hidden)
        return bool(fresh)

    def history(self) -> History:
        """All of it, for a closer look."""
        return self.run if isinstance(self.run, History) else self.run.history


class Lines:
    """The whole lines of a file that only grows; `restarted` says that it did not."""

    def __init__(self, path: Path) -> None:
        self.path, self.place, self.restarted = path, 0, False
        self._before = b""

    def leave_out_all_but(self, size: int) -> bool:
        """Begin with the first line within the last `size` bytes; True if there is anything before it."""
        if not self.path.exists():
            return False
        with self.path.open("rb") as file:
            start = file.seek(0, 2) - size
            if start <= 0:
                return False
            file.seek(start - 1)
            file.readline()
            self.place = file.tell()
            file.seek(max(0, self.place - CHECKED))
            self._before = file.read(min(CHECKED, self.place))
        return True

    def read(self) -> Iterator[str]:
        """What was added since the last call, as far as lines are complete."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(max(0, self.place - CHECKED))
            if file.read(len(self._before)) != self._before:
                self.restarted = True
                return
            file.seek(self.place)
            data = file.read()
            end = data.rfind(b"\n") + 1
            self.place += end
            file.seek(max(0, self.place - CHECKED))
            self._before = file.read(min(CHECKED, self.place))
        yield from data[:end].decode().split("\n")[:-1]


def _value(line: str) -> Any:
    """What a line of JSON without blanks around it holds; `json.loads` looks for blanks first, a third of its time here."""
    value, end = _JSON.raw_decode(line)
    if end != len(line):
        raise ValueError(f"{line[end : end + 20]!r} stands behind a value.")
    return value


def _higher(before: Sequence[float], value: float | None) -> float:
    """The best so far with one more value, which may be missing or no number."""
    best = before[-1] if before else -math.inf
    return max(best, value) if value is not None and math.isfinite(value) else best


def _stamp(path: Path) -> tuple[float, int]:
    try:
        found = path.stat()
    except OSError:
        return 0.0, 0
    return found.st_mtime, found.st_size
