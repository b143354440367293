"""Compiles the kernels with the machine's C compiler, once, and keeps them in the user's cache folder.

`EVOLAB_NATIVE=0` in the environment leaves them out; `CC` names another compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
SOURCES = (
    "perceptron.c",
    "tiles.h",
    "activations.h",
    "normalisation.h",
    "adam.h",
    "threads.h",
    "regression.h",
    "updates.h",
)
REALS = {torch.float32: "float", torch.float64: "double"}
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-pthread")
FOR_THIS_CPU = (("-march=native",), ("-mcpu=native",), ())
"""Not every compiler knows the first; the last is slow, and runs everywhere."""
SECONDS = 60


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels for one precision; None where they cannot be had."""
    if dtype not in REALS or os.environ.get("EVOLAB_NATIVE", "1") == "0":
        return None
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or platform.system() == "Windows":
        return None
    for folder in _folders():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return ctypes.CDLL(str(_compiled(compiler, REALS[dtype], folder)))
    return None


def _folders() -> list[Path]:
    """Where compiled kernels may lie, best first."""
    folders = [Path(tempfile.gettempdir()) / f"evolab-{os.getuid()}"]
    with contextlib.suppress(RuntimeError):
        folders.insert(0, Path.home() / ".cache" / "evolab")
    if os.environ.get("XDG_CACHE_HOME"):
        folders.insert(0, Path(os.environ["XDG_CACHE_HOME"]) / "evolab")
    return folders


def _compiled(compiler: str, real: str, folder: Path) -> Path:
    """The library's file, compiled unless it is there; several processes may do so at once."""
    text = b"".join((FOLDER / name).read_bytes() for name in SOURCES)
    known = (real, FLAGS, compiler, Path(compiler).stat().st_mtime_ns, platform.machine(), _cpu())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o022:
        raise OSError(f"{folder} is open to others: what lies there is not loaded.")
    path = folder / f"perceptron-{hashlib.sha256(text + repr(known).encode()).hexdigest()[:20]}.so"
    if path.is_file():
        return path
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        for target in FOR_THIS_CPU:
            command = [compiler, *FLAGS, *target, f"-DREAL={real}", str(FOLDER / SOURCES[0]), "-lm"]
            made = Path(draft) / "made.so"
            done = subprocess.run([*command, "-o", str(made)], capture_output=True, timeout=SECONDS)
            if done.returncode == 0:
                os.replace(made, path)
                return path
    raise OSError(f"{compiler} could not compile {SOURCES[0]}: {done.stderr.decode(errors='replace')[-500:]}")


def _cpu() -> str:
    """What this processor can do: a home directory may be seen by several kinds."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()
