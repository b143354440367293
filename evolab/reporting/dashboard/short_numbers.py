"""Numbers as messages to a page carry them: few digits, changes instead of repetitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat


def changes(values: Sequence[object]) -> list[list[Any]]:
    """[index, value] wherever a value differs from the one before it.

    >>> changes([1, 1, 2, 2, 1])
    [[0, 1], [2, 2], [4, 1]]
    """
    return [[i, value] for i, value in enumerate(values) if not i or value != values[i - 1]]


def short(value: SupportsFloat | str | None, digits: int = 5) -> Any:
    """A number as JSON carries it: five significant digits, None for what is not finite.

    >>> [short(x) for x in (231.43771, float("nan"), 7, 1e-3, "adam")]
    [231.44, None, 7, 0.001, 'adam']
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    value = float(value)
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def quantile(ordered: Sequence[float], q: float) -> float:
    """Linear interpolation between the neighbours of a sorted list, as NumPy's default."""
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
