"""Islands that do not wait for each other: each takes what the others have sent last, and a log says what that was."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolab.core.schema import listing, record, whole, word
from evolab.experiment.engines.migration import WAYS, migrations
from evolab.experiment.engines.orders import Order, Report
from evolab.experiment.sweeps.job import SweepJob
from evolab.experiment.sweeps.plan import Plan
from evolab.storage.files import Damaged, first_bytes, read_json
from evolab.storage.folders import FORMAT, Saved
from evolab.training.generation_folders import GenerationFolders

LOG = ".taken"
"""Folder of what was taken from whom: a file for each epoch of each island."""

STALE = 60.0
"""Seconds after which a file of the log that cannot be read was left by a crash."""

AHEAD = 8
"""Epochs that an island may be ahead of another one that is alive, so that what was sent is still there."""


class AloneJob(SweepJob):
    """Orders for islands, none of which waits for another.

    What an island takes into an epoch is decided once, by who asks first, and written down before the epoch begins. Who
    begins the epoch again, after a crash, takes the same; and islands that are trained again by the log alone wait until
    what it names is there, and find the same.
    """

    def __init__(self, home: Path, plan: Plan) -> None:
        super().__init__(home, plan)
        self._looked = False

    def _orders(self) -> list[Order]:
        """One for every island that is not over, or given up, or too far ahead."""
        if not self._looked:
            for report in self.reports():
                self._stand(report)
            self._looked = True
        for run, report in zip(self.plan.runs, self.reports(), strict=True):
            if 0 < report.generation < report.epoch * run.length and not report.met(run.goals):
                # Cut short by a goal that has been raised since: that epoch is to be computed again.
                replace(report, epoch=report.epoch - 1, over=None, begun=0).write(self.home)
        reports = {report.run: report for report in self.reports()}
        if any(report.over == "target" and report.met(run.goals) for run, report in self._pairs(reports)):
            return []
        alive = [one for one in reports.values() if not one.failed(self.plan.retries) and one.over is None]
        last = min((report.epoch for report in alive), default=0)
        asked = [order for order in super()._orders() if order.epoch <= last + AHEAD]
        found = [self._with_inbox(order, reports) for order in asked]
        return sorted((order for order in found if order is not None), key=lambda order: order.epoch)

    def _pairs(self, reports: dict[str, Report]) -> list[tuple[Any, Report]]:
        return [(run, reports[run.name]) for run in self.plan.runs]

    def _with_inbox(self, order: Order, reports: dict[str, Report]) -> Order | None:
        """The order with what it takes in; None as long as that is not there."""
        taken = self._logged(order)
        if taken is None:
            taken = self._latest(order, reports)
            inbox = [{"run": giver, "generation": generation} for giver, generation in taken]
            about = {"format": FORMAT, "run": order.run, "epoch": order.epoch, "inbox": inbox}
            path = self._file(order)
            path.parent.mkdir(exist_ok=True)
            if not first_bytes(path, (json.dumps(about) + "\n").encode()):
                taken = self._logged(order)
                if taken is None:
                    return None  # somebody is writing it
        for giver, generation in taken:
            if reports[giver].generation < generation:
                return None
        return replace(order, inbox=tuple(taken))

    def _latest(self, order: Order, reports: dict[str, Report]) -> list[tuple[str, int]]:
        """Who gives to the island now, and the generation that each has sent last."""
        if order.epoch == 1:
            return []
        every = order.length
        sent = {
            name: one for name, one in reports.items() if one.epoch and one.generation == one.epoch * every
        }
        scores = {
            name: math.nan if name not in sent or one.newest is None else one.newest
            for name, one in reports.items()
        }
        givers = migrations(self.plan.migration or WAYS[0], scores, self.plan.seed, order.epoch - 1)[
            order.run
        ]
        return [(giver, sent[giver].generation) for giver in givers]

    def _logged(self, order: Order) -> list[tuple[str, int]] | None:
        path = self._file(order)
        try:
            found = read_json(path)
            _FORM("", found)
        except (Damaged, ValueError):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()
            return None
        return [(one["run"], one["generation"]) for one in found["inbox"]]

    def _file(self, order: Order) -> Path:
        return self.home / LOG / f"{order.run}-{order.epoch:06d}.json"

    def _stand(self, report: Report) -> None:
        """Have a report say where the run's newest whole checkpoint stands."""
        epoch = report.epoch
        run = next(one for one in self.plan.runs if one.name == report.run)
        at = report.generation
        while epoch and not _whole(self.home / report.run, at):
            epoch -= 1
            at = epoch * run.length
        if epoch < report.epoch:
            self._refuse_away()
            replace(report, epoch=epoch, generation=at, over=None, begun=0).write(self.home)


def _whole(run: Path, generation: int) -> bool:
    try:
        Saved(GenerationFolders(run).generation(generation), "generation").check()
    except (Damaged, ValueError, OSError):
        return False
    return True


_FORM = record(
    {
        "format": whole(1, FORMAT),
        "run": word,
        "epoch": whole(1),
        "inbox": listing(record({"run": word, "generation": whole(1)})),
    }
)
