"""The contract of whatever steps N environments in a row: a loop, processes, another's vector, EnvPool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode

from evolab.core.trees import Tree
from evolab.envs.metrics import Metrics


class Failure(NamedTuple):
    """What one environment did wrong in one call; kind, message and detail are those of a `StepFault`."""

    kind: str
    message: str
    detail: str = ""


Faults = dict[int, Failure]
"""Index of an environment -> what it did wrong; -1 stands for one that cannot be told."""


@dataclass(slots=True)
class StepRows:
    """What N environments answered to one step: arrays, or tensors where they live on a device.

    Attributes:
        observation: [N, ...], the true successors, in memory that is not written again.
        reward: [N], float32.
        terminated: [N], bool.
        truncated: [N], bool.
        skipped: [N], True where the row is no transition.
        faults: what went wrong.
        reset: [N, ...] where they reset in the same step, else None.
        metrics: the numbers in the last `info` of episodes that ended, by index.
        masks: [N, W], what the true successors permit; None where environments give no masks.
    """

    observation: Tree
    reward: Any
    terminated: Any
    truncated: Any
    skipped: Any
    faults: Faults = field(default_factory=dict)
    reset: Any = None
    metrics: dict[int, Metrics] = field(default_factory=dict)
    masks: Any = None


class VectorBackend(ABC):
    """N = P x E environments; `Loop`, `Workers`, `Adapter` and `Pool` are four ways to have them.

    Attributes:
        mode: how they begin the next episode.
        space: of one observation.
        masks: [N, W], what may be chosen next, in memory that is not written again; None where environments give no
            masks, which the first reset says.
    """

    space: Space
    masks: Any = None
    mode: AutoresetMode = AutoresetMode.DISABLED

    @property
    def self_reset(self) -> bool:
        """True where environments start their next episode by themselves."""
        return self.mode is not AutoresetMode.DISABLED

    @abstractmethod
    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes.

        Args:
            seeds: one per environment; None to go on with their own generators.
            mask: [N], which environments; None for all.
            rebuild: make them anew first.

        Returns:
            [N, ...], the first observations (rows outside the mask are undefined), and faults.
        """

    @abstractmethod
    def step(self, action: np.ndarray, resting: np.ndarray) -> StepRows:
        """Step all that do not rest, [N] both; the rows of those that do mean nothing."""

    @abstractmethod
    def close(self) -> None:
        """Free everything, without ever hanging."""

    def picture(self) -> np.ndarray | None:
        """[H, W, 3], the first environment as it is now; None where it was not made to be drawn."""
        return None
