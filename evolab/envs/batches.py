"""Batches of observations: arrays [N, ...], or dicts and tuples of them, by the space's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from evolab.core.flags import all_of
from evolab.core.space_trees import map_space
from evolab.core.trees import Tree, leaves, map_leaves


def leaf_dtype(space: spaces.Space) -> np.dtype:
    """The dtype in which observations are handed on: float32 for every float, else the space's own."""
    dtype = np.dtype(space.dtype)
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def empty(space: spaces.Space, *lead: int) -> Any:
    """Fresh memory for a batch of observations, zeros, with `lead` axes in front."""
    if isinstance(space, spaces.Box):
        return np.zeros(lead + space.shape, leaf_dtype(space))
    return map_space(lambda leaf: np.zeros(lead + tuple(leaf.shape or ()), leaf_dtype(leaf)), space)


def put(space: spaces.Space, batch: Tree, index: int, value: Any) -> None:
    """Write one observation into row `index`; a wrong shape raises ValueError."""
    if type(batch) is np.ndarray:
        shape = value.shape if type(value) is np.ndarray else np.shape(value)
        if shape != batch.shape[1:]:  # numpy would broadcast (1,) into (4,)
            raise ValueError(f"observation has shape {shape}; its space says {batch.shape[1:]}")
        batch[index] = value
    elif isinstance(batch, dict):
        for name, part in batch.items():
            put(space[name], part, index, value[name])  # type: ignore[index]
    else:
        for place, part in enumerate(batch):
            put(space[place], part, index, value[place])  # type: ignore[index]


def merged(mask: np.ndarray, chosen: Tree, otherwise: Tree) -> Any:
    """Rows of `chosen` where `mask` [N] is True, rows of `otherwise` elsewhere, in fresh memory."""

    def leaf(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        result = old.copy()
        result[mask] = new[mask]
        return result

    return map_leaves(leaf, chosen, otherwise)


def not_finite(batch: Tree, count: int) -> np.ndarray | None:
    """[N], True where a row has a NaN or an infinite value; None where no row has."""
    bad: np.ndarray | None = None
    parts: Sequence[np.ndarray] = (batch,) if isinstance(batch, np.ndarray) else leaves(batch)
    for leaf in parts:
        if leaf.dtype.kind != "f":
            continue
        finite = np.isfinite(leaf)
        if all_of(finite):
            continue
        rows = ~finite.reshape(count, -1).all(axis=1)
        bad = rows if bad is None else bad | rows
    return bad
