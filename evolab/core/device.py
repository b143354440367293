"""Devices by name, and how exactly a CUDA device multiplies matrices of float32 numbers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

from evolab.core import checks

PRECISIONS = ("float32", "tf32")


def device_named(device: str | torch.device) -> torch.device:
    """A torch device; "auto" is CUDA where there is one.

    Raises:
        ValueError: the device is unknown, or CUDA is asked for and not there.
    """
    if isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        named = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"device is {device!r}; 'auto', 'cpu', 'cuda' or 'meta' is expected.") from None
    if named.type not in ("cpu", "cuda", "meta"):
        raise ValueError(f"device is {device!r}; 'auto', 'cpu', 'cuda' or 'meta' is expected.")
    if named.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch sees no CUDA device. Use device='auto'.")
    if named.type == "cuda" and named.index is None:  # tensors and generators name theirs
        named = torch.device("cuda", torch.cuda.current_device())
    return named


def dtype_called(name: object) -> torch.dtype | None:
    """The dtype of torch's with this name; None where it has none.

    >>> dtype_called("float64")
    torch.float64
    """
    found = getattr(torch, str(name), None)
    return found if isinstance(found, torch.dtype) else None


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
    moments and losses stay float32. Other devices have no such mode and compute in float32. The mode
    is the whole process's while any thread is inside.
    """
    if precision != "tf32" or device.type != "cuda":
        yield
        return
    with _lock:
        if not _inside:
            try:
                _inside.append(torch.get_float32_matmul_precision())
            except RuntimeError:  # torch's finer settings have been used; they stand
                _inside.append("")
            else:
                torch.set_float32_matmul_precision("high")
        _inside.append("high")
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            before = _inside.pop() if len(_inside) == 1 else ""
            if before:
                torch.set_float32_matmul_precision(before)


_lock = threading.Lock()
_inside: list[str] = []  # the setting before, and one entry for each thread that is inside
