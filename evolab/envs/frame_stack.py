"""Several observations in one, for what a single one does not show: where things move, and how fast."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from evolab.core.checks import positive_integer
from evolab.core.goals import ACHIEVED, DESIRED, has_goals
from evolab.core.machine_memory import Need, require
from evolab.core.space_trees import leaf_spaces, map_space
from evolab.networks.observations import is_image


class FrameStack(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The newest observations of an environment as one, the oldest first; an episode begins with `count` times its first.

    Pictures (H, W), (H, W, C) and (C, H, W) become (count * C, H, W), in which a buffer finds what it has stored
    before and stores it once. Vectors stand behind one another; other arrays get an axis in front. In a Dict or
    Tuple every Box is stacked, and choices are the newest ones; so are the goals of a Dict in gymnasium-robotics' form, of
    which `compute_reward` takes one and not several behind one another.

    Args:
        env: the environment.
        count: how many observations.

    Raises:
        ValueError: a count below 1.
        TypeError: no part of an observation is a Box.
        ValueError: so many frames need more memory than the machine has.
    """

    def __init__(self, env: gymnasium.Env[object, object], count: int = 4) -> None:
        super().__init__(env)
        self._frames: deque[Any] = deque(maxlen=positive_integer("frame_stack", count))
        if not any(isinstance(leaf, spaces.Box) for _, leaf in leaf_spaces(env.observation_space)):
            raise TypeError(
                f"frame_stack needs a Box to stack; this environment's observations are {env.observation_space}."
            )
        # What is lowest, what is highest, and an observation.
        size = (
            3
            * count
            * sum(
                leaf.low.nbytes
                for _, leaf in leaf_spaces(env.observation_space)
                if isinstance(leaf, spaces.Box)
            )
        )
        require([Need("stacked frames", size, f"frame_stack={count:,}", "frame_stack")])
        self.observation_space = _stacked_space(env.observation_space, count)
        self._goals = (ACHIEVED, DESIRED) if has_goals(env.observation_space) else ()

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Any, Any]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._frames.extend([self._frame(observation)] * self._frames.maxlen)  # type: ignore[operator]
        return self._stacked(), info

    def step(self, action: object) -> tuple[Any, Any, bool, bool, Any]:
        """One step."""
        observation, *others = self.env.step(action)
        self._frames.append(self._frame(observation))
        return (self._stacked(), *others)  # type: ignore[return-value]

    def _frame(self, observation: object) -> Any:
        """A copy, which the environment does not write to, as it lies in the stack."""

        def frame(leaf: spaces.Space, value: object) -> Any:
            return np.array(_placed(leaf, np.asarray(value))) if isinstance(leaf, spaces.Box) else value

        return self._with_goals(map_space(frame, self.env.observation_space, observation), observation)

    def _with_goals(self, observation: Any, newest: Any) -> Any:
        """An observation with goals as they are in the newest one."""
        goals = {key: np.array(newest[key]) for key in self._goals}
        return {**observation, **goals} if goals else observation

    def _stacked(self) -> Any:
        def joined(leaf: spaces.Space, *values: np.ndarray) -> Any:
            if not isinstance(leaf, spaces.Box):
                return values[-1]
            if values[-1].shape != values[0].shape:  # numpy says it in its own words
                raise ValueError(
                    f"an observation has shape {values[-1].shape} where frame_stack expects {values[0].shape}, as before"
                )
            return _joined(leaf, values)

        return self._with_goals(
            map_space(joined, self.env.observation_space, *self._frames), self._frames[-1]
        )


def _placed(leaf: spaces.Box, value: np.ndarray) -> np.ndarray:
    """A picture with its channels in front; a wrong shape is left for others to name."""
    if is_image(leaf) and leaf.shape[0] >= leaf.shape[2] and value.ndim == 3:
        return np.moveaxis(value, 2, 0)
    return value


def _joined(leaf: spaces.Box, values: tuple[np.ndarray, ...]) -> np.ndarray:
    """Frames as one array; see the class."""
    return (np.concatenate if len(leaf.shape) == 1 or is_image(leaf) else np.stack)(values)


def _stacked_space(space: spaces.Space, count: int) -> Any:
    if isinstance(space, spaces.Dict):
        newest = (ACHIEVED, DESIRED) if has_goals(space) else ()
        parts = [(key, part if key in newest else _stacked_space(part, count)) for key, part in space.items()]
        return spaces.Dict(parts)
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_stacked_space(part, count) for part in space])
    if not isinstance(space, spaces.Box):
        return space
    low, high = (_joined(space, (_placed(space, side),) * count) for side in (space.low, space.high))
    return spaces.Box(low, high, low.shape, space.dtype.type)  # type: ignore[union-attr]
