"""Memory: what the machine has, what a configuration needs of it, and room for tensors that fill slowly."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evolab.core import checks

GIB = 2**30
LINE = 64
"""Bytes of a cache line."""

LARGE = 2**22
"""Bytes of a tensor from which on it is worth asking the system for pages."""

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files in which Linux tells a container how much it may have."""


class Need(NamedTuple):
    """Memory that one part of a configuration takes at least.

    Attributes:
        what: the part.
        size: bytes.
        of: what makes it so large.
        lower: the options that make it smaller.
        at_once: False where it is taken as it fills.
    """

    what: str
    size: int
    of: str
    lower: str
    at_once: bool = True


def total_memory() -> int | None:
    """Bytes of memory that this process can ever have; None where that is not known."""
    found = []
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in LIMITS:
        with suppress(ValueError, OSError):  # "max" where there is no limit
            found.append(int(Path(path).read_text()))
    return min(found, default=None)


def require(needs: Sequence[Need], device: torch.device | None = None) -> None:
    """Refuse what cannot fit into the machine, or into what is free of it where it is taken at once.

    Args:
        needs: each a lower bound, so that nothing is refused that would fit.
        device: where tensors are; the memory of a CUDA device counts as well.

    Raises:
        ValueError: says the sum, its parts and what to lower.
    """
    has = total_memory()
    if has is None or (device is not None and device.type == "meta"):
        return
    free: int | None = None
    if device is not None and device.type == "cuda":
        has += torch.cuda.get_device_properties(device).total_memory
    elif device is not None:
        free = free_memory(device)
    total = sum(need.size for need in needs)
    at_once = sum(need.size for need in needs if need.at_once)
    if total <= has and (free is None or at_once <= free):
        return
    left = "" if free is None or total > has else f", of which {as_text(free)} are free"
    counted = needs if total > has else [need for need in needs if need.at_once]
    ordered = sorted(counted, key=lambda need: -need.size)
    parts = "; ".join(f"{need.what} {as_text(need.size)} ({need.of})" for need in ordered if need.size)
    needed = as_text(sum(need.size for need in counted))
    raise ValueError(
        f"this needs at least {needed} of memory, and the machine has {as_text(has)}{left}: {parts}. "
        f"Lower {ordered[0].lower}."
    )


def as_text(size: int) -> str:
    """A number of bytes in GiB, MiB or KiB.

    >>> as_text(3 * 2**29), as_text(20_000)
    ('1.5 GiB', '19.5 KiB')
    """
    if size < 2**20 / 2:
        return f"{size / 2**10:,.1f} KiB"
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 2 else f"{size / 2**20:,.1f} MiB"


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free where tensors of this device lie; None where that is not known."""
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


def taken_as_filled(device: torch.device) -> bool:
    """True where memory that was asked for is taken only when it is written to."""
    return device.type == "cpu"


def room(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor to be filled. On a CPU the system gives the memory as it is written to: what is empty takes none.

    Raises:
        MemoryError: there is not as much; one sentence.
    """
    try:
        if not taken_as_filled(device):
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


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of zeros, of which a CPU writes none as long as nobody else does.

    Raises:
        MemoryError: there is not as much; one sentence.
    """
    size = prod(shape) * dtype.itemsize
    if not taken_as_filled(device) or size < LARGE:
        return torch.zeros(*shape, dtype=dtype, device=device)
    # Not NumPy's zeros, which are of large pages: to find those may take the system seven times as long (measured).
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        memory = mmap.mmap(-1, size, **private)
    except (OSError, OverflowError) as error:
        raise MemoryError(
            f"{as_text(size)} for a tensor of shape {tuple(shape)} are not there: {error}."
        ) from None
    return torch.frombuffer(memory, dtype=dtype).view(*shape)


def announce(what: str, size: int, device: torch.device) -> None:
    """Say what something will take, in bytes, where that is more than half of what is free."""
    free = free_memory(device)
    if free is not None and 2 * size > free:
        checks.notice(
            f"{what} takes {size / GIB:.1f} GiB when it is full, and {free / GIB:.1f} GiB are free on {device}: "
            "pass a smaller buffer= if it is to be filled."
        )
