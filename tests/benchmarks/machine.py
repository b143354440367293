"""What this machine can do at best, measured in the same run as whatever is compared with it."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch


def gemm_rate(repeats: int = 20, width: int = 64) -> float:
    """GFLOP/s of a one-core float32 batched product [8, 128, W] x [8, W, W] in CPU time, best of several."""
    torch.set_num_threads(1)
    left, right = torch.randn(8, 128, width), torch.randn(8, width, width)
    best, count = 0.0, max(2, 100 * 64**2 // width**2)
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(count):
            torch.bmm(left, right)
        best = max(best, 2 * 8 * 128 * width**2 * count / (time.process_time() - started) / 1e9)
    return best


def gemm_beside(width: int, seconds: float = 0.05) -> float:
    """GFLOP/s of the same product, in the mean over so long: what the machine gives just now, busy as it is."""
    left, right = torch.randn(8, 128, width), torch.randn(8, width, width)
    count, started = 0, time.process_time()
    while (taken := time.process_time() - started) < seconds:
        for _ in range(10):
            torch.bmm(left, right)
        count += 10
    return 2 * 8 * 128 * width**2 * count / taken / 1e9


def memory_rate(repeats: int = 5, mebibytes: int = 128) -> float:
    """GB/s of a one-core copy far larger than the caches, bytes read and written, in CPU time, best of several."""
    torch.set_num_threads(1)
    source = torch.ones(mebibytes * 2**18)
    target, best = torch.empty_like(source), 0.0
    for _ in range(repeats):
        started = time.process_time()
        target.copy_(source)
        best = max(best, 2 * source.nbytes / (time.process_time() - started) / 1e9)
    return best


def processor() -> str:
    """Its name, as it calls itself."""
    told = Path("/proc/cpuinfo")
    named = [line for line in told.read_text().splitlines() if ":" in line] if told.exists() else []
    about = {name.strip(): value.strip() for name, value in (line.split(":", 1) for line in named)}
    family = f", family {about['cpu family']}, model {about['model']}" if "cpu family" in about else ""
    return (about.get("model name") or platform.processor()) + family


def described() -> dict[str, object]:
    """The machine in words, for the head of a result."""
    import os

    return {
        "machine": f"{os.cpu_count()} cores ({platform.machine()}, shared virtual machine)",
        "processor": f"{processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_average": round(os.getloadavg()[0], 1),  # above 1: others were at work, which shares caches
    }
