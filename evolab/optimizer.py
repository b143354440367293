"""Adam for a chunk of agents, each with its own learning rate and step count.

One flat row per agent and network means a handful of operations for the whole chunk,
however many parameters a network has.
"""

from __future__ import annotations

import torch
from torch import Tensor


def adam_(
    parameters: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    count: Tensor,
    rate: Tensor,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """One step of Adam in place, the same as torch.optim.Adam of every agent alone.

    A parameter whose gradient has always been zero does not move.

    Args:
        parameters: [C, M, N].
        gradient: [C, M, N], overwritten.
        mean: [C, M, N], first moment.
        square: [C, M, N], second moment.
        count: [C], steps taken so far; one is added.
        rate: [C], learning rates.
        betas: decay of the two moments.
        eps: added to the denominator.

    Source: Kingma and Ba 2015, Adam, algorithm 1.
    """
    count.add_(1)
    mean.lerp_(gradient, 1 - betas[0])
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    root = (1 - betas[1] ** count).sqrt_()[:, None, None]
    size = (rate / (1 - betas[0] ** count))[:, None, None]
    torch.sqrt(square, out=gradient)
    gradient.div_(root).add_(eps)
    parameters.sub_(torch.div(mean, gradient, out=gradient).mul_(size))


def clip_norm_(gradient: Tensor, limit: float) -> None:
    """Scale each agent's gradient [C, M, N] in place so that its norm is at most `limit`."""
    norm = gradient.flatten(1).norm(dim=1)
    gradient.mul_((limit / (norm + 1e-6)).clamp(max=1.0)[:, None, None])


def follow_(target: Tensor, source: Tensor, tau: Tensor) -> None:
    """Polyak averaging in place: target += tau * (source - target).

    Args:
        target: [C, M, N].
        source: [C, M, N].
        tau: [C], each between 0 and 1.
    """
    target.lerp_(source, tau[:, None, None])
