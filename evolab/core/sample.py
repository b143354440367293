"""What a source of experience hands to the population."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from evolab.networks.observations import map_leaves, to_tensor


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

    def cut(self, rows: Any, count: int) -> Sample:
        """The first `count` transitions of some agents."""
        names = (field.name for field in fields(self))
        return Sample(**{name: map_leaves(lambda x: x[rows, :count], getattr(self, name)) for name in names})


def given(source: Any, device: torch.device) -> Sample | Episodes:
    """A batch that somebody handed over, as tensors: episodes, or whatever has the fields of a `Sample`."""
    if isinstance(source, Episodes):
        return source
    return Sample(**{field.name: to_tensor(getattr(source, field.name), device) for field in fields(Sample)})


@dataclass
class Episodes:
    """Whole episodes of a language environment, drawn for each agent.

    Where `action_mask[p, b, t]`, the agent of the data saw `tokens[p, b, :t]`, chose `tokens[p, b, t]`
    and received `reward[p, b, t]`.

    Attributes:
        tokens: [P, B, T], int64, filled up on the right.
        action_mask: [P, B, T], bool.
        reward: [P, B, T], zero where nothing was chosen.
        terminated: [P, B]; False where an episode was cut.
        length: [P, B], tokens of each episode.
        weight: [P, B], what an episode counts in its agent's mean, zero beyond its own batch.
    """

    tokens: Tensor
    action_mask: Tensor
    reward: Tensor
    terminated: Tensor
    length: Tensor
    weight: Tensor | None = None

    def placed(self, like: Tensor, weigh: Callable[[int, Tensor], Tensor]) -> Episodes:
        """On the device and in the precision of `like`, with the weights that `weigh` gives for so many."""
        reward = self.reward.to(like)
        return Episodes(
            tokens=self.tokens.to(like.device),
            action_mask=self.action_mask.to(like.device),
            reward=reward,
            terminated=self.terminated.to(like.device),
            length=self.length.to(like.device),
            weight=weigh(reward.shape[1], reward),
        )

    def cut(self, rows: Any, count: int) -> Episodes:
        """The first `count` episodes of some agents."""
        names = ("tokens", "action_mask", "reward", "terminated", "length")
        return Episodes(**{name: getattr(self, name)[rows, :count] for name in names})
