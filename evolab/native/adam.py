"""Adam for the rows of a band in one call."""

from __future__ import annotations

import ctypes

from torch import Tensor

from evolab.native.build import library

_INTEGER, _POINTER = ctypes.c_int64, ctypes.c_void_p


def adam(
    parameters: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, count: Tensor, rate: Tensor
) -> bool:
    """One step of Adam in place, with the kernels.

    Args:
        parameters: [C, M, N].
        gradient: [C, M, N].
        mean: [C, M, N], first moment, laid out as the parameters.
        square: [C, M, N], second moment, laid out as the parameters.
        count: [C], steps taken with this one.
        rate: [C], learning rates.

    Returns:
        False where there are no kernels for these tensors, and nothing has been done.

    Source: Kingma and Ba 2015, Adam, algorithm 1.
    """
    kernels = library(parameters.dtype) if parameters.device.type == "cpu" else None
    agents, members, size = parameters.shape
    apart = parameters.stride(1)
    if kernels is None or (agents > 1 and parameters.stride(0) != members * apart):
        return False
    if mean.stride() != parameters.stride() or square.stride() != parameters.stride():
        return False
    if not kernels.adam.argtypes:
        kernels.adam.argtypes = [
            *(_INTEGER, _INTEGER, _INTEGER, _POINTER, _INTEGER, _POINTER, _INTEGER),
            *(_POINTER, _POINTER, _POINTER, _POINTER),
        ]
    gradient, rate, count = gradient.contiguous(), rate.contiguous(), count.contiguous()
    kernels.adam(
        *(agents * members, members, size, parameters.data_ptr(), apart, gradient.data_ptr(), size),
        *(mean.data_ptr(), square.data_ptr(), rate.data_ptr(), count.data_ptr()),
    )
    return True
