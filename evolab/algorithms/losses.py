"""Losses that several algorithms share: each formula, and beside it its gradient, written out.

An algorithm hands one to `agents.gradient_step`. What stands in one algorithm alone is in its own file.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.batching.group import AgentGroup
from evolab.networks.loss import Loss, Regression


@dataclass(frozen=True, eq=False)
class SquaredError(Regression):
    """The weighted mean of `(value - target)^2`, linear beyond `huber` and summed over an ensemble.

    With targets `r + discount (1 - terminated) V(s')` it is the squared temporal-difference error. Beyond `huber`
    an error e counts `huber (2 |e| - huber)`: twice torch.nn.HuberLoss, with the square's own slope.

    Source: Sutton and Barto 2018, Reinforcement Learning, eq. 11.23; Huber 1964, Robust estimation of a
    location parameter.

    >>> one = torch.ones(1, 2)
    >>> SquaredError(target=one, weight=one / 2)(torch.tensor([[[3.0], [2.0]]]))
    tensor([2.5000])
    >>> SquaredError(target=one, weight=one / 2, huber=1.0)(torch.tensor([[[3.0], [2.0]]]))
    tensor([2.])
    """

    def __call__(self, out: Tensor) -> Tensor:
        """[P], from outputs [P, B, O], or [P, M, B, O] of an ensemble."""
        error, near, weight = self._errors(out)
        return (weight * near * (2 * error - near)).flatten(1).sum(-1)

    def gradient(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [P], and `2 weight error`, the error within `huber`, at the output that is compared."""
        error, near, weight = self._errors(out)
        slope = weight * near  # [P, (M,) B]
        losses = (slope * (2 * error - near)).flatten(1).sum(-1)
        slope = slope.mul_(2).unsqueeze(-1)
        if self.choice is None:
            return losses, slope
        return losses, torch.zeros_like(out).scatter_(-1, self._index(out), slope)

    def _errors(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Errors, the same within `huber`, and weights, [P, (M,) B] each."""
        value = out if self.choice is None else out.gather(-1, self._index(out))
        several = out.dim() == 4
        error = value.squeeze(-1) - (self.target.unsqueeze(1) if several else self.target)
        near = error if self.huber is None else error.clamp(-self.huber, self.huber)
        return error, near, self.weight.unsqueeze(1) if several else self.weight

    def _index(self, out: Tensor) -> Tensor:
        assert self.choice is not None
        index = self.choice.unsqueeze(-1)  # [P, B, 1]
        return index if out.dim() == 3 else index.unsqueeze(1).expand(-1, out.shape[1], -1, -1)


@dataclass(frozen=True, eq=False)
class DeterministicPolicyGradient(Loss):
    """Minus the weighted mean of the value of the policy's own actions, `Q(s, tanh(policy(s)))`.

    The first member of the critic values them; the critic itself does not move.

    Attributes:
        agents: whose critic it is.
        critic: its name among the roles.
        observation: batch of observations, [P, B, ...] leaves.
        weight: [P, B], of each sample in its agent's mean.

    Source: Silver et al. 2014, Deterministic Policy Gradient Algorithms, eq. 9.
    """

    agents: AgentGroup
    critic: str
    observation: Tree
    weight: Tensor

    def __call__(self, out: Tensor) -> Tensor:
        """[P], from the policy's outputs before squashing [P, B, A]."""
        value = self.agents.network(self.critic)(self.observation, torch.tanh(out), member=0)
        return -(self.weight * value.squeeze(-1)).sum(-1)

    def gradient(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [P], and `-weight dQ/da (1 - a^2)` at the actions a [P, B, A]."""
        action = torch.tanh(out)
        value, backward = self.agents.vjp_extra(self.critic, self.observation, action)
        down = self.weight.neg().unsqueeze(-1)  # [P, B, 1]
        slope = torch.ops.aten.tanh_backward(backward(down), action)
        return (down * value).sum((1, 2)), slope


def surprise(logits: Tensor, action: Tensor) -> Tensor:
    """Minus the log-likelihood of tokens, in nats.

    Args:
        logits: [..., V].
        action: [...], int64.

    Returns:
        [...].

    >>> surprise(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))
    tensor([1.3863])
    """
    taken = logits.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - taken


def chosen_mean(value: Tensor, chosen: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over the chosen tokens of each agent's episodes.

    Args:
        value: [P, B, T].
        chosen: [P, B, T], True where the agent chose the token.
        weight: [P, B], what an episode counts; zero beyond an agent's own batch. None for 1.

    Returns:
        [P].
    """
    counts = chosen.to(value.dtype)
    if weight is not None:
        counts = counts * weight.unsqueeze(-1)
    return (counts * value).sum((-1, -2)) / counts.sum((-1, -2)).clamp(min=torch.finfo(value.dtype).tiny)
