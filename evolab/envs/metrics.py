"""Metrics of the user's own: the numbers that an environment puts into the last `info` of an episode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

METRICS = "evolab_metrics"
"""Key in a `Guard`'s `info`, in the step that ends an episode."""

MOST = 40
"""Metrics that are kept of an environment; the first ones."""

Metrics = dict[str, float]


def numbers_in(info: Mapping[str, object]) -> Metrics:
    """The scalars of an `info` by name: numbers, truth values as 0 and 1, arrays of one number.

    >>> numbers_in({"is_success": True, "distance": 1.5, "path": [1, 2], "_x": 3})
    {'is_success': 1.0, 'distance': 1.5}
    """
    found: Metrics = {}
    for name, value in info.items():
        if type(name) is not str or name.startswith(("_", "evolab_")):
            continue
        if type(value) is float or type(value) is int or type(value) is bool:
            found[name] = float(value)
        elif isinstance(value, np.generic | np.ndarray) and value.size == 1 and value.dtype.kind in "biuf":
            found[name] = float(value.item())
        if len(found) == MOST:
            break
    return found


def rows_in(info: Mapping[str, object], ended: np.ndarray) -> dict[int, Metrics]:
    """The same of a vector environment, whose `info` has an array [N] of each name, and under "_name" who gave it.

    Args:
        info: of the vector; a "final_info" in it is that of the episodes that ended.
        ended: [N], True where an episode did.
    """
    final = info.get("final_info", info)
    inner = final.get(METRICS) if isinstance(final, Mapping) else None
    told = inner if isinstance(inner, Mapping) else final
    if not isinstance(told, Mapping):
        return {}
    found: dict[int, Metrics] = {}
    for index in np.flatnonzero(ended).tolist():
        own = {
            name: values[index]
            for name, values in told.items()
            if isinstance(values, np.ndarray) and len(values) > index and _given(told, name, values)[index]
        }
        numbers = numbers_in(own)
        if numbers:
            found[index] = numbers
    return found


def _given(info: Mapping[str, object], name: str, values: np.ndarray) -> np.ndarray:
    """[N], True where an environment gave this entry."""
    mask, length = info.get(f"_{name}"), len(values)
    return mask if isinstance(mask, np.ndarray) and len(mask) == length else np.zeros(length, dtype=bool)


def means_by_name(episodes: list[dict[str, list[float]]]) -> dict[str, np.ndarray]:
    """[P] by name: the mean over an agent's episodes; NaN where none told it."""
    names = dict.fromkeys(name for one in episodes for name in one)
    return {
        name: np.array([float(np.mean(one[name])) if name in one else np.nan for one in episodes])
        for name in names
    }
