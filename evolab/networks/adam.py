"""Adam, clipping and Polyak averaging for rows of agents, in torch's own operations.

One flat row per agent and network means a handful of operations for a whole group, however many
parameters a network has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BETAS, EPS = (0.9, 0.999), 1e-8
"""Decay of the two moments, and what is added to the denominator: torch's defaults."""


@dataclass(frozen=True, eq=False)
class AdamState:
    """What Adam moves in one network of some agents, and by what.

    Attributes:
        parameters: [P, M, N].
        mean: [P, M, N], first moment.
        square: [P, M, N], second moment.
        count: [P], steps taken so far.
        rate: [P], learning rates.
        sizes: [P] int64, how many entries of each agent's rows are in use; None for all.
    """

    parameters: Tensor
    mean: Tensor
    square: Tensor
    count: Tensor
    rate: Tensor
    sizes: np.ndarray | None = None


def adam_(state: AdamState, gradient: Tensor) -> None:
    """One step in place, the same as torch.optim.Adam of every agent alone; it is counted.

    A parameter whose gradient has always been zero does not move.

    Args:
        state: of the agents.
        gradient: [P, M, N], overwritten.

    Source: Kingma and Ba 2015, Adam, algorithm 1.
    """
    count, mean, square = state.count.add_(1), state.mean, state.square
    mean.lerp_(gradient, 1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    root = (1 - BETAS[1] ** count).sqrt_()[:, None, None]
    size = (state.rate / (1 - BETAS[0] ** count))[:, None, None]
    torch.sqrt(square, out=gradient)
    gradient.div_(root).add_(EPS)
    state.parameters.sub_(torch.div(mean, gradient, out=gradient).mul_(size))


def clip_norm_(gradients: Sequence[Tensor], limit: float | Tensor) -> None:
    """Scale each agent's gradients [P, M, N] in place so that their common norm is at most `limit`, or [P]."""
    norms = [gradient.flatten(1).norm(dim=1) for gradient in gradients]
    norm = norms[0] if len(norms) == 1 else torch.stack(norms).norm(dim=0)
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)[:, None, None]
    for gradient in gradients:
        gradient.mul_(scale)


def polyak_update_(target: Tensor, source: Tensor, tau: Tensor) -> None:
    """Polyak averaging in place: target += tau * (source - target).

    Args:
        target: [P, M, N].
        source: [P, M, N].
        tau: [P], each between 0 and 1.
    """
    target.lerp_(source, tau[:, None, None])
