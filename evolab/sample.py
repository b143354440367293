"""What a source of experience hands to the population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class Sample:
    """Experience drawn for each agent, in the environment's own ranges.

    Attributes:
        observation: [P, B, ...] leaves.
        action: [P, B, ...].
        reward: [P, B].
        next_observation: [P, B, ...] leaves, the true successor.
        terminated: [P, B], True where nothing follows.
    """

    observation: Any
    action: Tensor
    reward: Tensor
    next_observation: Any
    terminated: Tensor
