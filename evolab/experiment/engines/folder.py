"""Runs advanced by processes that meet in a folder: nothing is needed but files and renames that are atomic.

All workers are equal. Each looks for a run that nobody holds, takes its lock, and brings it from epoch to epoch until it is
over. A lock whose process is gone is taken over at once on the same machine; on another machine, once its holder has
not touched it for a while.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from evolab.experiment.engines.orders import PERIOD, REPORTS, Job, Order, Report, report_path
from evolab.experiment.engines.worker import Host
from evolab.storage import lock
from evolab.storage.outage import is_away

LOSSES = 3
"""Workers in a row that may end at once, before the reason is shown."""


class Joined:
    """This process as one of the workers."""

    def __init__(self) -> None:
        self._host = Host()
        self._watched = lock.LockWatch()
        self._mine: str | None = None

    def drive(self, job: Job) -> Iterator[Report]:
        """Every report of this worker, until the job has no orders left for anybody."""
        while orders := job.orders():
            order = next((one for one in orders if one.run == self._mine), None) or self._free(orders)
            if order is None:
                time.sleep(PERIOD)
                continue
            try:
                report = self._host.advance(order)
            except lock.InUse:  # somebody took it for gone meanwhile
                self._mine = None
                continue
            if not self._host.holds(order.run):
                lock.release(order.folder)  # so that any other worker may go on with it
            self._mine = order.run
            if report.over is not None or report.error:
                self._mine = None
            yield report

    def _free(self, orders: list[Order]) -> Order | None:
        """The first run that nobody holds; its lock is ours from now on."""
        for order in orders:
            try:
                order.folder.mkdir(exist_ok=True)
                lock.acquire(order.folder)
            except OSError:
                if not is_away(order.mark):
                    raise
                return None
            except lock.InUse:
                if self._watched.silent(order.folder):
                    return replace(order, take=True)
            else:
                return order
        return None

    def close(self) -> None:
        """Close the run that is in memory."""
        self._host.close()


class Folder:
    """Processes on this machine that work on the folder beside any others that have joined.

    Args:
        workers: processes; 0 to leave the work to those that join.
    """

    def __init__(self, workers: int) -> None:
        self._wanted = workers
        self._crew: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def drive(self, job: Job) -> Iterator[Report]:
        """Every report that changes, whoever wrote it, until the job has no orders left."""
        stamps: dict[str, int] = {}
        lost, number = 0, 0
        while (orders := job.orders()) and not self._stopped:
            for process in [one for one in self._crew if one.poll() is not None]:
                self._crew.remove(process)
                lost += 1
            if lost > LOSSES * max(1, self._wanted):
                tail = (job.home / REPORTS / f"worker-{number - 1}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(
                    f"workers of {job.home} end as soon as they begin. The last one said:\n{tail}"
                )
            while len(self._crew) < min(self._wanted, len(orders)):
                self._crew.append(_hired(job, number))
                number += 1
            time.sleep(PERIOD)
            for report in _changed(job, stamps):
                lost = 0
                yield report
        yield from _changed(job, stamps)

    def stop(self) -> None:
        """Wait for nobody."""
        self._stopped = True

    def close(self) -> None:
        """End the processes; their runs stand at their newest checkpoints."""
        for process in self._crew:
            process.kill()
        for process in self._crew:
            process.wait()
        self._crew.clear()


def _hired(job: Job, number: int) -> subprocess.Popen[bytes]:
    log = job.home / REPORTS / f"worker-{number}.log"
    log.parent.mkdir(exist_ok=True)
    path = os.pathsep.join(dict.fromkeys(one or os.getcwd() for one in sys.path))
    environment = os.environ | {"PYTHONPATH": path}
    with log.open("wb") as out:
        return subprocess.Popen(
            job.command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
        )


def _changed(job: Job, stamps: dict[str, int]) -> Iterator[Report]:
    for path in sorted((job.home / REPORTS).glob("*.json")):
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            continue
        if stamps.get(path.stem) != stamp and path == report_path(job.home, path.stem):
            stamps[path.stem] = stamp
            yield Report.read(job.home, path.stem)


def leave_with(parent: int) -> None:
    """End this process when the one that started it is gone, whatever it is doing: its run stands at a checkpoint."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="evolab-parent", daemon=True).start()
