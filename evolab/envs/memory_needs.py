"""What environments, and rows of what they show, take of the machine at least."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from evolab.core.machine_memory import Need
from evolab.envs.batches import leaf_dtype

ENVIRONMENT = 2 * 2**10
"""Bytes of the smallest environment with what stands around it."""

PROCESS = 4 * 2**20
"""Bytes that a process has to itself at least."""


def environments(count: int, vectorization: str, of: str, lower: str) -> Need:
    """Of so many environments, whatever they are.

    Args:
        count: of all agents together.
        vectorization: as `make` takes it.
        of: what makes them so many.
        lower: the options that make them fewer.
    """
    each = PROCESS if vectorization == "async" else ENVIRONMENT
    return Need("environments", each * count, of, lower)


def row_size(space: spaces.Space) -> int:
    """Bytes of one element of a space; of stacked frames each may be stored once."""
    if isinstance(space, spaces.Dict):
        return sum(row_size(part) for part in space.values())
    if isinstance(space, spaces.Tuple):
        return sum(row_size(part) for part in space)
    shape = tuple(space.shape or ())
    entries = int(np.prod(shape, dtype=object))
    return leaf_dtype(space).itemsize * (entries // min(shape) if len(shape) > 2 else entries)
