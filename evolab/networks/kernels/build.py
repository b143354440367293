"""Compiles the kernels with the machine's C compiler, once, and keeps them in the user's cache folder.

In the environment `CC` names another compiler, `EVOLAB_CPU` another processor to compile for, such as `x86-64-v3`
(AVX2), and `EVOLAB_NATIVE=0` leaves the kernels out.
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

from evolab.core import checks

FOLDER = Path(__file__).parent
SOURCES = (
    "perceptron.c",
    "tiles.h",
    "activations.h",
    "normalisation.h",
    "adam.h",
    "threads.h",
    "plan.h",
    "quantiles.h",
    "regression.h",
    "td_targets.h",
    "gaussian.h",
    "implicit.h",
    "td_updates.h",
    "rollout_updates.h",
)
REALS = {torch.float32: "float", torch.float64: "double"}
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-pthread")
FOR_THIS_CPU = (("-march=native",), ("-mcpu=native",), ())
"""Not every compiler knows the first; the last is slow, and runs everywhere."""
SECONDS = 180
"""That a compiler may take: it needs some ten, and several times as long beside others on the same cores."""

COSTS = (
    "networks are computed by torch's operations instead: the same numbers, but a small population's updates take two to "
    "four times as long"
)


class NotCompiled(Exception):
    """The compiler gives no kernels, wherever they would lie."""


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels for one precision; None where they cannot be had, which is told once, unless it is wanted."""
    if dtype not in REALS or os.environ.get("EVOLAB_NATIVE", "1") == "0":
        return None
    try:
        return _loaded(REALS[dtype])
    except (NotCompiled, OSError) as problem:
        _tell(
            f"there are no compiled kernels: {problem} So {COSTS}. EVOLAB_NATIVE=0 says that this is meant."
        )
        return None


@functools.cache
def _tell(problem: str) -> None:
    """Warn, once in a process."""
    checks.notice(problem)


def _loaded(real: str) -> ctypes.CDLL:
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")
    if platform.system() == "Windows":
        raise NotCompiled("they have not been written for Windows.")
    if compiler is None:
        raise NotCompiled(
            "no C compiler was found. Install one (apt install gcc, xcode-select --install), or name it in CC."
        )
    problems = []
    for folder in _folders():
        try:
            path = _compiled(compiler, real, folder)
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # cut short by a full disk, or not of this machine
                path.unlink()
                return ctypes.CDLL(str(_compiled(compiler, real, folder)))
        except OSError as problem:
            problems.append(f"{folder}: {problem.strerror or problem}")
    raise NotCompiled(
        f"no folder could keep them ({'; '.join(problems)}). XDG_CACHE_HOME names a folder of your own that can be written."
    )


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
    wanted = os.environ.get("EVOLAB_CPU")
    known = (real, FLAGS, compiler, Path(compiler).stat().st_mtime_ns, platform.machine(), wanted or _cpu())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o022:
        raise OSError(f"{folder} is open to others: what lies there is not loaded.")
    path = folder / f"perceptron-{hashlib.sha256(text + repr(known).encode()).hexdigest()[:20]}.so"
    if path.is_file():
        return path
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        made = Path(draft) / "made.so"
        for target in ((f"-march={wanted}",),) if wanted else FOR_THIS_CPU:
            command = [compiler, *FLAGS, *target, f"-DREAL={real}", str(FOLDER / SOURCES[0]), "-lm"]
            try:
                done = subprocess.run([*command, "-o", str(made)], capture_output=True, timeout=SECONDS)
            except subprocess.TimeoutExpired as problem:
                raise NotCompiled(
                    f"{compiler} gave nothing within {SECONDS} s. CC names another one."
                ) from problem
            except OSError as problem:
                raise NotCompiled(
                    f"{compiler} could not be run ({problem}). CC names another one."
                ) from problem
            if done.returncode == 0:
                os.replace(made, path)
                return path
    said = " ".join(done.stderr.decode(errors="replace").split())[-300:]
    if "No space left" in said:
        raise OSError(said)
    if wanted:
        raise NotCompiled(
            f"{compiler} compiles nothing for EVOLAB_CPU={wanted}: {said} Unset it for this machine's own processor."
        )
    raise NotCompiled(f"{compiler} could not compile {SOURCES[0]}: {said} CC names another one.")


def _cpu() -> str:
    """What this processor can do: a home directory may be seen by several kinds."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()
