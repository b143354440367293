"""Actions on their way into environments: shape, type and range."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.actions import limits, within
from evolab.core.composite_actions import JoinedBox, together
from evolab.core.flags import all_of, any_of
from evolab.core.space_trees import is_whole, map_space


def as_batch(
    space: spaces.Space, action: ArrayLike | Tensor, lead: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Actions of all environments as one array, in the space's dtype and within its range.

    Args:
        space: one environment's action space: Box, Discrete, MultiDiscrete or MultiBinary.
        action: [P, E, ...], numpy or tensor.
        lead: (P, E).

    Returns:
        [N, ...], Box actions clipped to their bounds (a rescaled action may miss one by a
        rounding error); and [N], True where the action was not finite and the middle of the
        range was taken in its place, or None where all were.

    Raises:
        ValueError: if the shape is wrong, or a discrete action is not one of the space's.
    """
    action = together(space, action)
    given = np.asarray(action.detach().cpu() if isinstance(action, Tensor) else action)
    shape = tuple(space.shape or ())
    if given.shape != lead + shape:
        axes = "(P, E)" if not shape else "(P, E, " + ", ".join("A" for _ in shape) + ")"
        raise ValueError(f"action has shape {given.shape}; expected {axes} = {lead + shape}.")
    given = given.reshape(lead[0] * lead[1], *shape)
    if isinstance(space, spaces.Box):
        bad = None
        finite = np.isfinite(given)
        if not all_of(finite):
            bad = ~finite.reshape(len(given), -1).all(axis=1)
            given = np.where(finite, given, middle(space))
        if is_whole(space):  # a cast would cut towards zero
            return np.clip(np.rint(given.astype(np.float64)), *limits(space)).astype(space.dtype), bad
        if isinstance(space, JoinedBox) and space.wholes.any():
            given = np.where(space.wholes, np.rint(given), given)
        return within(given, space.low, space.high).astype(space.dtype, copy=False), bad
    if isinstance(space, spaces.MultiBinary) and given.dtype.kind == "b":
        given = given.astype(space.dtype)
    if given.dtype.kind not in "iu":
        raise ValueError(f"action has dtype {given.dtype}; {space} takes integers.")
    low: Any
    high: Any
    if isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec
    elif isinstance(space, spaces.MultiBinary):
        low, high = 0, 2
    else:
        low, high = space.start, space.start + space.n  # type: ignore[attr-defined]
    if any_of(given < low) or any_of(given >= high):
        raise ValueError(f"action has values in {given.min()}..{given.max()}; {space} has no such action.")
    return given.astype(space.dtype), None


def middle(space: spaces.Space) -> Any:
    """A legal action, always the same: the middle of a range, the first of several."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return map_space(middle, space)
    if isinstance(space, spaces.Box):
        low, high = limits(space)
        # ClipAction's are infinite.
        low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0.0))
        return ((low + np.where(np.isfinite(high), high, low)) / 2).astype(space.dtype)
    if isinstance(space, spaces.MultiDiscrete):
        return np.array(space.start, dtype=space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, dtype=space.dtype)
    return space.start  # type: ignore[attr-defined]
