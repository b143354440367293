"""Leaves of transitions on their way into storage: their numbers, their size, and which of their rows count."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.data.buffers.base import as_kept
from evolab.data.buffers.frames import Frames


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


def placed(frames: Frames | None, piece: Tensor) -> Tensor:
    """What is written of an observation: the places of its parts, which are stored now, or itself."""
    return piece if frames is None else frames.put(piece)
