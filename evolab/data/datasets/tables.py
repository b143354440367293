"""Data that are in memory already: a dict of numpy arrays, or a pandas DataFrame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from evolab.core.trees import Tree
from evolab.data.datasets.columns import DEPTH, Columns, DatasetError, numeric
from evolab.data.datasets.layouts import SPELLINGS, find, from_flat


def from_mapping(source: Mapping[str, Any], name: str) -> Columns:
    """The columns of a dict of arrays, keys as in D4RL files or in the singular.

    Args:
        source: observations and next_observations may be dicts or tuples of arrays; an
            `episode` column of numbers says which rows belong together.
        name: what messages call it.

    Raises:
        DatasetError: see `layouts.from_flat`.
    """
    return from_flat(find(source, lambda key: _tree(source[key], name, key, 0), name), name, "arrays")


def from_frame(frame: Any, name: str) -> Columns:
    """The columns of a DataFrame, one row per step in the order of time.

    A column such as `observation` holds a number or a vector per row; a vector may
    also be spread over columns `observation_0`, `observation_1`, ...

    Raises:
        DatasetError: numbered columns have a gap, or see `layouts.from_flat`.
    """
    columns: dict[str, Any] = {}
    spread: dict[str, dict[int, str]] = {}
    known = {spelling for spellings in SPELLINGS.values() for spelling in spellings}
    for column in map(str, frame.columns):
        match = re.fullmatch(r"(\w+?)_(\d{1,6})", column)
        if match and match[1] in known:
            spread.setdefault(match[1], {})[int(match[2])] = column
        else:
            columns[column] = None
    for base, parts in spread.items():
        if sorted(parts) != list(range(len(parts))):
            raise DatasetError(
                f"{name}: columns '{base}_*' are numbered {sorted(parts)}; expected 0 to {len(parts) - 1} "
                "without a gap."
            )
        columns[base] = [parts[i] for i in range(len(parts))]
    text = {str(column): column for column in frame.columns}

    def get(key: str) -> np.ndarray:
        parts = columns[key]
        if parts is None:
            return _tree(frame[text[key]].to_numpy(), name, key, 0)
        return _tree(frame[[text[part] for part in parts]].to_numpy(), name, key, 0)

    return from_flat(find(columns, get, name), name, "DataFrame")


def _tree(value: Any, name: str, key: str, depth: int) -> Tree:
    if depth > DEPTH:
        raise DatasetError(f"{name}: {key!r} is nested too deeply; expected arrays.")
    if isinstance(value, Mapping):
        if not value:
            raise DatasetError(f"{name}: {key!r} is an empty dict; expected arrays.")
        return {str(k): _tree(v, name, f"{key}/{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, tuple):
        if not value:
            raise DatasetError(f"{name}: {key!r} is an empty tuple; expected arrays.")
        return tuple(_tree(v, name, f"{key}/{i}", depth + 1) for i, v in enumerate(value))
    try:
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        if array.dtype == object and array.ndim == 1 and len(array):
            array = np.stack([np.asarray(row) for row in array])  # a vector in every row
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"{name}: {key!r} is no array ({error}); expected entries of one shape. Pad or drop the odd rows."
        ) from error
    return numeric(array, name, key)
