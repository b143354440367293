"""join: this process as one more worker on the folder of a sweep, or of islands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from evolab.experiment.config.island_options import FILE
from evolab.experiment.engines.folder import Joined, leave_with
from evolab.experiment.sweeps.asynchronous import AloneJob
from evolab.experiment.sweeps.job import SweepJob
from evolab.experiment.sweeps.migration_orders import IslandsJob
from evolab.experiment.sweeps.plan import Plan
from evolab.storage.outage import is_away, wait_for


def job_of(home: Path, plan: Plan) -> SweepJob:
    """The job that a plan means."""
    if plan.migration is None:
        return SweepJob(home, plan)
    return (IslandsJob if plan.synchronous else AloneJob)(home, plan)


def _plan(home: Path, own: Mapping[str, object] | None, known: bool) -> Plan:
    """The plan of a folder; one that is known to be there is waited for while its storage is away."""
    while True:
        if known:
            wait_for(home / FILE)
        try:
            return Plan.read(home, own)
        except OSError:
            if not (known and is_away(home / FILE)):
                raise


def join(
    folder: str | os.PathLike[str], parent: int | None = None, own: Mapping[str, object] | None = None
) -> int:
    """Work on a sweep's folder in this process until nothing is left to do for anybody.

    Args:
        folder: of the sweep.
        parent: process that this one ends with; None for none.
        own: objects in place of those that no file holds.

    Returns:
        how many runs were given up.
    """
    if parent is not None:
        leave_with(parent)
    home = Path(folder).expanduser()
    job, engine = job_of(home, _plan(home, own, parent is not None)), Joined()
    try:
        for _ in engine.drive(job):
            pass
    finally:
        engine.close()
    return sum(report.failed(job.plan.retries) for report in job.reports())
