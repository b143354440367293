"""Who gets the processor's cores: the kernels, while torch's own small operations keep to one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_local = threading.local()


def threads() -> int:
    """How many threads a kernel may use: as many as torch was given."""
    return getattr(_local, "threads", None) or torch.get_num_threads()


@contextlib.contextmanager
def cores_for_kernels() -> Iterator[None]:
    """Inside, torch's operations run on one thread: spread over several they wait for one another."""
    most = torch.get_num_threads()
    if most == 1:
        yield
        return
    _local.threads = most
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(most)
        _local.threads = None
