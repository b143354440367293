"""Runs advanced in this process, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator

from evolab.experiment.engines.orders import PERIOD, Job, Report
from evolab.experiment.engines.worker import Host
from evolab.storage import lock


class Local:
    """This process, which needs nothing else.

    Args:
        room: runs that are kept in memory at once.
    """

    def __init__(self, room: int = 1) -> None:
        self._host = Host(room)
        self._stopped = False

    def drive(self, job: Job) -> Iterator[Report]:
        """Every report, until the job has no orders left."""
        self._stopped = False
        self._host.stop(False)
        while orders := job.orders():
            for order in orders:
                try:
                    report = self._host.advance(order)
                except lock.InUse:
                    continue  # a worker that outlived its driver has it, and brings it to its end
                except KeyboardInterrupt:
                    if self._stopped:
                        return
                    raise
                yield report
                break
            else:
                time.sleep(PERIOD)

    def stop(self) -> None:
        """Break off the run under way at its next step."""
        self._stopped = True
        self._host.stop()

    def close(self) -> None:
        """Close the runs that are in memory."""
        self._host.close()
