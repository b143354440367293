"""Environments of a few operations per step, so that whole experiments take a second."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Toy(gymnasium.Env[Any, Any]):
    """Shows [target, time / length]; earns 1 - |action - target|; the target is drawn at reset.

    The episode is truncated after `length` steps, or terminates there if `ends`. With `length`
    None it never ends.
    """

    length: int | None = 10
    ends = False
    actions: spaces.Space[Any] = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-10.0, 10.0, (2,), np.float32)
        self.action_space = self.actions
        self.target, self.time = 0.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.target, self.time = float(self.np_random.uniform(-1, 1)), 0
        return self.show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.length is not None and self.time >= self.length
        return self.show(), self.earn(action), over and self.ends, over and not self.ends, {}

    def earn(self, action: Any) -> float:
        return 1 - abs(float(np.asarray(action).reshape(-1)[0]) - self.target)

    def show(self) -> np.ndarray:
        return np.array([self.target, self.time / (self.length or 1000)], np.float32)


class Choosing(Toy):
    """The same with three discrete actions."""

    actions = spaces.Discrete(3)


class Endless(Toy):
    """Never ends."""

    length = None


class Still(Choosing):
    """Episode k of a seed has 2 + draw % 5 steps and earns exactly one per step."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        shown = super().reset(seed=seed)
        self.length = 2 + int(self.np_random.integers(5))
        return shown

    def earn(self, action: Any) -> float:
        return 1.0


class Lottery(Toy):
    """The first step of an episode earns its lot, a whole number drawn at reset; nothing else earns anything.

    `lots` notes those of the finished episodes, in order, so that whoever replays one is found out.
    """

    lots: ClassVar[list[int]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        shown = super().reset(seed=seed)
        self.lot = int(self.np_random.integers(1_000_000))
        return shown

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        moved = super().step(action)
        if moved[2] or moved[3]:
            self.lots.append(self.lot)
        return moved

    def earn(self, action: Any) -> float:
        return float(self.lot) if self.time == 1 else 0.0


class Paying(Toy):
    """Earns `wage`, and `share` of the action, as a test sets them between two generations."""

    wage = 0.0
    share = 0.0

    def earn(self, action: Any) -> float:
        return self.wage + self.share * float(np.asarray(action).reshape(-1)[0])
