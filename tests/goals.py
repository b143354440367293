"""An environment of goals: bits to be flipped until they are those that are wanted."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class BitFlip(gymnasium.Env[Any, Any]):
    """N bits, of which each action flips one; a step earns 0 where the bits are then as wanted, and -1 elsewhere.

    Nothing that is random finds 2^N states. In the form of gymnasium-robotics, and as there the methods answer for
    one goal or for many.

    Args:
        bits: N; an episode has as many steps at most.
        ends: it terminates where the goal is reached.

    Source: Andrychowicz et al. 2017, Hindsight Experience Replay, section 3.1.
    """

    def __init__(self, bits: int = 4, ends: bool = True) -> None:
        whole = spaces.Box(0.0, 1.0, (bits,), np.float64)
        self.observation_space = spaces.Dict(
            {"observation": whole, "achieved_goal": whole, "desired_goal": whole}
        )
        self.action_space = spaces.Discrete(bits)
        self.bits, self.ends = bits, ends

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        self.state, self.goal = self.np_random.integers(0, 2, (2, self.bits)).astype(np.float64)
        if (self.state == self.goal).all():
            self.state[0] = 1 - self.state[0]
        return self.shown(), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.state[action] = 1 - self.state[action]
        reward = float(self.compute_reward(self.state, self.goal, {}))
        over = bool(self.compute_terminated(self.state, self.goal, {}))
        return self.shown(), reward, over, self.time >= self.bits, {"is_success": reward == 0.0}

    def shown(self) -> dict[str, np.ndarray]:
        return {
            "observation": self.state.copy(),
            "achieved_goal": self.state.copy(),
            "desired_goal": self.goal.copy(),
        }

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -(achieved != desired).any(-1).astype(np.float64)

    def compute_terminated(self, achieved: Any, desired: Any, info: Any) -> Any:
        return (achieved == desired).all(-1) & self.ends
