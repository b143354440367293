"""Environments stepped one after the other in this process: the fastest way for small environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evolab.core.flags import any_of
from evolab.envs.backend import Failure, Faults, StepRows, VectorBackend
from evolab.envs.batches import empty, put
from evolab.envs.guard import REBUILD, Guard, Told, one_line
from evolab.envs.masks import rows_of


class Loop(VectorBackend):
    """N guarded environments stepped one after the other.

    Gymnasium's `SyncVectorEnv` is not used: it refuses to leave a finished environment at rest, and a
    small environment pays for its bookkeeping. Measured with 32 of them and random actions on
    one core, environment steps per CPU second: LunarLanderContinuous 26 100 in a bare loop,
    23 800 in `SyncVectorEnv`, 23 400 in `evolab.envs.make` with its guards, checks and true
    transitions; CartPole 168 000, 123 000 and 116 000.
    """

    def __init__(self, guards: Sequence[Guard]) -> None:
        """Take the environments over; they are closed with the loop."""
        self.guards = guards
        self.space = guards[0].observation_space

    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes; see `VectorBackend.reset`."""
        count = len(self.guards)
        observation, told = empty(self.space, count), Told()
        chosen = range(count) if mask is None else np.flatnonzero(mask).tolist()
        options = {REBUILD: True} if rebuild else None
        for index in chosen:
            seed = None if seeds is None else seeds[index]
            first, info = self.guards[index].reset(seed=seed, options=options)
            put(self.space, observation, index, first)
            if info:
                told.note(index, info)
        self.masks = rows_of(told.masks, count, self.masks)
        return observation, told.faults

    def step(self, action: np.ndarray, resting: np.ndarray) -> StepRows:
        """Step all that do not rest; the rows of those that do mean nothing."""
        count = len(self.guards)
        space = self.space
        observation = empty(space, count)
        reward, terminated, truncated = [0.0] * count, [False] * count, [False] * count
        told = Told()
        awake = np.flatnonzero(~resting).tolist() if any_of(resting) else range(count)
        for index in awake:
            guard = self.guards[index]
            seen, reward[index], terminated[index], truncated[index], info = guard.step(action[index])
            try:
                put(space, observation, index, seen)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                told.faults[index] = Failure("shape", one_line(error))
            if info:
                told.note(index, info)
        self.masks = rows_of(told.masks, count, self.masks)
        return StepRows(
            observation,
            np.array(reward, dtype=np.float32),
            np.array(terminated, dtype=bool),
            np.array(truncated, dtype=bool),
            resting.copy(),
            told.faults,
            metrics=told.metrics,
            masks=self.masks,
        )

    def close(self) -> None:
        """Close every environment."""
        for guard in self.guards:
            guard.close()
