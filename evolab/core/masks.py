"""Masks: which discrete actions an environment permits now.

A mask has an entry for every value of an action space, True where that may be chosen: [n] of a Discrete space, those
of all entries behind one another of a MultiDiscrete or MultiBinary one (and of a Dict or Tuple of such).
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.actions import Actions
from evolab.core.discrete_actions import CombinedActions, combined


def lowest(dtype: torch.dtype) -> float:
    """What the value of a forbidden action is taken for; further from 0 than any that networks give."""
    return torch.finfo(dtype).min / 2


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values, or logits, [..., A] with `lowest` where a mask forbids.

    >>> masked(torch.tensor([1.0, 2.0]), torch.tensor([True, False])).argmax().item()
    0
    """
    if mask is None:
        return values
    low = lowest(values.dtype)
    # Clamped, so that even minus infinity, of an agent that has diverged, is above what is forbidden.
    return torch.where(mask, values.clamp(min=low / 2), low)


def counts_of(space: spaces.Space) -> list[int]:
    """How many options each choice of a space has; none of a Box, which has no masks."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return combined(space)[0] if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) else []


def as_mask(space: spaces.Space, given: object, what: str) -> np.ndarray:
    """A mask [..., W] of truth values, from one of integers or of a sequence of masks, one for each choice.

    Args:
        space: of the actions.
        given: by an environment or a caller.
        what: it is, for messages.

    Raises:
        ValueError: it has another size, or no truth values.
    """
    size, found = sum(counts_of(space)), given
    if isinstance(found, Tensor):
        found = found.detach().cpu().numpy()
    if isinstance(found, (tuple, list)) and any(np.ndim(part) for part in found):
        found = np.concatenate([np.asarray(part) for part in found], -1)
    mask = np.asarray(found)
    if mask.dtype.kind not in "biu" or mask.ndim == 0 or mask.shape[-1] != size:
        raise ValueError(
            f"{what} has shape {mask.shape} and dtype {mask.dtype}; {space} needs {size} entries of bool or int8, "
            "1 for what is permitted."
        )
    return mask if mask.dtype == bool else mask != 0


def forbids_all(space: spaces.Space, mask: np.ndarray) -> np.ndarray:
    """[...], True where a mask [..., W] leaves a choice without any option."""
    each = np.split(mask, np.cumsum(counts_of(space))[:-1], axis=-1)
    return np.logical_or.reduce([~part.any(-1) for part in each])


def leaves_nothing(space: spaces.Space, mask: Tensor) -> Tensor:
    """As `forbids_all`, of a mask on a device."""
    each = mask.split(counts_of(space), -1)
    return torch.stack([~part.any(-1) for part in each]).any(0)


def random_permitted(space: spaces.Space, mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Uniform actions [..., *shape] among those that a mask [..., W] permits."""
    chance = np.where(mask, generator.random(mask.shape), -1.0)
    if isinstance(space, spaces.Discrete):
        return space.start + chance.argmax(-1)
    each = np.split(chance, np.cumsum(counts_of(space))[:-1], axis=-1)
    found = np.stack([part.argmax(-1) for part in each], -1).reshape(*mask.shape[:-1], *(space.shape or ()))
    start = space.start if isinstance(space, spaces.MultiDiscrete) else 0
    return (start + found).astype(space.dtype, copy=False)


def permits(space: spaces.Space, mask: np.ndarray, action: np.ndarray) -> np.ndarray:
    """[...], True where a mask [..., W] permits an action [..., *shape] in the environment's range."""
    counts = np.array(counts_of(space))
    start = 0 if isinstance(space, spaces.MultiBinary) else space.start  # type: ignore[attr-defined]
    place = (np.asarray(action) - start).reshape(*mask.shape[:-1], len(counts)) + np.cumsum(counts) - counts
    return np.asarray(np.take_along_axis(mask, place, -1).all(-1))


def of_outputs(actions: Actions, mask: Tensor) -> Tensor:
    """[..., A], which outputs of a network a mask [..., W] permits: of combinations those of permitted entries."""
    if not isinstance(actions, CombinedActions):
        return mask
    found, *others = mask.split(actions.counts, -1)
    for part in others:
        found = (found.unsqueeze(-1) & part.unsqueeze(-2)).flatten(-2)
    return found
