"""One process at a time writes to a run's folder, and one object in it; the second one is told who the first is."""

from __future__ import annotations

import atexit
import json
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAME = ".lock"
_held: dict[Path, weakref.ref[object] | None] = {}  # by whom in this process; None where it was not said
_changing = threading.RLock()
_writers: dict[Path, threading.RLock] = {}


PATIENCE = 10
"""Looks at a lock that says nothing of its holder, before it is taken for what a crash has left."""

BEAT, SILENCE = 10.0, 180.0
"""Seconds between two touches of a lock by who holds it, and after how many without one it counts as gone."""


class TakenOver(RuntimeError):
    """Another object of this process writes to the folder."""


class InUse(RuntimeError):
    """Another process writes to the folder."""


def acquire(folder: Path, owner: object | None = None, take: bool = False) -> None:
    """Take the folder for this process until it ends, or until `release`.

    Args:
        folder: of a run.
        owner: the object that will write there; None for any of this process.
        take: have it although another object of this process has it.

    Raises:
        InUse: another process that still runs holds it; names its pid and host.
        TakenOver: another object of this process holds it.
    """
    path = folder.resolve() / NAME
    with _changing:
        known = _held.get(path)
        other = None if known is None else known()
        if owner is not None and other is not None and other is not owner and not take:
            raise TakenOver(
                f"{folder} belongs to another Experiment of this process, which has gone on with the same run. "
                f"Save this one elsewhere, with exp.save('...')."
            )
        if path not in _held or _owner(path) != _self():
            _acquire(folder, path)
            if not _held:
                atexit.register(_release_all)
        if owner is not None or path not in _held:
            _held[path] = None if owner is None else weakref.ref(owner)


def _acquire(folder: Path, path: Path) -> None:
    mine = _beside(path)
    try:
        mine.write_text(json.dumps(_self()))
    except OSError as error:  # of a full disk it does not say where
        with suppress(OSError):
            mine.unlink()
        raise OSError(error.errno, error.strerror, str(folder)) from error
    try:
        for attempt in range(2 * PATIENCE):
            try:
                _claim(mine, path)
                return
            except FileExistsError:
                owner = _owner(path)
            if owner == _self():
                return
            if owner is None and attempt < PATIENCE:
                # It was released just now, or is being written where there are no hard links.
                time.sleep(0.02)
            elif owner is None or _is_gone(owner):
                _discard(path, owner)
            else:
                raise _in_use(folder, path, owner)
        raise _in_use(folder, path, _owner(path) or {})
    finally:
        with suppress(FileNotFoundError):
            mine.unlink()


def _beside(path: Path) -> Path:
    """A name that nobody else takes, and that no run clears away as a draft of its own."""
    return path.with_name(f"{NAME}-{uuid.uuid4().hex[:16]}")


def _in_use(folder: Path, path: Path, owner: dict[str, object]) -> InUse:
    return InUse(
        f"{folder} is in use by process {owner.get('pid')} on {owner.get('host')}; two processes cannot write one run. "
        f"Stop that one or choose another folder. If it is gone for good, delete {path}."
    )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside, no other object of this process writes to the folder."""
    with _changing:
        mutex = _writers.setdefault(folder.resolve(), threading.RLock())
    with mutex:
        yield


def release(folder: Path, owner: object | None = None) -> None:
    """Give the folder back, where this process (and this object) holds it."""
    path = folder.resolve() / NAME
    with _changing:
        known = _held.get(path)
        other = None if known is None else known()
        if path not in _held or (owner is not None and other is not None and other is not owner):
            return
        del _held[path]
        if _owner(path) == _self():
            with suppress(OSError):
                path.unlink()


def break_open(folder: Path) -> None:
    """Remove the lock of a process that is known to be gone, on another machine perhaps."""
    path = folder.resolve() / NAME
    owner = _owner(path)
    if owner is not None and owner != _self():
        _discard(path, owner)


@contextmanager
def beating(folder: Path) -> Iterator[None]:
    """Inside, the lock that this process holds is touched now and then, which other machines can see."""
    path, ended = folder.resolve() / NAME, threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):
                if _owner(path) == _self():
                    os.utime(path)

    thread = threading.Thread(target=beat, name="evolab-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


class LockWatch:
    """Tells by this process's own clock which locks have not been touched for long; clocks of machines differ."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, float]] = {}

    def silent(self, folder: Path) -> bool:
        """True where nobody has touched the folder's lock for as long as it was watched, and that is long enough."""
        path = folder.resolve() / NAME
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return False
        known, since = self._seen.get(path, (None, 0.0))
        if known != stamp:
            self._seen[path] = (stamp, time.monotonic())
            return False
        return time.monotonic() - since > SILENCE


def holder(folder: Path) -> dict[str, Any] | None:
    """The other process that writes here now: its pid and host; None where there is none."""
    owner = _owner(folder.resolve() / NAME)
    return None if owner is None or owner == _self() or _is_gone(owner) else owner


def writer(folder: Path) -> dict[str, Any] | None:
    """The process that writes here now, this one included: its pid and host; None where there is none."""
    owner = _owner(folder.resolve() / NAME)
    return None if owner is None or _is_gone(owner) else owner


def _claim(mine: Path, path: Path) -> None:
    """Make the lock in one step, with its content."""
    try:
        os.link(mine, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links on this file system
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        with os.fdopen(handle, "w") as file:
            file.write(mine.read_text())


def _discard(path: Path, owner: dict[str, object] | None) -> None:
    """Move a dead process's lock away; put it back if another process was faster and made it its own."""
    moved = _beside(path)
    with suppress(FileNotFoundError):
        os.rename(path, moved)
        if _owner(moved) != owner:
            with suppress(FileExistsError):
                _claim(moved, path)
        moved.unlink()


def _self() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}


def _owner(path: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def _is_gone(owner: dict[str, object]) -> bool:
    """True where the process certainly does not run; another host's processes cannot be asked."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    if os.name == "nt":  # os.kill would end it there
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    # Numbers are used again after a restart: the same one with another start is another process.
    return owner.get("started") not in (None, _started(pid))


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's own count; None where it cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot}:{stat.rpartition(')')[2].split()[19]}"


def _release_all() -> None:
    for path in list(_held):
        release(path.parent)
