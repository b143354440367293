"""The same numbers on every processor: what torch's library for a CPU would otherwise choose by the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from pathlib import Path

import torch

from evolab.core import checks

COMPATIBLE = 3
"""MKL's name for results that do not depend on the processor."""

BY_HAND = "Set MKL_CBWR=COMPATIBLE and ATEN_CPU_CAPABILITY=avx2 in the environment before Python begins"


def same_everywhere(deterministic: object) -> bool:
    """Have torch compute the same bits on every x86 processor with AVX2, where that is asked for; for the whole process.

    evolab's kernels sum in one order whatever the width of a processor's vectors. Torch's own sums do not, and MKL, by
    which it computes tanh and other products, takes another path for each processor, unless both are told before
    their first use.

    Args:
        deterministic: True, or False, which changes nothing.

    Raises:
        TypeError: it is neither.
        RuntimeError: torch has computed already, in another way.
    """
    if not isinstance(deterministic, bool):
        raise TypeError(f"deterministic is {deterministic!r}; True or False is expected.")
    if not deterministic:
        return False
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkl.is_available():
        checks.notice(
            "deterministic=True holds for processors of the x86 family with torch's usual build: here it computes tanh "
            "and random numbers by functions that round otherwise."
        )
        return True
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
    if not _told_mkl() or torch.backends.cpu.get_cpu_capability() != "AVX2":
        raise RuntimeError(
            "deterministic is True, but torch has computed something before, in this processor's own way, or the "
            f"processor has no AVX2. Make the experiment before any tensor. {BY_HAND}, if that is too early."
        )
    return True


def described() -> str:
    """The machine, who made its processor, and the widest vectors that torch uses: by these three, sums are in one order."""
    return f"{platform.machine()} {_maker()} {torch.backends.cpu.get_cpu_capability()}"


def _maker() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("vendor_id", "CPU implementer")):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _told_mkl() -> bool:
    """True where MKL computes alike on all processors from now on."""
    if os.environ.get("MKL_CBWR"):
        return True
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        library.mkl_serv_cbwr_set(ctypes.c_int(COMPATIBLE))
        return bool(library.mkl_serv_cbwr_get(ctypes.c_int(-1)) == COMPATIBLE)
    except (OSError, AttributeError):
        return False
