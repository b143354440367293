"""What a sweep trains: runs by name, each with its options and goals, from seeds, settings and grids of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import torch

from evolab.core import checks, registry
from evolab.core.plain import plain, to_plain
from evolab.core.schema import mapping, maybe, record, whole, word
from evolab.core.version import VERSION
from evolab.evolution.mutation.mutations import Mutations
from evolab.experiment.config import ExperimentConfig
from evolab.experiment.conversions import read
from evolab.experiment.engines.orders import Goals
from evolab.storage.files import Damaged, read_json, replace_bytes
from evolab.storage.folders import FORMAT

FILE = "sweep.json"

What: TypeAlias = (
    "int | Iterable[int] | Iterable[Mapping[str, Any]] | Mapping[str, Any] | str | PathLike[str]"
)
"""Seeds, settings, or a mapping with `seeds`, `configs` and `grid`; or a file or a sweep's folder."""

SECTION = ("seeds", "configs", "grid")
SET_BY_SWEEP = ("folder", "progress")
LONGEST = 80
"""Letters of a run's name."""


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
    goals: Goals
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
    """

    runs: Sequence[Run]
    retries: int = 2
    threads: int = 1
    migration: str | None = None
    seed: int = 0

    def check(self, sends: bool) -> None:
        """Refuse what no run could begin with.

        Args:
            sends: workers are other processes, to which only plain values come.

        Raises:
            ValueError: says which run.
        """
        for run in self.runs:
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
                "own": {name: _described(value) for name, value in run.own.items()},
            }
            for run in self.runs
        }
        about = {"format": FORMAT, "evolab": VERSION, "runs": runs}
        about |= {
            "retries": self.retries,
            "threads": self.threads,
            "migration": self.migration,
            "seed": self.seed,
        }
        text = json.dumps(plain(about), allow_nan=False, ensure_ascii=False, indent=1) + "\n"
        replace_bytes(home / FILE, text.encode())

    @classmethod
    def read(cls, home: Path, own: Mapping[str, Any] | None = None) -> Plan:
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
        return cls(runs, found["retries"], found["threads"], found.get("migration"), found.get("seed", 0))

    def united(self, before: Plan) -> Plan:
        """This plan, with the runs of an earlier one in the same folder; goals may change, options may not.

        Raises:
            ValueError: a run has other options than before.
        """
        if (self.migration, self.seed) != (before.migration, before.seed):
            raise ValueError(
                f"the runs were begun with migration={before.migration!r}, seed {before.seed}; now it is "
                f"{self.migration!r}, {self.seed}. Use another folder."
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


def opened(what: What, options: Mapping[str, Any]) -> tuple[What, Mapping[str, Any]]:
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


def planned(what: What, options: Mapping[str, Any]) -> Sequence[Run]:
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
    base, goals = _apart(options)
    configs = _configs(what)
    listed, names = [], _names(configs)
    for name, config in zip(names, configs, strict=True):
        changed, own_goals = _apart(config)
        merged = {**base}
        for key, value in changed.items():
            merged = _put(merged, key.split("."), value)
        merged.setdefault("seed", 0)
        own = {key: value for key, value in merged.items() if not is_plain(value)}
        given = {key: to_plain(_text(value)) for key, value in merged.items() if key not in own}
        listed.append(Run(name, given, Goals.of({**goals, **own_goals}), own))
    return listed


def is_plain(value: object) -> bool:
    """True for what a file can bring back: plain values, and evolab's parts made of them."""
    return isinstance(value, Integral | PathLike | torch.dtype | torch.device) or _is_plain(value)


def _is_plain(value: object) -> bool:
    if value is None or isinstance(value, str | bool | int | float):
        return True
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    if isinstance(value, Mutations) and value.own:
        return False
    return registry.name_of(value) is not None and _is_plain(to_plain(value))


