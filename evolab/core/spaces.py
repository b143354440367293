"""Observation and action spaces as JSON, and back: what an agent on disk remembers of its world."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from math import prod
from typing import Any, SupportsInt

import numpy as np
from gymnasium import spaces

from evolab.core.composite_actions import ActionParts
from evolab.core.plain_values import plain
from evolab.core.schema import either, listing, maybe, measured, one_of, record, whole, word

LARGEST = 50_000_000
"""Entries of the largest space that is read; a file that states a larger one is damaged or hostile."""

DEEPEST = 16
"""Levels of Dict and Tuple."""


def to_json(space: spaces.Space) -> dict[str, Any]:
    """A space as plain values; bounds that are equal everywhere become one number.

    Raises:
        TypeError: the space is of a kind that no agent can observe or act in.

    >>> to_json(spaces.Discrete(4))
    {'type': 'Discrete', 'n': 4, 'start': 0, 'dtype': 'int64'}
    """
    if isinstance(space, ActionParts):
        return to_json(space.parts)
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bound(space.low),
            "high": _bound(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        counts, start = np.asarray(space.nvec).tolist(), np.asarray(space.start).tolist()
        return {"type": "MultiDiscrete", "nvec": counts, "start": start, "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": [[key, to_json(part)] for key, part in space.items()]}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [to_json(part) for part in space]}
    raise TypeError(
        f"{space} cannot be saved; Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple can."
    )


def from_json(value: Any, key: str = "") -> spaces.Space:
    """The inverse of `to_json`; understands Minari's descriptions as well.

    Args:
        value: as `to_json` gives it.
        key: under which it stands in its file, for errors.

    Raises:
        ValueError: it describes no space, or an absurdly large one.
    """
    try:
        return _space(value, 0, key)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        AssertionError,
        OverflowError,
        IndexError,
    ) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        where = f"{key}: " if key and not said.startswith(key) else ""
        raise ValueError(f"{where}not a space: {said}") from error


def _bounds(key: str, value: object) -> None:
    """A number, or nested lists of them."""
    if isinstance(value, list):
        listing(_bounds)(key, value)
    elif isinstance(value, float) and not np.isnan(value):
        return  # infinities too, as Minari writes them
    elif not isinstance(value, bool):
        measured(key, value)


FORMS = {
    "Box": record({"shape": listing(whole()), "dtype": word, "low": _bounds, "high": _bounds}),
    "Discrete": record({"n": whole(1)}, {"start": either(int), "dtype": word}),
    "MultiDiscrete": record({"nvec": _bounds}, {"start": maybe(_bounds), "dtype": word}),
    "MultiBinary": record({}, {"shape": listing(whole(1)), "n": one_of(whole(1), listing(whole(1)))}),
}
"""Of the spaces that hold no others."""


def _space(value: dict[str, Any], depth: int, key: str) -> spaces.Space:
    if depth > DEEPEST:
        raise ValueError(f"a space of more than {DEEPEST} levels")
    kind = value["type"]
    if isinstance(kind, str) and kind in FORMS:
        FORMS[kind](key, value)
    if kind == "Box":
        shape, dtype = _shape(value["shape"]), np.dtype(value["dtype"])
        if dtype.kind not in "biuf":
            raise ValueError(f"a Box space of {dtype}")
        low, high = (_filled(value[side], shape, dtype) for side in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        dtype = np.dtype(value.get("dtype", "int64"))
        return spaces.Discrete(_count(value["n"]), start=int(value.get("start", 0)), dtype=dtype.type)
    if kind == "MultiDiscrete":
        counts = np.asarray(value["nvec"], dtype=np.int64)
        start = value.get("start")
        if counts.size == 0 or counts.min() < 1 or int(counts.sum()) > LARGEST:
            raise ValueError(f"a MultiDiscrete of {int(counts.sum())} values")
        dtype = np.dtype(value.get("dtype", "int64"))
        start = None if start is None else np.asarray(start, dtype=np.int64)
        return spaces.MultiDiscrete(counts, dtype=dtype.type, start=start)
    if kind == "MultiBinary":
        shape = _shape(np.atleast_1d(value["shape"] if "shape" in value else value["n"]))
        return spaces.MultiBinary(shape[0] if len(shape) == 1 else list(shape))
    if "subspaces" in value:  # Minari's spelling
        parts = value["subspaces"]
        value = {"spaces": list(parts.items()) if kind == "Dict" else parts}
    if kind == "Dict":
        # An OrderedDict keeps the order in which features are concatenated; a dict would be sorted.
        return spaces.Dict(
            OrderedDict(
                (str(name), _space(part, depth + 1, f"{key}.{name}")) for name, part in value["spaces"]
            )
        )
    if kind == "Tuple":
        return spaces.Tuple(
            [_space(part, depth + 1, f"{key}[{i}]") for i, part in enumerate(value["spaces"])]
        )
    raise ValueError(f"a space of type {kind!r}")


def _shape(value: Iterable[SupportsInt]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in value)
    if len(shape) > 32 or any(size < 0 for size in shape) or prod(shape) > LARGEST:
        raise ValueError(f"a space of shape {shape}")
    return shape


def _count(value: SupportsInt) -> int:
    if not 1 <= int(value) <= LARGEST:
        raise ValueError(f"a Discrete space of {value} values")
    return int(value)


def _bound(bound: np.ndarray) -> Any:
    """One number where all entries agree (an image's bounds), else the nested list."""
    flat = bound.ravel()
    return plain(flat[0] if flat.size and bool((flat == flat[0]).all()) else bound.tolist())


def _filled(value: object, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    numbers = np.asarray(value)
    if numbers.dtype.kind == "U":  # "Infinity" and its like, which JSON has no numbers for
        numbers = numbers.astype(np.float64)
    if numbers.ndim and numbers.shape != shape:
        raise ValueError(f"bounds of shape {numbers.shape} for a space of shape {shape}")
    return np.full(shape, numbers, dtype=dtype)
