"""Keeps freed memory with the process, where the C library would hand it back at once.

glibc returns blocks above 128 kB to the kernel when they are freed, and every fresh one is
paid for in page faults: on a virtual machine an elementwise operation on half a megabyte took
300 us instead of 16 (measured). A population allocates such blocks thousands of times a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
_LARGEST = 32 * 1024 * 1024  # the most that glibc accepts for the second


@functools.cache
def keep_freed_memory() -> bool:
    """Ask glibc to reuse large blocks; does nothing elsewhere. True where it was heard."""
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGEST) and libc.mallopt(_TRIM_THRESHOLD, 16 * _LARGEST))
    return False
