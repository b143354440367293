"""Leaves of transitions on their way into storage: their numbers, their size, and which of their rows count."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.base import as_kept
from evolab.data.buffers.frames import Frames, frames_for


def precision_of(dtype: torch.dtype) -> torch.dtype:
    """In which numbers of a type are stored."""
    return torch.float32 if dtype == torch.float64 else dtype


def row_bytes(leaf: Tensor) -> int:
    """Of one row."""
    return leaf.element_size() * prod(leaf.shape[1:])


def flat(leaf: ArrayLike, leading: int, valid: np.ndarray | None) -> Tensor:
    """The valid rows [B, ...] of a leaf with `leading` axes in front."""
    rows = as_kept(leaf).flatten(0, leading - 1)
    return rows if valid is None else rows[torch.as_tensor(valid.reshape(-1)).to(rows.device)]


def frames_of(like: Mapping[str, Tree], device: torch.device) -> dict[str, Any]:
    """What the observations of transitions like these, [B, ...] leaves, are stored once in; None for every other leaf."""

    def kept(leaf: Tensor, following: Tensor) -> Frames | None:
        return frames_for(leaf, following, device, precision_of(leaf.dtype))

    frames = {name: map_leaves(lambda leaf: None, value) for name, value in like.items()}
    if "observation" in like:
        shared = map_leaves(kept, like["observation"], like["next_observation"])
        frames |= {"observation": shared, "next_observation": shared}
    return frames


def empty_store(device: torch.device, leaf: Tensor, frames: Frames | None) -> Tensor:
    """Where rows like those of a leaf [B, ...] are kept, or the places of their parts; none yet."""
    if frames is None:
        return torch.empty(0, *leaf.shape[1:], dtype=precision_of(leaf.dtype), device=device)
    return torch.empty(0, frames.count, dtype=torch.int32, device=device)


def placed(frames: Frames | None, piece: Tensor) -> Tensor:
    """What is written of an observation: the places of its parts, which are stored now, or itself."""
    return piece if frames is None else frames.put(piece)
