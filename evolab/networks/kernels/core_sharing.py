"""Who gets the processor's cores: the kernels, while torch's own small operations keep to one.

Kernels use as many threads as torch was given (`torch.set_num_threads`, `OMP_NUM_THREADS`), on the cores that this
process may run on, and no more than there is work for. `EVOLAB_THREADS` in the environment says another number.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator

import torch


class _Local(threading.local):
    threads: int | None = None


_local = _Local()


def threads() -> int:
    """How many threads a kernel may use."""
    asked = os.environ.get("EVOLAB_THREADS")
    if asked:
        return _number(asked)
    return min(_local.threads or torch.get_num_threads(), cores())


def cores() -> int:
    """Cores that this process may run on; it may be told others while it runs."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@functools.cache
def _number(asked: str) -> int:
    if asked.strip().isdecimal() and int(asked) > 0:
        return int(asked)
    raise ValueError(
        f"EVOLAB_THREADS is {asked!r} in the environment; a whole number of at least 1 is expected, the threads of "
        "the kernels. Unset it for as many as torch uses."
    )


@contextlib.contextmanager
def cores_for_kernels() -> Iterator[None]:
    """Inside, torch's operations run on one thread: spread over several they wait for one another.

    On a busy machine they lose badly by that: each waits for a core that others have. The kernels do not (see
    `threads.h`), and go on with what torch had.
    """
    threads()  # a bad EVOLAB_THREADS is named at once, not when there is enough work for two
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
