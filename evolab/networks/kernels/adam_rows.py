"""What is done to rows of parameters entry by entry, for a whole bucket in one call."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from torch import Tensor

from evolab.networks.adam import AdamState
from evolab.networks.kernels.build import library


def adam(state: AdamState, gradient: Tensor) -> bool:
    """One step of Adam in place, with the kernels; the caller has counted it.

    Args:
        state: of the agents; its sizes must be known.
        gradient: [P, M, N].

    Returns:
        False where there are no kernels for these tensors, and nothing has been done.

    Source: Kingma and Ba 2015, Adam, algorithm 1.
    """
    parameters, mean, square, sizes = state.parameters, state.mean, state.square, state.sizes
    found = None if sizes is None else kernels(parameters, mean, square)
    if sizes is None or found is None:
        return False
    agents, members, length = parameters.shape
    gradient, rate, count = gradient.contiguous(), state.rate.contiguous(), state.count.contiguous()
    found.adam(
        *(agents * members, members, sizes.ctypes.data, parameters.data_ptr(), parameters.stride(1)),
        *(gradient.data_ptr(), length, mean.data_ptr(), square.data_ptr()),
        *(rate.data_ptr(), count.data_ptr()),
    )
    return True


def polyak_update(target: Tensor, source: Tensor, tau: Tensor, sizes: np.ndarray) -> bool:
    """Polyak averaging in place, `target += tau * (source - target)`, with the kernels.

    Args:
        target: [P, M, N].
        source: [P, M, N].
        tau: [P].
        sizes: [P] int64, how many entries of each agent's rows are in use.

    Returns:
        False where there are no kernels for these tensors, and nothing has been done.
    """
    found = kernels(target, source)
    if found is None:
        return False
    agents, members, _ = target.shape
    tau = tau.contiguous()
    found.polyak_update(
        *(agents * members, members, sizes.ctypes.data, target.data_ptr(), source.data_ptr()),
        *(target.stride(1), tau.data_ptr()),
    )
    return True


def kernels(first: Tensor, *others: Tensor) -> ctypes.CDLL | None:
    """The kernels for rows that lie alike and evenly apart; None where there are none."""
    found = library(first.dtype) if first.device.type == "cpu" else None
    stride = first.stride()
    even = first.shape[0] == 1 or stride[0] == first.shape[1] * stride[1]
    if found is None or not even or stride[2] != 1 or any(other.stride() != stride for other in others):
        return None
    if not found.adam.argtypes:
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        rows: list[Any] = [integer, integer, pointer, pointer]
        found.adam.argtypes = [*rows, integer, pointer, integer, *(pointer,) * 4]
        found.polyak_update.argtypes = [*rows, pointer, integer, pointer]
    return found
