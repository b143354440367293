"""The protocol between who plans and who works: an order brings one run to the end of an epoch, a report says how it went.

An order may be carried out twice, since a worker may be lost after its work and before its answer: the run is then
there already, and the report is read again. Everything that must outlive a process lies in a folder that all workers
see: the run's own checkpoints, and its newest report.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

from evolab.core import checks
from evolab.core.plain_values import plain
from evolab.core.schema import maybe, measured, record, whole, word
from evolab.experiment.config.island_options import FILE
from evolab.storage.files import Damaged, read_json, replace_bytes

REPORTS = ".reports"
"""Folder of the reports, beside the runs."""

PERIOD = 0.3
"""Seconds between two looks at what others do."""


@dataclass(frozen=True)
class RunGoals:
    """When a run is over; the first that is met ends it.

    Attributes:
        generations: that it has in all.
        max_steps: of training and evaluation together.
        target: mean return over fresh episodes.
        minutes: of training, on the clock.
        fill: random steps, or the path of recorded data, to begin with.
    """

    generations: int | None = None
    max_steps: int | None = None
    target: float | None = None
    minutes: float | None = None
    fill: int | str | None = None

    @classmethod
    def of(cls, given: Mapping[str, object]) -> RunGoals:
        """Goals by name, checked.

        Raises:
            ValueError: an unknown goal, none at all, or one that is not positive.
        """
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise checks.unknown("goal of a run", name, cls.__dataclass_fields__)
        goals = cls(**cast("dict[str, Any]", given))
        for name in ("generations", "max_steps"):
            if getattr(goals, name) is not None:
                checks.positive_integer(name, getattr(goals, name))
        if goals.minutes is not None:
            checks.positive("minutes", goals.minutes)
        if goals.target is not None:
            checks.finite("target", goals.target)
        if all(goal is None for goal in (goals.generations, goals.max_steps, goals.target, goals.minutes)):
            raise ValueError(
                "a run needs a goal: generations=20, max_steps=300_000, minutes=10 or target=200.0."
            )
        return goals

    @property
    def plain(self) -> dict[str, Any]:
        """Those that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Order:
    """What a worker is to do.

    Attributes:
        run: its name; its folder has this name too.
        home: the folder of all runs.
        options: of its experiment, plain.
        goals: when it is over.
        epoch: that it is brought to the end of.
        length: generations of an epoch.
        own: options that are objects of the user's own; only some engines can hand them on.
        retries: how often it may be begun again without an epoch that ends.
        threads: of the worker; the same everywhere, so that sums have one order.
        inbox: runs whose best agents come in at the beginning of the epoch, and the generation that they are taken
            from; None where runs do not speak to each other.
        faster: runs that evolve more often than this one, whose agents bring their weights alone.
        transitions: that come in with each of them.
        sends: what others may ask for is left in an outbox of its own, which outlives the checkpoint.
        take: the worker that held the run's folder is known to be gone.
    """

    run: str
    home: Path
    options: Mapping[str, Any]
    goals: RunGoals
    epoch: int
    length: int = 1
    own: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 2
    threads: int = 1
    inbox: Sequence[tuple[str, int]] | None = None
    faster: Collection[str] = ()
    transitions: int = 0
    sends: bool = False
    take: bool = False

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.home / self.run

    @property
    def mark(self) -> Path:
        """A file that is there as long as the storage is."""
        return self.home / FILE

    @property
    def beginning(self) -> int:
        """The generation that the epoch begins after."""
        return (self.epoch - 1) * self.length

    @property
    def generation(self) -> int:
        """That the epoch ends with."""
        last = self.epoch * self.length
        return last if self.goals.generations is None else min(last, self.goals.generations)


@dataclass(frozen=True)
class Report:
    """How far a run is.

    Attributes:
        run: its name.
        epoch: that has ended last.
        generation: finished ones.
        total_steps: of training.
        evaluation_steps: the rest.
        best: the highest fitness of a single evaluation; None before the first.
        confirmed: mean return of the elite over fresh episodes; None without one.
        newest: fitness of the best agent of the newest generation.
        processor: what it was computed on.
        seconds: of training.
        over: why it has ended: the goal that was met; None where it has not.
        goals: that it was trained for.
        begun: how often it was begun since an epoch has ended.
        error: what broke it off last; empty where nothing did.
        trace: where that came from.
        worker: who has it, or had it last.
    """

    run: str
    epoch: int = 0
    generation: int = 0
    total_steps: int = 0
    evaluation_steps: int = 0
    best: float | None = None
    confirmed: float | None = None
    seconds: float = 0.0
    over: str | None = None
    goals: Mapping[str, Any] = field(default_factory=dict)
    begun: int = 0
    error: str = ""
    trace: str = ""
    worker: str = ""
    newest: float | None = None
    processor: str = ""

    def failed(self, retries: int) -> bool:
        """True where it was begun too often without an epoch that ended, and is left alone."""
        often = self.begun > retries + 1 or (self.begun == retries + 1 and bool(self.error))
        return self.over is None and often

    def met(self, goals: RunGoals) -> bool:
        """True where it has ended, and for these goals."""
        return self.over is not None and self.goals == goals.plain

    def write(self, home: Path) -> None:
        """Have it on the disk, in the place of the one before."""
        path = report_path(home, self.run)
        path.parent.mkdir(exist_ok=True)  # never the folder above it, which may only be away
        text = json.dumps(plain(asdict(self)), allow_nan=False, ensure_ascii=False, indent=1) + "\n"
        replace_bytes(path, text.encode())

    @classmethod
    def read(cls, home: Path, run: str) -> Report:
        """The newest report of a run; an empty one where there is none that can be read."""
        try:
            found = read_json(report_path(home, run))
            _FORM("", found)
        except (Damaged, ValueError):
            return cls(run)
        known = {name: value for name, value in found.items() if name in cls.__dataclass_fields__}
        if isinstance(known.get("newest"), str):  # it was not finite
            known["newest"] = None
        return replace(cls(run), **known)


class Job(Protocol):
    """What an engine has done: it asks for orders until there are none left."""

    home: Path

    def orders(self) -> list[Order]:
        """What can be done now, the most urgent first; empty where all is done, or given up."""

    def command(self) -> list[str]:
        """The program of a further worker, which finds everything in the folder."""

    def rest(self) -> None:
        """Have no more orders: what is under way is brought to its end."""


class Engine(Protocol):
    """Has a job done by one worker or several."""

    def drive(self, job: Job) -> Iterator[Report]:
        """Every report as it comes in, until the job has no orders left."""

    def stop(self) -> None:
        """Break off what is under way, from another thread: `drive` ends, and the runs stand at their newest checkpoints."""

    def close(self) -> None:
        """Let the workers go; nothing is lost by that."""


def report_path(home: Path, run: str) -> Path:
    """The file of a run's newest report."""
    return home / REPORTS / f"{run}.json"


_FORM = record(
    {
        "run": word,
        "epoch": whole(),
        "generation": whole(),
        "total_steps": whole(),
        "evaluation_steps": whole(),
        "best": maybe(measured),
        "confirmed": maybe(measured),
        "seconds": measured,
        "over": maybe(word),
        "goals": record({}),
        "begun": whole(),
        "error": word,
        "trace": word,
        "worker": word,
    },
    {"newest": maybe(measured), "processor": word},
)
