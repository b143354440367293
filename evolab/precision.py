"""How exactly a CUDA device multiplies matrices of float32 numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from evolab import checks

PRECISIONS = ("float32", "tf32")


def precision_named(precision: str) -> str:
    """The precision itself.

    Raises:
        ValueError: it is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise checks.unknown("precision", precision, list(PRECISIONS))
    return precision


@contextlib.contextmanager
def products(device: torch.device, precision: str) -> Iterator[None]:
    """Inside, matrix products on `device` have this precision.

    With "tf32" a CUDA device rounds factors to 10 bits of mantissa and adds in float32; parameters,
    moments and losses stay float32. Other devices have no such mode and compute in float32.
    """
    if precision != "tf32" or device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
