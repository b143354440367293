"""Actions between two worlds: the environment's own range and what a network computes in.

Algorithms for Box actions compute in [-1, 1]; those for Discrete actions in 0 .. n - 1.
Everything outside an algorithm, stored experience included, is in the environment's range.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.composite_actions import JoinedBox, joined
from evolab.core.discrete_actions import CombinedActions, DiscreteActions, FactoredActions, combined
from evolab.core.space_trees import is_whole

FINITE = (
    "Give it finite ones where it is made, or with gymnasium.wrappers.TransformAction"
    "(env, lambda a: a, gymnasium.spaces.Box(-1.0, 1.0, shape)), in the range that makes sense."
)
"""What to do about infinite bounds; RescaleAction refuses them and ClipAction makes them."""


LARGEST = float(np.finfo(np.float32).max) / 4
"""Bounds from here on stand for infinity: EnvPool writes the largest number of 64 bits."""


class Actions(Protocol):
    """What a population asks of its action space.

    Attributes:
        width: A, entries of a Box action, or the number of discrete actions, those of several choices together.
        continuous: True where networks compute actions [..., A] in [-1, 1], False where they choose one of A.
        grain: [A], half of what one value takes of [-1, 1] in entries of whole numbers, 0 in others; None
            where all entries are real numbers, or actions are discrete.
        parts: how many of the A belong to each of several choices that are made apart; empty for other actions.
    """

    width: int
    continuous: bool
    grain: Tensor | None
    parts: tuple[int, ...]

    def to_unit(self, action: Tensor, leading: int) -> Tensor:
        """What an algorithm sees of actions in the environment's range with so many leading axes."""

    def to_environment(self, unit: Tensor) -> Tensor:
        """The inverse."""

    def to_numpy(self, action: Tensor) -> np.ndarray:
        """Actions in the environment's range, in its dtype."""

    def random(self, lead: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        """Uniform actions [*lead, ...] in the environment's range."""


class BoxActions:
    """A bounded Box, mapped to [-1, 1] and back entry by entry.

    Whole numbers (a Box of integers or booleans) from low to high share [-1, 1] equally: each of n
    values has 2 / n of it, and is seen by an algorithm as the middle of its share.

    Args:
        space: Box with finite bounds, of any rank.
        device: where the bounds are kept.
        dtype: of the computation.

    Raises:
        ValueError: a bound is infinite.
    """

    continuous = True
    parts: tuple[int, ...] = ()

    def __init__(self, space: spaces.Box, device: torch.device, dtype: torch.dtype) -> None:
        if not is_finite(space):
            raise ValueError(
                f"action space {space} has infinite bounds; a policy needs a finite range. {FINITE}"
            )
        if not space.low.size:
            raise ValueError(f"action space {space} has no entries: nothing can be chosen.")
        self.space = space
        self.width = int(np.prod(space.shape)) if space.shape else 1
        wholes = whole_entries(space)
        self.whole = bool(wholes.any())
        whole = torch.from_numpy(wholes)
        self._low, self._high = limits(space)
        low, high = torch.from_numpy(self._low.ravel()), torch.from_numpy(self._high.ravel())
        half = (high - low + whole) / 2
        self.centre = ((high + low) / 2).to(device=device, dtype=dtype)
        self.half = half.to(device=device, dtype=dtype)
        self.low, self.high = (side.to(device=device, dtype=dtype) for side in (low, high))
        grain = torch.where(whole, 0.5 / half, torch.zeros_like(half))
        self.grain = grain.to(device=device, dtype=dtype) if self.whole else None
        self.wholes = None if bool(wholes.all()) else whole.to(device)
        # Where both bounds are one number there is nothing to choose, and 0 / 0 must not spoil the rest.
        self._divisor = torch.where(self.half == 0, torch.ones_like(self.half), self.half)
        self._identity = (
            not self.whole and bool((low == -1).all() and (high == 1).all()) and device.type != "meta"
        )

    def to_unit(self, action: Tensor, leading: int) -> Tensor:
        """[..., A] in [-1, 1] from actions in the environment's range."""
        flat = action.reshape(*action.shape[:leading], self.width).to(self.half.dtype)
        return flat if self._identity else (flat - self.centre) / self._divisor

    def to_environment(self, unit: Tensor) -> Tensor:
        """[..., *shape] in the environment's range from [..., A] in [-1, 1]."""
        action = unit if self._identity else unit * self.half + self.centre
        if self.whole:
            action = nearest_whole(action, self.low, self.high, self.wholes)
        return action if len(self.space.shape) == 1 else action.reshape(*action.shape[:-1], *self.space.shape)

    def to_numpy(self, action: Tensor) -> np.ndarray:
        """The environment's dtype, inside its bounds to the last bit."""
        array = action.detach().cpu().numpy()
        if self.whole:  # clipped as floats: the bounds of a dtype are not exact in another
            return np.clip(array.astype(np.float64), self._low, self._high).astype(self.space.dtype)
        return within(array.astype(self.space.dtype, copy=False), self.space.low, self.space.high)

    def random(self, lead: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        """Uniform actions [*lead, ...]; of whole numbers each with equal chance, both bounds included."""
        shape = (*lead, *self.space.shape)
        if not self.whole:
            return generator.uniform(self.space.low, self.space.high, shape).astype(self.space.dtype)
        unit, wide = generator.random(shape), self._high - self._low
        drawn = self._low + np.floor(unit * (wide + 1))
        if self.wholes is not None:
            drawn = np.where(self.wholes.cpu().numpy(), drawn, self._low + unit * wide)
        return drawn.astype(self.space.dtype)


def within(array: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A copy clipped to bounds: `np.clip`, at half of what it takes of few numbers."""
    return np.minimum(np.maximum(array, low), high)


def whole_entries(space: spaces.Box) -> np.ndarray:
    """[A], True in entries of whole numbers: all of a Box of integers or booleans, and some of joined parts."""
    return space.wholes if isinstance(space, JoinedBox) else np.full(space.low.size, is_whole(space))


def is_finite(space: spaces.Box) -> bool:
    """True where both bounds of every entry are finite, in 32 bits too; those of integers may stand for infinity."""
    low, high = limits(space)
    return space.is_bounded("both") and bool((np.maximum(-low, high) < LARGEST).all())


def limits(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Both bounds as float64, whatever the dtype of the space."""
    return np.asarray(space.low, dtype=np.float64), np.asarray(space.high, dtype=np.float64)


def bounds(space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of a Box, Discrete, MultiDiscrete or MultiBinary space, as float64."""
    if isinstance(space, spaces.Box):
        return limits(space)
    if isinstance(space, spaces.Discrete):
        return np.array([space.start], float), np.array([space.start + space.n - 1], float)
    assert isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary))
    counts, start = (np.array(values, float) for values in combined(space))
    return start, start + counts - 1


def nearest_whole(action: Tensor, low: Tensor, high: Tensor, wholes: Tensor | None = None) -> Tensor:
    """Whole numbers within the bounds: every one for the values up to half a unit around it.

    Args:
        action: [..., A].
        low: [A].
        high: [A].
        wholes: [A], True in the entries that are meant; None for all.
    """
    nearest = torch.clamp(torch.floor(action + 0.5), low, high)
    return nearest if wholes is None else torch.where(wholes, nearest, action)


def actions_of(
    space: spaces.Space, device: torch.device, dtype: torch.dtype, factored: bool = False
) -> Actions:
    """The converter for an action space.

    Args:
        space: of one action.
        device: where networks compute.
        dtype: in which.
        factored: make each of several choices apart, and not one of all their combinations.

    Raises:
        ValueError: a Box has an infinite bound, or there are too many combinations.
        TypeError: the space is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """
    space = joined(space)
    if isinstance(space, spaces.Box):
        return BoxActions(space, device, dtype)
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(space)
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        return FactoredActions(space, device) if factored else CombinedActions(space, device)
    raise TypeError(
        f"action space {space} is not supported; Box, Discrete, MultiDiscrete and MultiBinary are, and Dict and "
        "Tuple of them."
    )
