"""Actions between two worlds: the environment's own range and what a network computes in.

Algorithms for Box actions compute in [-1, 1]; those for Discrete actions in 0 .. n - 1.
Everything outside an algorithm, stored experience included, is in the environment's range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor


class BoxActions:
    """A bounded Box, mapped to [-1, 1] and back entry by entry.

    Args:
        space: Box with finite bounds, of any rank.
        device: where the bounds are kept.
        dtype: of the computation.

    Raises:
        ValueError: a bound is infinite.
    """

    def __init__(self, space: spaces.Box, device: torch.device, dtype: torch.dtype) -> None:
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"action space {space} has infinite bounds; a policy needs a finite range. "
                f"Wrap the environment with gymnasium.wrappers.RescaleAction or ClipAction."
            )
        self.space = space
        self.width = int(np.prod(space.shape)) if space.shape else 1
        low = torch.as_tensor(np.asarray(space.low, dtype=np.float64).ravel())
        high = torch.as_tensor(np.asarray(space.high, dtype=np.float64).ravel())
        self.centre = ((high + low) / 2).to(device=device, dtype=dtype)
        self.half = ((high - low) / 2).to(device=device, dtype=dtype)
        # Where both bounds are one number there is nothing to choose, and 0 / 0 must not spoil the rest.
        self._divisor = torch.where(self.half == 0, torch.ones_like(self.half), self.half)
        plain = bool((self.centre == 0).all() and (self.half == 1).all()) if device.type != "meta" else False
        self._identity = plain

    def to_unit(self, action: Tensor, leading: int) -> Tensor:
        """[..., A] in [-1, 1] from actions in the environment's range."""
        flat = action.reshape(*action.shape[:leading], self.width).to(self.half.dtype)
        return flat if self._identity else (flat - self.centre) / self._divisor

    def to_environment(self, unit: Tensor) -> Tensor:
        """[..., *shape] in the environment's range from [..., A] in [-1, 1]."""
        action = unit if self._identity else unit * self.half + self.centre
        return action if len(self.space.shape) == 1 else action.reshape(*action.shape[:-1], *self.space.shape)

    def to_numpy(self, action: Tensor) -> np.ndarray:
        """The environment's dtype, inside its bounds to the last bit."""
        array = action.detach().cpu().numpy().astype(self.space.dtype, copy=False)
        return np.clip(array, self.space.low, self.space.high)


class DiscreteActions:
    """A Discrete space, counted from 0 inside and from `space.start` outside."""

    def __init__(self, space: spaces.Discrete) -> None:
        self.space = space
        self.width = int(space.n)
        self.start = int(space.start)

    def to_unit(self, action: Tensor, leading: int) -> Tensor:
        """[...] int64 from 0."""
        flat = action.reshape(action.shape[:leading]).long()
        return flat - self.start if self.start else flat

    def to_environment(self, unit: Tensor) -> Tensor:
        """[...] int64 from `space.start`."""
        return unit + self.start if self.start else unit

    def to_numpy(self, action: Tensor) -> np.ndarray:
        """int64."""
        return action.detach().cpu().numpy().astype(np.int64, copy=False)


class MultiDiscreteActions:
    """A small MultiDiscrete space as one Discrete space over its combinations.

    Raises:
        ValueError: more than 4 096 combinations.
    """

    def __init__(self, space: spaces.MultiDiscrete, device: torch.device) -> None:
        self.space = space
        self.counts = [int(n) for n in np.asarray(space.nvec).ravel()]
        self.start = torch.as_tensor(np.asarray(space.start).ravel(), dtype=torch.int64).to(device)
        self.width = int(np.prod(self.counts))
        if self.width > 4096:
            raise ValueError(
                f"action space {space} has {self.width} combinations; at most 4096 are supported. "
                f"Wrap the environment so that one action chooses fewer things at once."
            )

    def to_unit(self, action: Tensor, leading: int) -> Tensor:
        """[...] int64, the number of the combination."""
        values = action.reshape(*action.shape[:leading], len(self.counts)).long() - self.start
        code = torch.zeros_like(values[..., 0])
        for index, count in enumerate(self.counts):
            code = code * count + values[..., index]
        return code

    def to_environment(self, unit: Tensor) -> Tensor:
        """[..., K] int64."""
        parts = []
        for count in reversed(self.counts):
            parts.append(unit % count)
            unit = unit // count
        return torch.stack(parts[::-1], -1) + self.start

    def to_numpy(self, action: Tensor) -> np.ndarray:
        """The space's dtype and shape."""
        array = action.detach().cpu().numpy().astype(self.space.dtype, copy=False)
        return array.reshape(*array.shape[:-1], *self.space.shape)


def actions_of(space: spaces.Space, device: torch.device, dtype: torch.dtype) -> Any:
    """The converter for an action space.

    Raises:
        TypeError: the space is neither Box, Discrete nor MultiDiscrete.
    """
    if isinstance(space, spaces.Box):
        return BoxActions(space, device, dtype)
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(space)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiDiscreteActions(space, device)
    raise TypeError(f"action space {space} is not supported; Box, Discrete and MultiDiscrete are.")
