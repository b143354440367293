"""The fastest Adam that the machine has for the agents of a bucket."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evolab.networks.adam import BETAS, EPS, AdamState, adam_
from evolab.networks.kernels import adam_rows as native

FUSED = (torch.float32, torch.float64) if hasattr(torch, "_fused_adam_") else ()
"""What torch's fused kernel is asked to do."""

PLAIN_ADAM: dict[str, Any] = {
    "beta1": BETAS[0],
    "beta2": BETAS[1],
    "eps": EPS,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
}


class BucketOptimizer:
    """Adam of one network of a bucket.

    On a CPU a compiled kernel takes all agents in one call; without it each agent's row goes through
    torch's own fused kernel, which reads it once: 5 to 10 us an agent where the composed operations
    take 8 to 50 (measured). Elsewhere a dozen operations serve all agents together.

    Attributes:
        state: what it moves.
        even: True where the rows lie evenly apart, as a kernel's call for all of them needs.
    """

    def __init__(self, state: AdamState) -> None:
        self.state = state
        parameters, mean, square = state.parameters, state.mean, state.square
        self.even = state.sizes is not None and native.kernels(parameters, mean, square) is not None
        self._rows: list[tuple[Tensor, ...]] | None = None
        if parameters.device.type == "cpu" and parameters.dtype in FUSED:
            self._whole = parameters[0].is_contiguous()
            split = [_rows(each, self._whole) for each in (parameters, mean, square)]
            members = len(split[0]) // len(parameters)
            steps = [one for one in state.count.unbind(0) for _ in range(members)]
            rates = [one for one in state.rate.unbind(0) for _ in range(members)]
            self._rows = list(zip(*split, steps, rates, strict=True))

    def step(self, gradient: Tensor) -> None:
        """One step along `gradient` [P, M, N], which may be overwritten."""
        if self._rows is None:
            adam_(self.state, gradient)
            return
        self.state.count.add_(1)
        if native.adam(self.state, gradient):
            return
        gradients = _rows(gradient.contiguous(), self._whole)
        for (parameters, mean, square, count, rate), own in zip(self._rows, gradients, strict=True):
            torch._fused_adam_([parameters], [own], [mean], [square], [], [count], lr=rate, **PLAIN_ADAM)


def _rows(flat: Tensor, whole: bool) -> list[Tensor]:
    """Pieces of `flat` [P, M, N] without gaps: one per agent, or one per agent and member."""
    return list(flat.unbind(0) if whole else (row for agent in flat.unbind(0) for row in agent.unbind(0)))
