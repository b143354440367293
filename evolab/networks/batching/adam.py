"""Adam for a group of agents, each with its own learning rate and step count.

One flat row per agent and network means a handful of operations for the whole group,
however many parameters a network has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from evolab.networks.kernels import rows as native


class Adam:
    """Adam of one network of a group.

    On a CPU a compiled kernel takes all agents in one call; without it each agent's row goes through
    torch's own fused kernel, which reads it once: 5 to 10 us an agent where the composed operations
    take 8 to 50 (measured). Elsewhere a dozen operations serve all agents together.

    Args:
        parameters: [C, M, N].
        mean: [C, M, N], first moment.
        square: [C, M, N], second moment.
        count: [C], steps taken so far.
        rate: [C], learning rates.
        sizes: [C], how many entries of each agent's rows are in use; None for all, and for torch's operations.
    """

    def __init__(
        self,
        parameters: Tensor,
        mean: Tensor,
        square: Tensor,
        count: Tensor,
        rate: Tensor,
        sizes: np.ndarray | None = None,
    ) -> None:
        self.parameters, self.mean, self.square = parameters, mean, square
        self.count, self.rate, self.sizes = count, rate, sizes
        self.even = sizes is not None and native.kernels(parameters, mean, square) is not None
        self.rows: list[tuple[Tensor, ...]] | None = None
        if parameters.device.type == "cpu" and parameters.dtype in FUSED:
            whole = parameters[0].is_contiguous()
            split = [_rows(each, whole) for each in (parameters, mean, square)]
            members = len(split[0]) // len(parameters)
            steps = [one for one in count.unbind(0) for _ in range(members)]
            rates = [one for one in rate.unbind(0) for _ in range(members)]
            self.rows, self.whole = list(zip(*split, steps, rates, strict=True)), whole

    def step(self, gradient: Tensor) -> None:
        """One step along `gradient` [C, M, N], which may be overwritten."""
        if self.rows is None:
            adam_(self.parameters, gradient, self.mean, self.square, self.count, self.rate)
            return
        self.count.add_(1)
        about = self.parameters, gradient, self.mean, self.square, self.count, self.rate
        if self.sizes is not None and native.adam(*about, self.sizes):
            return
        slopes = _rows(gradient.contiguous(), self.whole)
        for (parameters, mean, square, count, rate), slope in zip(self.rows, slopes, strict=True):
            torch._fused_adam_(
                [parameters],
                [slope],
                [mean],
                [square],
                [],
                [count],
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


FUSED = (torch.float32, torch.float64) if hasattr(torch, "_fused_adam_") else ()
"""What torch's fused kernel is asked to do."""


def _rows(flat: Tensor, whole: bool) -> list[Tensor]:
    """Pieces of `flat` [C, M, N] without gaps: one per agent, or one per agent and member."""
    return list(flat.unbind(0) if whole else (row for agent in flat.unbind(0) for row in agent.unbind(0)))


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


def clip_norm_(gradients: Sequence[Tensor], limit: float | Tensor) -> None:
    """Scale each agent's gradients [C, M, N] in place so that their common norm is at most `limit`, or [C]."""
    norms = [gradient.flatten(1).norm(dim=1) for gradient in gradients]
    norm = norms[0] if len(norms) == 1 else torch.stack(norms).norm(dim=0)
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)[:, None, None]
    for gradient in gradients:
        gradient.mul_(scale)


def polyak_update_(target: Tensor, source: Tensor, tau: Tensor) -> None:
    """Polyak averaging in place: target += tau * (source - target).

    Args:
        target: [C, M, N].
        source: [C, M, N].
        tau: [C], each between 0 and 1.
    """
    target.lerp_(source, tau[:, None, None])
