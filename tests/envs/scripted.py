"""Environments whose every number is known beforehand; some of them fail on cue."""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Counting(gymnasium.Env[Any, Any]):
    """Shows [draw, episode, step, last action]; episode k has 2 + k % 3 steps and ends in turn by both ways.

    Rewards are 100 * episode + step. The draw is taken from the environment's generator.
    """

    def __init__(self, kind: str = "box", render_mode: str | None = None) -> None:
        self.kind = kind
        box = spaces.Box(-1e6, 1e6, (4,), np.float32)
        picture = spaces.Box(0, 255, (2, 2), np.uint8)
        self.observation_space = {
            "box": box,
            "dict": spaces.Dict({"numbers": box, "picture": picture, "step": spaces.Discrete(100)}),
            "tuple": spaces.Tuple((box, picture)),
        }[kind]
        self.action_space = spaces.Discrete(10)
        self.render_mode = render_mode
        self.episode, self.time, self.draw = -1, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.episode = -1
        self.episode, self.time = self.episode + 1, 0
        self.draw = int(self.np_random.integers(1000))
        return self.show(0), {"noise": 1}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.time >= 2 + self.episode % 3
        reward = 100.0 * self.episode + self.time
        terminated = over and self.episode % 2 == 0
        return self.show(int(action)), reward, terminated, over and not terminated, {"noise": 2}

    def show(self, action: int) -> Any:
        numbers = np.array([self.draw, self.episode, self.time, action], dtype=np.float32)
        picture = np.full((2, 2), self.time, dtype=np.uint8)
        if self.kind == "dict":
            return {"numbers": numbers, "picture": picture, "step": self.time}
        return (numbers, picture) if self.kind == "tuple" else numbers


class Failing(gymnasium.Env[Any, Any]):
    """Endless and harmless, until the action 1 makes it fail in the way it was told to.

    Shows [draw, step]; the draw changes with every episode.
    """

    def __init__(self, how: str) -> None:
        self.how = how
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if self.how == "reset":
            raise OSError("no license server")
        self.time, self.draw = 0, int(self.np_random.integers(1, 10**6))
        return self.show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        if action == 0:
            return self.show(), 1.0, False, False, {}
        if self.how == "raise":
            raise ZeroDivisionError("physics exploded")
        if self.how == "kill":
            os._exit(7)
        if self.how == "hang":
            time.sleep(3600)
        if self.how == "shape":
            return np.zeros(5, dtype=np.float32), 1.0, False, False, {}
        reward = np.inf if self.how == "reward" else 1.0
        observation = np.array([np.nan, 0.0], dtype=np.float32) if self.how == "observation" else self.show()
        return observation, reward, False, False, {}

    def show(self) -> Any:
        return np.array([self.draw, self.time], dtype=np.float32)
