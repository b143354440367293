"""What a sweep trains: runs by name, each with its options and goals, from seeds, settings and grids of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from evolab.core.plain_values import plain, to_plain
from evolab.core.schema import flag, listing, mapping, maybe, record, whole, word
from evolab.core.shown import own_name
from evolab.core.version import VERSION
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.conversions import read
from evolab.experiment.config.island_options import FILE
from evolab.experiment.engines.orders import RunGoals
from evolab.experiment.sweeps.expansion import as_text, expanded, is_plain, names_of, options_and_goals, put
from evolab.storage.files import Damaged, read_json, replace_bytes
from evolab.storage.folders import FORMAT

What: TypeAlias = (
    "int | Iterable[int] | Iterable[Mapping[str, Any]] | Mapping[str, Any] | str | PathLike[str]"
)
"""Seeds, settings, or a mapping with `seeds`, `configs` and `grid`; or a file or a sweep's folder."""

SET_BY_SWEEP = ("folder", "progress")


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        name: of it, and of its folder.
        options: of its experiment, plain.
        goals: when it is over.
        own: options that are objects of the user's own.
    """

    name: str
    options: Mapping[str, Any]
    goals: RunGoals
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Generations of an epoch: those between two checkpoints."""
        every = self.options.get("checkpoint_every", 1)
        return every if isinstance(every, int) else 1


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, and how each is worked on.

    Attributes:
        runs: in the order in which they are begun.
        retries: how often one may be begun again without an epoch that ends.
        threads: of each worker.
        migration: who receives the best agent of whom at the end of an epoch; None where runs do not speak.
        seed: of the migrations.
        synchronous: islands wait for each other at the end of each epoch.
        transitions: that go with each agent.
        frequencies: generations from one selection to the next, taken in turn by the runs; empty for their own.
        exact: refuse processors of different types.
    """

    runs: Sequence[Run]
    retries: int = 2
    threads: int = 1
    migration: str | None = None
    seed: int = 0
    synchronous: bool = True
    transitions: int = 0
    frequencies: Sequence[int] = ()
    exact: bool = True

    def faster(self, run: str) -> tuple[str, ...]:
        """The runs that evolve more often than one of them."""
        if not self.frequencies:
            return ()
        names = [one.name for one in self.runs]
        often = dict(zip(names, np.resize(self.frequencies, len(names)).tolist(), strict=True))
        return tuple(name for name in names if often[name] < often[run])

    def check(self, sends: bool) -> None:
        """Refuse what no run could begin with.

        Args:
            sends: workers are other processes, to which only plain values come.

        Raises:
            ValueError: says which run.
        """
        # Islands differ in their seeds alone.
        for run in self.runs if self.migration is None else self.runs[:1]:
            # A process that has computed already refuses to be deterministic; the workers are others.
            skipped = ("deterministic",) if sends else ()
            options = {name: value for name, value in run.options.items() if name not in skipped}
            try:
                ExperimentConfig.from_plain(options, **run.own)
            except (ValueError, TypeError) as error:
                raise type(error)(f"run {run.name}: {error}") from error

    def write(self, home: Path) -> None:
        """Have it on the disk, for workers and for going on."""
        home.mkdir(parents=True, exist_ok=True)
        runs = {
            run.name: {
                "options": dict(run.options),
                "goals": run.goals.plain,
                "own": {name: own_name(value) for name, value in run.own.items()},
            }
            for run in self.runs
        }
        about = {"format": FORMAT, "evolab": VERSION, "runs": runs}
        about |= {
            "retries": self.retries,
            "threads": self.threads,
            "migration": self.migration,
            "seed": self.seed,
            "synchronous": self.synchronous,
            "transitions": self.transitions,
            "frequencies": list(self.frequencies),
            "exact": self.exact,
        }
        text = json.dumps(plain(about), allow_nan=False, ensure_ascii=False, indent=1) + "\n"
        replace_bytes(home / FILE, text.encode())

    @classmethod
    def read(cls, home: Path, own: Mapping[str, object] | None = None) -> Plan:
        """The plan in a folder.

        Args:
            home: the folder.
            own: objects in place of those that no file holds.

        Raises:
            FileNotFoundError: no sweep is there.
            Damaged: its file is not well formed.
            ValueError: an object of the user's own is missing.
        """
        if not (home / FILE).exists():
            raise FileNotFoundError(
                f"there is no sweep at {home}. ev.sweep(8, {str(home)!r}, ...) begins one."
            )
        found = read_json(home / FILE)
        try:
            _FORM("", found)
            runs = [_run(home, name, about, own or {}) for name, about in found["runs"].items()]
        except ValueError as error:
            raise Damaged(f"{home / FILE}: {error}") from error
        exchange = {name: found[name] for name in _EXCHANGE if name in found}
        exchange["frequencies"] = tuple(found.get("frequencies", ()))
        return cls(runs, found["retries"], found["threads"], **exchange, exact=found.get("exact", True))

    def united(self, before: Plan) -> Plan:
        """This plan, with the runs of an earlier one in the same folder; goals may change, options may not.

        Raises:
            ValueError: a run has other options than before.
        """
        then, now = ({name: getattr(one, name) for name in _EXCHANGE} for one in (before, self))
        if then != now:
            told = ", ".join(f"{name}={then[name]!r}" for name in _EXCHANGE if then[name] != now[name])
            wanted = ", ".join(repr(now[name]) for name in _EXCHANGE if then[name] != now[name])
            raise ValueError(f"the runs were begun with {told}; now it is {wanted}. Use another folder.")
        if self.migration is not None and len(self.runs) != len(before.runs):
            raise ValueError(
                f"{len(before.runs)} islands were begun; now it is {len(self.runs)}. Use another folder."
            )
        mine = {run.name: run for run in self.runs}
        for run in before.runs:
            new = mine.setdefault(run.name, run)
            then, now = plain(dict(run.options)), plain(dict(new.options))
            if then != now:
                name = next(key for key in {**then, **now} if then.get(key) != now.get(key))
                raise ValueError(
                    f"run {run.name} was begun with {name}={then.get(name)!r}; now it is {now.get(name)!r}. "
                    "Sweep into another folder, or leave the option as it was."
                )
        order = [*(run.name for run in before.runs), *mine]
        return replace(self, runs=[mine[name] for name in dict.fromkeys(order)])


def opened(what: What, options: Mapping[str, object]) -> tuple[What, Mapping[str, Any]]:
    """What is swept over, and the options of all runs: those of a file, where one is named.

    Raises:
        ValueError: the file has no section `sweep`.
    """
    if isinstance(what, str | PathLike):
        values = read(what)
        section = values.pop("sweep", None)
        if not isinstance(section, Mapping):
            raise ValueError(
                f"{what}: a section sweep: with seeds:, configs:, grid: or islands: is expected; `evolab run` trains one."
            )
        return section, {**values, **options}
    return what, options


def planned(what: What, options: Mapping[str, object]) -> Sequence[Run]:
    """The runs that were asked for.

    Args:
        what: seeds, settings, or both, as `ev.sweep` takes them.
        options: of all runs, and their goals.

    Raises:
        ValueError: no runs, no goal, an unknown option, or two runs that are the same.
    """
    what, options = opened(what, options)
    for name in SET_BY_SWEEP:
        if name in options:
            raise ValueError(f"{name} is set by the sweep itself, for each run. Leave it out.")
    base, goals = options_and_goals(options)
    configs = expanded(what)
    listed, names = [], names_of(configs)
    for name, config in zip(names, configs, strict=True):
        changed, own_goals = options_and_goals(config)
        merged = {**base}
        for key, value in changed.items():
            merged = put(merged, key.split("."), value)
        merged.setdefault("seed", 0)
        own = {key: value for key, value in merged.items() if not is_plain(value)}
        given = {key: to_plain(as_text(value)) for key, value in merged.items() if key not in own}
        listed.append(Run(name, given, RunGoals.of({**goals, **own_goals}), own))
    return listed


def _run(home: Path, name: str, about: Mapping[str, Any], own: Mapping[str, object]) -> Run:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"runs names {name!r}, which is no plain folder name.")
    for option, described in about["own"].items():
        if option not in own:
            raise ValueError(
                f"run {name} has its own {option} ({described}), which no file holds. Pass it: "
                f"ev.sweep({str(home)!r}, {option}=...)."
            )
    return Run(name, about["options"], RunGoals.of(about["goals"]), {key: own[key] for key in about["own"]})


_FORM = record(
    {
        "format": whole(1, FORMAT),
        "runs": mapping(record({"options": mapping(), "goals": mapping(), "own": mapping(word)})),
        "retries": whole(),
        "threads": whole(1),
    },
    {
        "migration": maybe(word),
        "seed": whole(),
        "synchronous": flag,
        "transitions": whole(),
        "frequencies": listing(whole(1)),
        "exact": flag,
    },
)

_EXCHANGE = ("migration", "seed", "synchronous", "transitions", "frequencies")
"""How runs speak to each other, which stays what it was."""
