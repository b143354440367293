"""The job of a sweep: which runs can be advanced now, told from the reports in its folder alone."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path

from evolab.experiment.config.island_options import FILE
from evolab.experiment.engines.orders import Order, Report
from evolab.experiment.sweeps.plan import Plan
from evolab.storage import lock
from evolab.storage.outage import is_away, wait_for


class SweepJob:
    """Orders for runs that do not speak to each other.

    Args:
        home: the sweep's folder.
        plan: what is trained.
    """

    def __init__(self, home: Path, plan: Plan) -> None:
        self.home, self.plan = home, plan
        self._resting = False
        self._mark = home / FILE
        self._seen = False  # the mark, without which nobody can tell that storage is away

    def reports(self) -> list[Report]:
        """The newest report of every run."""
        return [Report.read(self.home, run.name) for run in self.plan.runs]

    def orders(self) -> list[Order]:
        """What can be done now, the most urgent first; empty where all is done, or given up.

        As long as the folder is away nothing is, and this waits: what cannot be read is no sign that it was never there.

        Raises:
            OSError: the folder is away for too long, or takes nothing.
        """
        while True:
            try:
                found = self._orders()
            except OSError:
                if not self._away():
                    raise
            else:
                if not self._away():
                    return found
            wait_for(self._mark, given_up=lambda: self._resting)
            if self._resting:
                return []

    def _away(self) -> bool:
        away = is_away(self._mark)
        self._seen = self._seen or not away
        return away and self._seen

    def _refuse_away(self) -> None:
        """Before something is taken back because it is not there.

        Raises:
            OSError: the folder itself is away.
        """
        if self._away():
            raise OSError(errno.ENODEV, "the folder is away", str(self.home))

    def _orders(self) -> list[Order]:
        """One for every run that is not over; those that are under way come first."""
        found: list[tuple[bool, Order]] = []
        if self._resting:
            return []
        for run, report in zip(self.plan.runs, self.reports(), strict=True):
            if report.met(run.goals) or report.failed(self.plan.retries):
                continue
            order = Order(
                run=run.name,
                home=self.home,
                options=run.options,
                goals=run.goals,
                epoch=report.epoch + 1,
                length=run.length,
                own=run.own,
                retries=self.plan.retries,
                threads=self.plan.threads,
                faster=self.plan.faster(run.name),
                transitions=self.plan.transitions,
                sends=self.plan.transitions > 0 or not self.plan.synchronous,
            )
            found.append((report.epoch == 0 and report.begun == 0, order))
        return [order for _, order in sorted(found, key=lambda one: one[0])]

    def rest(self) -> None:
        """Have no more orders: what is under way is brought to its end."""
        self._resting = True

    def forgive(self) -> None:
        """Let runs that were given up be tried again, by whoever asks for it."""
        for report in self.reports():
            if report.begun and report.over is None and lock.holder(self.home / report.run) is None:
                replace(report, begun=0).write(self.home)

    def command(self) -> list[str]:
        """The program of a further worker, which ends with this process."""
        program = "import sys; from evolab.experiment.sweeps.joining import join; join(sys.argv[1], int(sys.argv[2]))"
        return [sys.executable, "-c", program, str(self.home.resolve()), str(os.getpid())]
