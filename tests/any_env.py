"""An environment of any spaces, which users' reports can be tried in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Env(gymnasium.Env[Any, Any]):
    """Observations at random, a reward of one's own, `length` steps."""

    def __init__(
        self,
        obs: spaces.Space[Any] | None = None,
        act: spaces.Space[Any] | None = None,
        reward: Callable[[Any, int], float] = lambda action, time: 1.0,
        length: int = 7,
    ) -> None:
        self.observation_space = spaces.Box(-1, 1, (3,)) if obs is None else obs
        self.action_space = spaces.Discrete(2) if act is None else act
        self.reward, self.length, self.t = reward, length, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.observation_space.sample(), self.reward(action, self.t), self.t >= self.length, False, {}


def first(action: Any, time: int) -> float:
    """The action's first entry as a reward."""
    return float(np.asarray(action).reshape(-1)[0])
