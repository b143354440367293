"""What the machine has, compared with what is asked of it before anything is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files in which Linux tells a container how much it may have."""


class Need(NamedTuple):
    """Memory that one part of a configuration takes at least.

    Attributes:
        what: the part.
        size: bytes.
        of: what makes it so large.
        lower: the options that make it smaller.
    """

    what: str
    size: int
    of: str
    lower: str


def memory() -> int | None:
    """Bytes of memory that this process can ever have; None where nothing tells."""
    found = []
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in LIMITS:
        with suppress(ValueError, OSError):  # "max" where there is no limit
            found.append(int(Path(path).read_text()))
    return min(found, default=None)


def require(needs: Sequence[Need], device: torch.device | None = None) -> None:
    """Refuse what cannot fit into the machine.

    Args:
        needs: each a lower bound, so that nothing is refused that would fit.
        device: where tensors are; the memory of a CUDA device counts as well.

    Raises:
        ValueError: says the sum, its parts and what to lower.
    """
    has = memory()
    if has is None or (device is not None and device.type == "meta"):
        return
    if device is not None and device.type == "cuda":
        has += torch.cuda.get_device_properties(device).total_memory
    total = sum(need.size for need in needs)
    if total <= has:
        return
    ordered = sorted(needs, key=lambda need: -need.size)
    parts = "; ".join(f"{need.what} {told(need.size)} ({need.of})" for need in ordered if need.size)
    raise ValueError(
        f"this needs at least {told(total)} of memory, and the machine has {told(has)}: {parts}. "
        f"Lower {ordered[0].lower}."
    )


def told(size: int) -> str:
    """A number of bytes as people read it.

    >>> told(3 * 2**29)
    '1.5 GiB'
    """
    return f"{size / 2**30:,.1f} GiB" if size >= 2**29 else f"{size / 2**20:,.1f} MiB"
