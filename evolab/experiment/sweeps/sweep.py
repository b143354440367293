"""Sweep: many runs in one folder, while they train and afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evolab.core import checks
from evolab.experiment.config.island_options import FILE
from evolab.experiment.engines.orders import Engine, Report
from evolab.experiment.sweeps.display import NAMES, Screen, as_html, as_text, rows_of, state_of
from evolab.experiment.sweeps.joining import job_of
from evolab.experiment.sweeps.plan import Plan
from evolab.storage import lock

if TYPE_CHECKING:
    from pandas import DataFrame


class Sweep:
    """Many runs in one folder; `ev.sweep` makes it. `ev.runs`, `ev.compare` and `ev.dashboard` read its folder too.

    Args:
        folder: of the sweep.
        plan: what is trained.

    Attributes:
        folder: where each run has its own; `ev.load(sweep.folder / name)` opens one.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self._job = job_of(folder, plan)
        self._halt = threading.Event()
        self._engine: Engine | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    # Training ---------------------------------------------------------------------------------

    def start(
        self,
        engine: Callable[[], Engine],
        shown: bool = True,
        background: bool = False,
        follow: Callable[[], bool] | None = None,
    ) -> None:
        """Take the folder, and have the runs trained.

        Args:
            engine: makes what trains them.
            shown: say how it goes.
            background: on a thread; `wait` waits for it.
            follow: is called after each report; returns True to have the runs rest.

        Raises:
            RuntimeError: the folder is in use.
            ValueError: a run was begun with other options.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(self.folder, self)
        except lock.TakenOver:
            raise RuntimeError(
                f"{self.folder} is being swept by this process already. Wait for that."
            ) from None
        try:
            plan = self._job.plan
            if (self.folder / FILE).exists():
                own = {name: value for run in plan.runs for name, value in run.own.items()}
                plan = plan.united(Plan.read(self.folder, own))
            self._job = job_of(self.folder, plan)
            plan.write(self.folder)
            self._job.forgive()
            self._halt.clear()
            self._engine = engine()
        except BaseException:
            lock.release(self.folder, self)
            raise
        if not background:
            self._drive(self._engine, Screen(shown), follow)
            return
        self._thread = threading.Thread(
            target=self._drive_apart, args=(self._engine, follow), name="evolab-sweep", daemon=True
        )
        self._thread.start()

    def _drive_apart(self, engine: Engine, follow: Callable[[], bool] | None) -> None:
        try:
            self._drive(engine, Screen(False), follow)
        except BaseException as error:  # raised by `wait`, in the thread of who asks
            self._error = error

    def _drive(self, engine: Engine, screen: Screen, follow: Callable[[], bool] | None) -> None:
        try:
            self._show(screen)
            for _ in engine.drive(self._job):
                self._show(screen)
                if follow is not None and follow():
                    self._job.rest()
                if self._halt.is_set():
                    break
            self._show(screen, last=True)
        finally:
            engine.close()
            lock.release(self.folder, self)
        if self.failed and not self._halt.is_set():
            checks.notice(
                f"{len(self.failed)} of {len(self)} runs were given up: {', '.join(self.failed[:8])}. sweep.table says "
                f"why; ev.sweep({str(self.folder)!r}) tries them again."
            )

    def stop(self) -> None:
        """End at the next report; the runs stand at their newest checkpoints, and a further call goes on."""
        self._job.rest()  # also where it waits for storage that is away
        self._halt.set()
        self.wait()

    def halt(self, at_once: bool) -> None:
        """Ask the runs to rest, from another thread.

        Args:
            at_once: break off what is under way, which is computed again; else it is brought to its end first, but
                where the workers are processes.
        """
        self._job.rest()
        if at_once:
            self._halt.set()
            if self._engine is not None:
                self._engine.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the thread that trains; raises its error. True where it has ended."""
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return True

    # What there is ----------------------------------------------------------------------------

    @property
    def failed(self) -> list[str]:
        """Runs that were given up."""
        return [one.run for one in self._job.reports() if one.failed(self._job.plan.retries)]

    @property
    def finished(self) -> bool:
        """True where every run has met a goal."""
        plan = self._job.plan
        return all(one.met(run.goals) for run, one in zip(plan.runs, self._job.reports(), strict=True))

    @property
    def leader(self) -> str:
        """The run whose elite is the best, by fresh episodes where there were any.

        Raises:
            LookupError: no generation has ended yet.
        """
        known = [one for one in self._job.reports() if one.best is not None]
        if not known:
            raise LookupError("no run has ended a generation yet.")
        low = float("-inf")
        return max(
            known, key=lambda one: (low if one.confirmed is None else one.confirmed, one.best or low)
        ).run

    @property
    def table(self) -> DataFrame:
        """One row for each run: run, state, generation, steps (evaluation included), best, confirmed, seconds, error."""
        import pandas as pd

        reports = self._job.reports()
        rows = [
            {
                "run": one.run,
                "state": state,
                "generation": one.generation,
                "steps": one.total_steps + one.evaluation_steps,
                "best": one.best,
                "confirmed": one.confirmed,
                "seconds": one.seconds,
                "error": one.error,
            }
            for one, state in zip(reports, self._states(reports), strict=True)
        ]
        return pd.DataFrame(rows, columns=list(NAMES))

    def trace(self, run: str) -> str:
        """Where the error of a run came from; empty where there was none."""
        names = [one.name for one in self._job.plan.runs]
        if run not in names:
            raise checks.unknown("run of the sweep", run, names)
        return Report.read(self.folder, run).trace

    def _states(self, reports: Sequence[Report]) -> list[str]:
        plan = self._job.plan
        pairs = zip(plan.runs, reports, strict=True)
        return [state_of(one, plan.retries, one.met(run.goals)) for run, one in pairs]

    def _told(self) -> tuple[str, list[tuple[str, ...]]]:
        reports = self._job.reports()
        states = self._states(reports)
        over = sum(state.startswith("over") for state in states)
        failed = states.count("failed")
        title = f"{self.folder}: {over} of {len(states)} runs are over" + (
            f", {failed} failed" if failed else ""
        )
        return title, rows_of(reports, states)

    def _show(self, screen: Screen, last: bool = False) -> None:
        screen.show(*self._told(), last)

    def __len__(self) -> int:
        return len(self._job.plan.runs)

    def __repr__(self) -> str:
        return f"{as_text(*self._told())}\n  next: .table, ev.compare(sweep.folder), ev.load(sweep.folder / sweep.leader)"

    def _repr_html_(self) -> str:
        return as_html(*self._told())
