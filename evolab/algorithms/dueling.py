"""Dueling heads: outputs that are the value of a state and the advantages of its actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evolab.networks.loss import Loss


def action_values(out: Tensor, each: int) -> Tensor:
    """[..., A N], the values of all actions: that of the state, and by how much each action is better than their mean.

    Args:
        out: [..., (1 + A) N], the state's value, then the advantages of the actions.
        each: N, numbers of each; several where they are quantiles.

    Source: Wang et al. 2016, Dueling Network Architectures for Deep Reinforcement Learning, eq. 9.

    >>> action_values(torch.tensor([10.0, 1.0, 2.0, 6.0]), 1)
    tensor([ 8.,  9., 13.])
    """
    value, advantage = _streams(out, each)
    return (value + advantage - advantage.mean(-2, keepdim=True)).flatten(-2)


def _streams(out: Tensor, each: int) -> tuple[Tensor, Tensor]:
    """[..., 1, N] of the state, [..., A, N] of the actions."""
    streams = out.unflatten(-1, (-1, each))
    return streams[..., :1, :], streams[..., 1:, :]


@dataclass(frozen=True, eq=False)
class DuelingError(Loss):
    """A loss of the values of actions, as one of the outputs that they are made of.

    Attributes:
        inner: of the values [P, B, A N].
        each: N, as in `action_values`.
    """

    inner: Loss
    each: int

    def __call__(self, out: Tensor) -> Tensor:
        """[P], from outputs [P, B, (1 + A) N]."""
        return self.inner(action_values(out, self.each))

    def gradient(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The losses; the state's value moves with all actions, an advantage by how much more it would than their mean."""
        losses, slope = self.inner.gradient(action_values(out, self.each))
        by_action = slope.unflatten(-1, (-1, self.each))  # [P, B, A, N]
        by_advantage = by_action - by_action.mean(-2, keepdim=True)
        return losses, torch.cat([by_action.sum(-2, keepdim=True), by_advantage], -2).flatten(-2)

    def distance(self, out: Tensor) -> Tensor:
        """[P, B], that of the values."""
        return self.inner.distance(action_values(out, self.each))
