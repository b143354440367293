"""Memory for what fills slowly, and what is said where it is short."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evolab.core import checks

GIB = 2**30
LINE = 64
"""Bytes of a cache line."""


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free where tensors of this device lie; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    limits = [_available(), _left_of_container()]
    return min((limit for limit in limits if limit is not None), default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _left_of_container() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # another system, or "max": no limit
        return None


def room(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor to be filled. On a CPU the system gives the memory as it is written to: what is empty takes none.

    Raises:
        MemoryError: there is not as much; one sentence.
    """
    try:
        if device.type != "cpu":
            return torch.empty(*shape, dtype=dtype, device=device)
        # NumPy asks for large pages, which rows are gathered from faster, and writes none of them. It aligns to
        # 16 bytes: rows that lie across two cache lines cost a tenth more.
        size = prod(shape) * dtype.itemsize
        raw = torch.from_numpy(np.zeros(size + LINE, np.uint8))
        start = -raw.data_ptr() % LINE
        return raw[start : start + size].view(dtype).view(*shape)
    except (MemoryError, RuntimeError, ValueError):
        wanted = prod(shape) * dtype.itemsize / GIB
        raise MemoryError(
            f"{wanted:,.1f} GiB for {shape[0]:,} rows of shape {tuple(shape[1:])} are more than {device} has; "
            "pass a smaller buffer=."
        ) from None


def announce(what: str, size: int, device: torch.device) -> None:
    """Say what something will take, in bytes, where that is more than half of what is free."""
    free = free_memory(device)
    if free is not None and 2 * size > free:
        checks.notice(
            f"{what} takes {size / GIB:.1f} GiB when it is full, and {free / GIB:.1f} GiB are free on {device}: "
            "pass a smaller buffer= if it is to be filled."
        )
