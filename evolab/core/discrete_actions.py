"""Discrete actions between two worlds: the numbers of their spaces, and the outputs of networks, counted from 0."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

MOST = 4096
"""Combinations of several choices that each have an output of their own."""


class DiscreteActions:
    """A Discrete space, counted from 0 inside and from `space.start` outside."""

    continuous = False
    grain: Tensor | None = None
    parts: tuple[int, ...] = ()

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

    def random(self, lead: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        """Uniform actions [*lead], int64."""
        return self.space.start + generator.integers(0, self.width, lead)


class FactoredActions:
    """A MultiDiscrete or MultiBinary space as one choice per entry, each among outputs of its own."""

    continuous = False
    grain: Tensor | None = None

    def __init__(self, space: spaces.MultiDiscrete | spaces.MultiBinary, device: torch.device) -> None:
        self.space = space
        self.counts, start = combined(space)
        self.start = torch.as_tensor(start, dtype=torch.int64).to(device)
        self.parts: tuple[int, ...] = tuple(self.counts)
        self.width = sum(self.counts)

    def to_unit(self, action: Tensor, leading: int) -> Tensor:
        """[..., K] int64, each from 0."""
        return action.reshape(*action.shape[:leading], len(self.counts)).long() - self.start

    def to_environment(self, unit: Tensor) -> Tensor:
        """[..., K] int64."""
        return unit + self.start

    def to_numpy(self, action: Tensor) -> np.ndarray:
        """The space's dtype and shape."""
        array = action.detach().cpu().numpy().astype(self.space.dtype, copy=False)
        return array.reshape(*array.shape[:-1], *self.space.shape)

    def random(self, lead: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        """Uniform actions [*lead, *shape]."""
        drawn = generator.integers(0, np.reshape(self.counts, self.space.shape), (*lead, *self.space.shape))
        start = self.space.start if isinstance(self.space, spaces.MultiDiscrete) else 0
        return (start + drawn).astype(self.space.dtype, copy=False)


class CombinedActions(FactoredActions):
    """A small MultiDiscrete or MultiBinary space as one Discrete space over its combinations.

    Raises:
        ValueError: more than `MOST` combinations.
    """

    def __init__(self, space: spaces.MultiDiscrete | spaces.MultiBinary, device: torch.device) -> None:
        super().__init__(space, device)
        self.parts = ()
        self.width = math.prod(self.counts)
        if self.width > MOST:
            raise ValueError(
                f"action space {space} has {self.width} combinations; at most {MOST} are supported where each has a "
                "value of its own, as in DQN. PPO makes each choice apart, whatever their number: algorithm='PPO'."
            )

    def to_unit(self, action: Tensor, leading: int) -> Tensor:
        """[...] int64, the number of the combination."""
        values = super().to_unit(action, leading)
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
        return super().to_environment(torch.stack(parts[::-1], -1))


def combined(space: spaces.MultiDiscrete | spaces.MultiBinary) -> tuple[list[int], list[int]]:
    """How many values each entry has, and the smallest of them."""
    if isinstance(space, spaces.MultiBinary):
        size = int(np.prod(space.shape))
        return [2] * size, [0] * size
    return [int(n) for n in np.asarray(space.nvec).ravel()], [int(n) for n in np.asarray(space.start).ravel()]