def _text(value: Any) -> Any:
    if isinstance(value, PathLike | torch.device):
        return str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _apart(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of an experiment, and goals: by their names, or in a section `run`."""
    section = options.get("run") or {}
    if not isinstance(section, Mapping):
        raise TypeError(f"run is {section!r}; goals by name are expected, such as generations: 20.")
    known = Goals.__dataclass_fields__
    goals = {**section, **{name: value for name, value in options.items() if name in known}}
    rest = {name: value for name, value in options.items() if name not in known and name != "run"}
    return rest, {name: value for name, value in goals.items() if value is not None}


def _configs(what: Any) -> list[dict[str, Any]]:
    """What sets the runs apart, one mapping each."""
    section = what
    if isinstance(what, Integral) and not isinstance(what, bool):
        section = {"seeds": what}
    elif not isinstance(what, Mapping):
        if not isinstance(what, Iterable):
            raise TypeError(
                f"{what!r} is no sweep; seeds, settings or a file are expected: ev.sweep(8, ...)."
            )
        given = list(what)
        mappings = [one for one in given if isinstance(one, Mapping)]
        if mappings and len(mappings) < len(given):
            raise TypeError("seeds and settings are mixed; give settings alone, each with its seed.")
        section = {"configs" if mappings else "seeds": given}
    for name in section:
        if name not in SECTION:
            raise checks.unknown("part of a sweep", name, SECTION)
    seeds, grid = section.get("seeds"), section.get("grid") or {}
    if isinstance(seeds, Integral):
        seeds = range(checks.positive_integer("seeds", seeds))
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"grid.{name} is {values!r}; a list of values is expected.")
    sown = [{}] if seeds is None else [{"seed": checks.positive_integer("seed", one, 0)} for one in seeds]
    listed = [
        {**config, **dict(zip(grid, values)), **seed}
        for config in (section.get("configs") or [{}])
        for values in product(*grid.values())
        for seed in sown
    ]
    if not listed:
        raise ValueError("there is no run to sweep over; give seeds or settings: ev.sweep(8, ...).")
    return listed


def _names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each run: what sets it apart from the others, or its number."""
    shown = [{key: str(to_plain(value)) for key, value in config.items()} for config in configs]
    keys = dict.fromkeys(key for config in shown for key in config)
    apart = [key for key in keys if len(configs) == 1 or len({config.get(key) for config in shown}) > 1]
    names = []
    for config, values in zip(shown, configs, strict=True):
        parts = [f"{key.rpartition('.')[2]}-{config[key]}" for key in apart if _is_short(values.get(key))]
        names.append(re.sub(r"[^A-Za-z0-9._-]+", "", "_".join(parts)).strip("._-"))
    if len(configs) > len({json.dumps(config, sort_keys=True) for config in shown}):
        raise ValueError("two runs of the sweep are the same; give each settings or a seed of its own.")
    if len(set(names)) == len(names) and all(0 < len(name) <= LONGEST for name in names):
        return names
    width = len(str(len(configs)))
    return [f"run-{number:0{width}d}" for number in range(1, len(configs) + 1)]


def _is_short(value: object) -> bool:
    """True for what fits into a name."""
    return isinstance(value, str | int | float) or callable(value)


def _put(values: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """The same mapping with a value at a dotted path, in mappings of its own."""
    head, *rest = path
    if not rest:
        return {**values, head: value}
    inner = values.get(head) or {}
    if not isinstance(inner, Mapping):
        raise ValueError(f"{'.'.join(path)} is set, but {head} is {inner!r}, no mapping.")
    return {**values, head: _put(inner, rest, value)}


def _described(value: object) -> str:
    return getattr(value, "__name__", None) or type(value).__name__


def _run(home: Path, name: str, about: Mapping[str, Any], own: Mapping[str, Any]) -> Run:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"runs names {name!r}, which is no plain folder name.")
    for option, described in about["own"].items():
        if option not in own:
            raise ValueError(
                f"run {name} has its own {option} ({described}), which no file holds. Pass it: "
                f"ev.sweep({str(home)!r}, {option}=...)."
            )
    return Run(name, about["options"], Goals.of(about["goals"]), {key: own[key] for key in about["own"]})


_FORM = record(
    {
        "format": whole(1, FORMAT),
        "runs": mapping(record({"options": mapping(), "goals": mapping(), "own": mapping(word)})),
        "retries": whole(),
        "threads": whole(1),
    },
    {"migration": maybe(word), "seed": whole()},
)
