"""Environments that permit some of their actions: what is permitted is what they show, and nothing else is taken."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from evolab.core.masks import counts_of


class Permitting(gymnasium.Env[Any, Any]):
    """Shows its mask, [W] of 0 and 1, drawn anew in every step; raises where an action is forbidden.

    Args:
        actions: its action space.
        how: "info", "method" or "none".
        dtype: of its masks.
        length: steps of an episode.
        ends: terminate, and not truncate: nothing is permitted then.
    """

    def __init__(
        self, actions: Any = None, how: str = "info", dtype: Any = np.int8, length: int = 5, ends: bool = True
    ):
        self.action_space = spaces.Discrete(4, start=2) if actions is None else actions
        self.how, self.dtype, self.length, self.ends, self.time = how, dtype, length, ends, 0
        self.counts = counts_of(self.action_space)
        self.observation_space = spaces.Box(0.0, 1.0, (sum(self.counts),), np.float32)
        if how == "method":
            self.action_mask = lambda: self.mask

    def draw(self, nothing: bool) -> None:
        self.mask = self.np_random.integers(0, 2, sum(self.counts)).astype(self.dtype)
        first = np.cumsum(self.counts) - self.counts
        self.mask[first + self.np_random.integers(self.counts)] = 1
        if nothing:
            self.mask[:] = 0

    def shown(self) -> tuple[Any, dict[str, Any]]:
        return self.mask.astype(np.float32), {"action_mask": self.mask} if self.how == "info" else {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        self.draw(False)
        return self.shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        start = getattr(self.action_space, "start", 0)
        chosen = np.cumsum(self.counts) - self.counts + np.ravel(np.asarray(action) - start)
        assert self.mask[chosen].all(), f"{action} is forbidden by {self.mask}"
        self.time += 1
        over = self.time == self.length
        self.draw(over and self.ends)
        observation, info = self.shown()
        return observation, 1.0, over and self.ends, over and not self.ends, info


def permitted(observation: Any) -> np.ndarray:
    """What a `Permitting` that shows this permits; everything at the end."""
    mask = np.asarray(observation) > 0.5
    return mask | ~mask.any(-1, keepdims=True)
