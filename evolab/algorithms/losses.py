"""Losses that several algorithms share: each formula, and beside it its gradient, written out.

An algorithm hands one to `agents.gradient_step`. What stands in one algorithm alone is in its own file.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.quantiles import quantile_error
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

    def distance(self, out: Tensor) -> Tensor:
        """[P, B], sizes of the errors."""
        error, _, _ = self._errors(out)
        size = error.abs() if error.dim() == 2 else error.abs().mean(1)
        return torch.where(self.weight > 0, size, -1.0)

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
class QuantileError(Loss):
    """The quantile Huber loss: N outputs become the quantiles of a distribution that samples are drawn from.

    Output i stands for the share `t = (2 i + 1) / 2 N` of the distribution. A sample above it counts t times, one below
    it `1 - t` times, `huber |e| - huber^2 / 2` of its distance e, or `e^2 / 2` within `huber`, over `huber`. The loss is the
    mean over outputs and samples, and the sum over an ensemble.

    Attributes:
        target: [P, B, K], the samples, in units of return; each member of an ensemble learns the same.
        weight: [P, B], of each transition in its agent's loss.
        huber: as above, a number above 0 in units of return.
        choice: [P, B] int64, the action whose quantiles are compared, of outputs that are A times N; None where N is all.
        quantiles: N; None for all outputs.
        kept: [P], how many samples count, the first ones; None for all.

    Source: Dabney et al. 2017, Distributional Reinforcement Learning with Quantile Regression, eq. 10, where outputs
    are summed.

    >>> one = torch.ones(1, 1)
    >>> QuantileError(target=torch.tensor([[[4.0]]]), weight=one, huber=1.0)(torch.tensor([[[0.0, 3.5]]]))
    tensor([0.4844])
    """

    target: Tensor
    weight: Tensor
    huber: float
    choice: Tensor | None = None
    quantiles: int | None = None
    kept: Tensor | None = None

    def __call__(self, out: Tensor) -> Tensor:
        """[P], from outputs [P, B, O], or [P, M, B, O] of an ensemble."""
        error, near, tilted = self._errors(self._own(out))
        losses = (tilted * near * (error - near / 2)).sum(-1).mean(-1)  # [P, M, B]
        return (self.weight.unsqueeze(1) * losses).flatten(1).sum(-1)

    def gradient(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [P], and minus the weighted distances within `huber`, at the outputs that are compared."""
        members = out if out.dim() == 4 else out.unsqueeze(1)
        each = self.quantiles or out.shape[-1]
        found = quantile_error(members, self.target, self.weight, self.huber, self.choice, each, self.kept)
        if found is not None:
            return found[0].sum(-1), found[1].view(out.shape)
        own = self._own(out)
        error, near, tilted = self._errors(own)
        tilted *= near
        slope = tilted.sum(-1)  # [P, M, B, N]
        slope *= self.weight[:, None, :, None] / -own.shape[-1]
        losses = (
            (tilted.mul_(error.sub_(near.mul_(0.5))).sum(-1).mean(-1) * self.weight.unsqueeze(1))
            .flatten(1)
            .sum(-1)
        )
        slope = slope if out.dim() == 4 else slope.squeeze(1)
        if self.choice is None:
            return losses, slope
        slope = slope.unsqueeze(-2)
        whole = torch.zeros_like(out).unflatten(-1, (-1, each)).scatter_(-2, self._index(slope), slope)
        return losses, whole.flatten(-2)

    def distance(self, out: Tensor) -> Tensor:
        """[P, B], between the means of both distributions."""
        own, target = self._own(out).mean(-1), self.target  # [P, M, B]
        if self.kept is None:
            mean = target.mean(-1)
        else:
            kept = self.kept.to(target.dtype)[:, None]  # [P, 1]
            counts = torch.arange(target.shape[-1], device=target.device) < kept
            mean = (target * counts[:, None]).sum(-1) / kept
        return torch.where(self.weight > 0, (mean.unsqueeze(1) - own).abs().mean(1), -1.0)

    def _own(self, out: Tensor) -> Tensor:
        """[P, M, B, N], the outputs that are compared."""
        if self.choice is not None:
            each = out.unflatten(-1, (-1, self.quantiles or out.shape[-1]))
            out = each.gather(-2, self._index(each[..., :1, :])).squeeze(-2)
        return out if out.dim() == 4 else out.unsqueeze(1)

    def _index(self, like: Tensor) -> Tensor:
        """[P, (M,) B, 1, N] in the shape of `like`, the chosen action throughout."""
        assert self.choice is not None
        choice = self.choice if like.dim() == 4 else self.choice.unsqueeze(1)
        return choice[..., None, None].expand(like.shape)

    def _errors(self, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[P, M, B, N, K]: samples less outputs, the same within `huber`, and what they count."""
        quantiles, samples = own.shape[-1], self.target.shape[-1]
        share = (2 * torch.arange(quantiles, device=own.device, dtype=own.dtype) + 1) / (2 * quantiles)
        error = self.target[:, None, :, None] - own.unsqueeze(-1)
        tilted = (share.unsqueeze(-1) - (error < 0).to(own.dtype)).abs_()
        if self.kept is None:
            tilted /= samples * self.huber
        else:
            kept = self.kept.to(own.dtype).unsqueeze(-1)
            counts = torch.arange(samples, device=own.device) < kept  # [P, K]
            tilted *= (counts / (kept * self.huber))[:, None, None, None]
        return error, error.clamp(-self.huber, self.huber), tilted


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
