"""Seeds, settings and grids of them, expanded to what sets each run of a sweep apart, and a name for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import islice, product
from math import prod
from numbers import Integral
from os import PathLike
from typing import Any

import torch

from evolab.core import checks, registry
from evolab.core.plain_values import to_plain
from evolab.evolution.mutation.mutations import Mutations
from evolab.experiment.engines.orders import RunGoals

SECTION = ("seeds", "configs", "grid")
MOST = 10_000
"""Runs of a sweep: after each epoch of any of them the reports of all are read."""

LONGEST = 80
"""Letters of a run's name."""


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


def as_text(value: object) -> Any:
    """A path, a device, a dtype or a whole number as a file holds it; anything else as it is."""
    if isinstance(value, PathLike | torch.device):
        return str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def options_and_goals(options: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of an experiment, and goals: by their names, or in a section `run`."""
    section = options.get("run") or {}
    if not isinstance(section, Mapping):
        raise TypeError(f"run is {section!r}; goals by name are expected, such as generations: 20.")
    known = RunGoals.__dataclass_fields__
    goals = {**section, **{name: value for name, value in options.items() if name in known}}
    rest = {name: value for name, value in options.items() if name not in known and name != "run"}
    return rest, {name: value for name, value in goals.items() if value is not None}


def expanded(what: object) -> list[dict[str, Any]]:
    """What sets the runs apart, one mapping each."""
    section: Any = what
    if isinstance(what, Integral) and not isinstance(what, bool):
        section = {"seeds": what}
    elif not isinstance(what, Mapping):
        if not isinstance(what, Iterable):
            raise TypeError(
                f"{what!r} is no sweep; seeds, settings or a file are expected: ev.sweep(8, ...)."
            )
        given = what if isinstance(what, Sequence) else list(islice(what, MOST + 1))
        _refuse_too_many({"runs": given})
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
    configs = section.get("configs") or [{}]
    _refuse_too_many({"configs": configs, **grid, "seeds": [{}] if seeds is None else seeds})
    sown = [{}] if seeds is None else [{"seed": checks.positive_integer("seed", one, 0)} for one in seeds]
    listed = [
        {**config, **dict(zip(grid, values)), **seed}
        for config in configs
        for values in product(*grid.values())
        for seed in sown
    ]
    if not listed:
        raise ValueError("there is no run to sweep over; give seeds or settings: ev.sweep(8, ...).")
    return listed


def _refuse_too_many(parts: Mapping[str, Sized]) -> None:
    """Refuse more runs than can be driven; nothing was listed yet."""
    counts = {name: len(part) for name, part in parts.items()}
    if (count := prod(counts.values())) > MOST:
        factors = " x ".join(f"{size:,} {name}" for name, size in counts.items() if size > 1)
        of = "" if "runs" in counts else f" ({factors})"
        raise ValueError(
            f"this is a sweep of {count:,} runs{of}: each has a folder of its own, and beyond {MOST:,} of them the "
            "process that drives them would do nothing but read what they report. Lower "
            f"{max(counts, key=lambda name: counts[name])}."
        )


def names_of(configs: Sequence[Mapping[str, object]]) -> list[str]:
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


def put(values: Mapping[str, object], path: Sequence[str], value: object) -> dict[str, Any]:
    """The same mapping with a value at a dotted path, in mappings of its own."""
    head, *rest = path
    if not rest:
        return {**values, head: value}
    inner = values.get(head) or {}
    if not isinstance(inner, Mapping):
        raise ValueError(f"{'.'.join(path)} is set, but {head} is {inner!r}, no mapping.")
    return {**values, head: put(inner, rest, value)}
