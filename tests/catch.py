"""A ball falls, a paddle catches it: the smallest game that has to be seen, made from arrays."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Catch(gym.Env):
    """Left, stay or right while a ball falls through an 8 x 8 picture; 1 for a catch, -1 for a miss.

    Random play returns about -0.5, perfect play 1.
    """

    SIZE = 8

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, (self.SIZE, self.SIZE, 1), np.uint8)
        self.action_space = spaces.Discrete(3)
        self.row = self.column = self.paddle = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.row, self.paddle = 0, self.SIZE // 2
        self.column = int(self.np_random.integers(self.SIZE))
        return self._picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.paddle = min(max(self.paddle + int(action) - 1, 0), self.SIZE - 1)
        self.row += 1
        landed = self.row == self.SIZE - 1
        reward = (1.0 if self.paddle == self.column else -1.0) if landed else 0.0
        return self._picture(), reward, landed, False, {}

    def _picture(self) -> np.ndarray:
        picture = np.zeros((self.SIZE, self.SIZE, 1), np.uint8)
        picture[self.SIZE - 1, self.paddle] = 128
        picture[self.row, self.column] = 255
        return picture
