"""Batches of observations: arrays [N, ...], or dicts and tuples of them, by the space's shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from evolab.core.space_trees import map_space
from evolab.core.trees import Tree, leaves, map_leaves


def leaf_dtype(space: spaces.Space) -> np.dtype:
    """The dtype in which observations are handed on: float32 for every float, else the space's own."""
    dtype = np.dtype(space.dtype)
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def empty(space: spaces.Space, *lead: int) -> Any:
    """Fresh memory for a batch of observations, zeros, with `lead` axes in front."""
    return map_space(lambda leaf: np.zeros(lead + tuple(leaf.shape or ()), leaf_dtype(leaf)), space)


def put(space: spaces.Space, batch: Tree, index: int, value: Any) -> None:
    """Write one observation into row `index`; a wrong shape raises ValueError."""
    if type(batch) is np.ndarray:
        if np.shape(value) != batch.shape[1:]:  # numpy would broadcast (1,) into (4,)
            raise ValueError(f"observation has shape {np.shape(value)}; its space says {batch.shape[1:]}")
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
    bad = None
    for leaf in leaves(batch):
        if leaf.dtype.kind != "f":
            continue
        finite = np.isfinite(leaf)
        if finite.all():
            continue
        rows = ~finite.reshape(count, -1).all(axis=1)
        bad = rows if bad is None else bad | rows
    return bad
