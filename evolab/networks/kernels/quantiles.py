"""Quantiles compared with samples, in one call: see `quantiles.h`."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from evolab.networks.kernels.build import library
from evolab.networks.kernels.core_sharing import threads
from evolab.networks.kernels.perceptrons import GRAIN

_INTEGER, _POINTER = ctypes.c_int64, ctypes.c_void_p


def quantile_error(
    out: Tensor,
    target: Tensor,
    weight: Tensor,
    huber: float,
    choice: Tensor | None,
    quantiles: int,
    kept: Tensor | None,
) -> tuple[Tensor, Tensor] | None:
    """The losses [P, M], and how they change with the outputs, in their shape; None where there are no kernels for them.

    Args:
        out: [P, M, B, O].
        target: [P, B, K].
        weight: [P, B].
        huber: see `QuantileError`, as all others.
        choice: [P, B] int64.
        quantiles: N.
        kept: [P].
    """
    kernels = library(out.dtype) if out.device.type == "cpu" else None
    if kernels is None:
        return None
    if not kernels.quantile_error.argtypes:
        kernels.quantile_error.argtypes = [_INTEGER] * 7 + [_POINTER] * 5 + [ctypes.c_double] + [_POINTER] * 2
    agents, members, batch, outputs = out.shape
    samples = target.shape[-1]
    out, target, weight = out.contiguous(), target.contiguous(), weight.contiguous()
    choice = None if choice is None else choice.contiguous()
    kept = None if kept is None else kept.long()
    slope, losses = torch.empty_like(out), out.new_empty(agents, members)
    failed = kernels.quantile_error(
        *(
            min(threads(), 1 + agents * members * batch * quantiles * samples // GRAIN),
            agents,
            members,
            batch,
        ),
        *(outputs, quantiles, samples, out.data_ptr(), target.data_ptr(), weight.data_ptr()),
        *(None if one is None else one.data_ptr() for one in (choice, kept)),
        *(huber, losses.data_ptr(), slope.data_ptr()),
    )
    if failed:
        raise IndexError(
            f"a choice is none of the {outputs // quantiles} that have {quantiles} outputs each."
        )
    return losses, slope
