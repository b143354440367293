"""Single options of an experiment: what stands for what, and where whole configurations are read from."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from os import PathLike
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from evolab.core import checks, registry
from evolab.core.device import dtype_called
from evolab.core.option_types import check_declared, check_known
from evolab.core.ranges import Choice, Range
from evolab.data.buffers.base import Buffer
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.envs.envpool import is_pool
from evolab.envs.factory import VectorMaker
from evolab.evaluation.fitness import Estimator
from evolab.evolution.mutation.mutations import Mutations
from evolab.experiment.config.options import Options
from evolab.population.agent import Agent

_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}


def read(source: Mapping[str, object] | str | PathLike[str]) -> dict[str, Any]:
    """Plain values from a mapping, or from the path of a .json, .yaml or .yml file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no mapping, or is not well formed.
    """
    if isinstance(source, Mapping):
        if source.get("racing"):
            warnings.warn(
                "racing is gone: all agents now play equally many evaluation episodes.", stacklevel=5
            )
        return {name: value for name, value in source.items() if name != "racing"}  # of evolab 0.1
    path = checks.path("a configuration", source)
    if not path.exists():
        raise FileNotFoundError(
            f"no configuration at {path}. A run leaves one in its folder, config.yaml; exp.config shows what it holds."
        )
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            value = json.loads(text)
        else:
            import yaml

            value = yaml.safe_load(text)
    except Exception as error:  # PyYAML's own kinds, and Python's on odd dates and numbers
        raise ValueError(f"{path}: not well formed: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: a mapping of options is expected, {type(value).__name__} came.")
    return read(value)


def interval(every: int | str | timedelta) -> tuple[int, float]:
    """Generations and seconds that must have passed between two checkpoints.

    Raises:
        ValueError: neither a whole number of generations nor a time.

    >>> interval(5), interval("10 min")
    ((5, 0.0), (1, 600.0))
    """
    if isinstance(every, timedelta):
        return 1, every.total_seconds()
    if isinstance(every, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", every.lower())
        if match and match[2] in _SECONDS:
            return 1, float(match[1]) * _SECONDS[match[2]]
        raise ValueError(
            f"checkpoint_every is {every!r}; a number of generations or a time like '10 min' is expected."
        )
    return checks.positive_integer("checkpoint_every", every), 0.0


def mutations_of(mutations: Mutations | Mapping[str, Any] | None) -> Mutations:
    """Mutations from an object, from a mapping of its options, or from None, the defaults.

    Raises:
        TypeError: something else came.
        ValueError: an unknown option.
    """
    if mutations is None or isinstance(mutations, Mapping):
        known = [option.name for option in fields(Mutations)]
        for name in mutations or {}:
            if name not in known:
                raise checks.unknown("option of Mutations", name, known)
        return Mutations(**(mutations or {}))
    if not isinstance(mutations, Mutations):
        raise TypeError(f"mutations is {mutations!r}; ev.Mutations(...) is expected.")
    return mutations


def buffer_of(
    buffer: object, kind: type[ReplayBuffer] | type[RolloutBuffer] = ReplayBuffer
) -> ReplayBuffer | RolloutBuffer | None:
    """A buffer from an object, its name, its options, or its capacity or horizon; None stays None.

    Args:
        buffer: what the user gave.
        kind: that the algorithm learns from.

    Raises:
        TypeError: something else came, or the kind that the algorithm does not learn from.
    """
    if isinstance(buffer, int) and not isinstance(buffer, bool):
        return kind(buffer)
    if isinstance(buffer, str):
        buffer = registry.part("buffer", buffer)()
    if isinstance(buffer, Mapping):
        check_known(kind, buffer, kind.__name__)
        check_declared(kind, buffer, "buffer")
        return kind(**buffer)
    if buffer is not None and not isinstance(buffer, kind):
        what = "a horizon" if kind is RolloutBuffer else "a capacity"
        raise TypeError(f"buffer is {buffer!r}; ev.{kind.__name__}(...) or {what} is expected.")
    return buffer


def plain_buffer(buffer: Buffer) -> dict[str, Any]:
    """The options of a buffer, with its type where an algorithm would not take one of that by itself."""
    usual = type(buffer) in (ReplayBuffer, RolloutBuffer) or registry.name_of(buffer) is None
    return buffer.options if usual else {"type": type(buffer).__name__, **buffer.options}


def batches_within(
    capacity: int, values: Mapping[str, Any], ranges: Mapping[str, Range], told: bool
) -> tuple[dict[str, Any], dict[str, Range]]:
    """Starting values and ranges whose batches a replay buffer can hold; a range that this leaves nothing of is gone.

    Args:
        capacity: of the buffer.
        values: of all hyperparameters.
        ranges: of those that mutate.
        told: say what was cut, where it was the user's own.
    """
    values, ranges = dict(values), dict(ranges)
    before, space = values["batch_size"], ranges.get("batch_size")
    values["batch_size"] = min(before, capacity)
    if isinstance(space, Choice):
        options = tuple(option for option in space.options if option <= capacity)
        kept: Range | None = Choice(*options) if len(options) > 1 else None
    elif space is not None and space.high > capacity:
        kept = replace(space, high=capacity) if space.low < capacity else None
    else:
        kept = space
    if kept != space:
        del ranges["batch_size"]
        if kept is not None:
            ranges = ranges | {"batch_size": kept}
    if told and (kept != space or values["batch_size"] != before):
        checks.notice(
            f"batch_size reaches beyond the buffer, which holds {capacity} transitions: it starts at "
            f"{values['batch_size']} and {'stays there' if kept is None else f'evolves within {kept}'}. "
            "Pass a larger buffer= for larger batches."
        )
    return values, ranges


def positive_or_none(name: str, value: int | None) -> int | None:
    """A whole number of at least 1, or None."""
    return None if value is None else checks.positive_integer(name, value)


def dtype_named(dtype: torch.dtype | str) -> torch.dtype:
    """A dtype from itself or from its name.

    Raises:
        TypeError: it is none.
    """
    found = dtype_called(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype):
        raise TypeError(f"dtype is {dtype!r}; a dtype such as torch.float32 is expected.")
    return found


def check_kinds(options: Options) -> None:
    """Refuse values of another kind than their option takes, where that is not checked beside its meaning.

    Raises:
        TypeError: names the option.
    """
    if not (options.env_kwargs is None or isinstance(options.env_kwargs, Mapping)):
        raise TypeError(f"env_kwargs is {options.env_kwargs!r}; a dict by name is expected.")
    for name in ("evolving", "overlap", "progress"):
        if not isinstance(getattr(options, name), bool):
            raise TypeError(f"{name} is {getattr(options, name)!r}; True or False is expected.")
    if not (options.folder is None or isinstance(options.folder, (str, PathLike))):
        raise TypeError(f"folder is {options.folder!r}; a path is expected.")
    if not (options.load is None or isinstance(options.load, (str, PathLike, Agent))):
        raise TypeError(f"load is {options.load!r}; an agent, or the path of one, is expected.")
    fitness = options.fitness
    if not (fitness is None or isinstance(fitness, (str, Estimator))):
        raise TypeError(
            f"fitness is {fitness!r}; 'acting', 'return', 'fqe' or an object with estimate() is expected."
        )


def source_of(environment: object, vector: object, env_kwargs: Mapping[str, object] | None) -> Any:
    """What environments come from.

    Raises:
        ValueError: a vector environment that is made already, or two sources.
        TypeError: `vector` makes nothing.
    """
    if vector is not None:
        if environment is not None:
            raise ValueError("environment and vector are given; expected one of the two.")
        if not callable(vector):
            raise TypeError(f"vector is {vector!r}; expected a function of (num_envs, seed).")
        if env_kwargs:
            raise ValueError("env_kwargs are given with vector; pass them inside its function.")
        return VectorMaker(vector)
    if isinstance(environment, VectorEnv) or is_pool(environment):
        raise ValueError(
            f"environment is {type(environment).__name__}, a vector environment that is made already; evaluation "
            "and loading need more of them. Pass what makes them, vector=lambda n, seed: "
            'gymnasium.make_vec("CartPole-v1", num_envs=n), or an id, or a callable that makes one environment.'
        )
    return environment
