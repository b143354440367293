"""Islands under way: epochs in the foreground or on a thread, to a goal, to a rest, or broken off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from evolab.core import checks
from evolab.experiment.callbacks import Callback
from evolab.experiment.config.island_options import IslandOptions
from evolab.experiment.engines.orders import Engine, Job, Report, RunGoals
from evolab.experiment.islands.joined_history import JoinedHistory
from evolab.experiment.runner import COMES_TO
from evolab.experiment.sweeps.beginning import engine_for
from evolab.experiment.sweeps.plan import Plan
from evolab.experiment.sweeps.sweep import Sweep
from evolab.history.events import Progress

ENDLESS = 1_000_000
"""Epochs of islands that have no goal but to be paused."""


class Lasting:
    """An engine whose workers stay between two calls, with what they have in memory.

    Args:
        engine: that does the work.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.stopped = engine, False

    def drive(self, job: Job) -> Iterator[Report]:
        """Every report, until the job has no orders left."""
        try:
            yield from self.engine.drive(job)
        except BaseException:
            self.stopped = True
            raise

    def stop(self) -> None:
        """Break off what is under way."""
        self.stopped = True
        self.engine.stop()

    def close(self) -> None:
        """Let the workers go only where one was broken off."""
        if self.stopped:
            self.engine.close()


class Driver:
    """Has islands trained, one call after the other.

    Args:
        home: their folder.
        plan: what they are.
        wish: how they are trained.

    Attributes:
        plan: with the goals of the last call.
        joined: their histories.
        version: grows with every report.
        error: what ended the thread, until the next call raises it.
    """

    def __init__(self, home: Path, plan: Plan, wish: IslandOptions) -> None:
        self.home, self.plan, self.wish = home, plan, wish
        self.joined = JoinedHistory(home, [run.name for run in plan.runs])
        self.joined.refresh()
        self.version, self.error = 0, None
        self._status, self._resting = "idle", ""
        self._sweep: Sweep | None = None
        self._kept: Lasting | None = None
        self._thread: threading.Thread | None = None

    error: BaseException | None

    @property
    def status(self) -> str:
        """As an experiment's."""
        return COMES_TO.get(self._resting, "running") if self._status == "running" else self._status

    @property
    def reports(self) -> list[Report]:
        """How far each island is."""
        return [Report.read(self.home, run.name) for run in self.plan.runs]

    @property
    def progress(self) -> Progress | None:
        """Islands that have ended the epoch under way; None before the first report."""
        reports = self.reports
        if not any(one.begun or one.epoch for one in reports):
            return None
        epoch = min(one.epoch for one in reports)
        steps = sum(one.total_steps for one in reports)
        ended = sum(one.epoch > epoch for one in reports)
        return Progress("train", epoch * self.wish.every + 1, ended, len(reports), steps)

    # Training ---------------------------------------------------------------------------------

    def goals(self, generations: int | None, max_steps: int | None, target: float | None) -> RunGoals:
        """Goals of each island, from those of all.

        Args:
            generations: so many more; whole epochs.
            max_steps: of all islands.
            target: mean return over fresh episodes.

        Raises:
            ValueError: generations that are no whole number of epochs, or no goal.
        """
        every, known = self.wish.every, self.plan.runs[0].goals
        if generations is not None and checks.positive_integer("generations", generations) % every:
            raise ValueError(
                f"generations is {generations}; a multiple of every={every} is expected, whole epochs."
            )
        if max_steps is not None:
            share = checks.positive_integer("max_steps", max_steps) // len(self.plan.runs)
            max_steps = max(1, share)
        begun = min(one.generation for one in self.reports) // every * every
        last = None if generations is None else begun + generations
        wanted = {"generations": last, "max_steps": max_steps, "target": target, "fill": known.fill}
        return RunGoals.of(wanted)

    def fill_each(self, source: int | str) -> None:
        """Have every island begin with so many random steps, or with these data."""
        runs = [replace(run, goals=replace(run.goals, fill=source)) for run in self.plan.runs]
        self.plan = replace(self.plan, runs=runs)

    def run(
        self, goals: RunGoals, shown: bool, background: bool, minutes: float | None, callback: Callback | None
    ) -> None:
        """Have the islands trained to their goals.

        Args:
            goals: of each.
            shown: a table of how it goes.
            background: on a thread.
            minutes: on the clock, after which the epoch under way is the last.
            callback: is called with each generation that all islands have ended.
        """
        self.plan = replace(self.plan, runs=[replace(run, goals=goals) for run in self.plan.runs])
        makes = engine_for(self.plan, self.wish.engine, self.wish.workers)
        self._sweep = Sweep(self.home, self.plan)
        self._status, self._resting = "running", ""
        follow = self._follower(None if minutes is None else time.monotonic() + 60 * minutes, callback)
        try:
            self._sweep.start(lambda: self._engine(makes), shown, background, follow)
            if not background:
                self._raise_where_given_up()
        except KeyboardInterrupt:
            self._status = "paused"
            raise
        except BaseException:
            self._status = "failed"
            raise
        finally:
            self.joined.refresh()
            self.version += 1
        if background:
            self._thread = threading.Thread(target=self._watch, name="evolab", daemon=True)
            self._thread.start()
        else:
            self._status = self._resting or "idle"

    def _engine(self, makes: Callable[[], Engine]) -> Engine:
        if self.wish.engine == "folder":
            return makes()  # its processes look for work by themselves
        if self._kept is None or self._kept.stopped:
            self._kept = Lasting(makes())
        return self._kept

    def _follower(self, until: float | None, callback: Callback | None) -> Callable[[], bool]:
        def follow() -> bool:
            ends = until is not None and time.monotonic() >= until
            for generation in self.joined.refresh():
                try:
                    ends = (callback is not None and callback(generation) is True) or ends
                except StopIteration:
                    ends = True
            self.version += 1
            return ends

        return follow

    def _watch(self) -> None:
        """Wait for the thread of the sweep, and say how it ended."""
        outcome = "idle"
        try:
            if self._sweep is not None:
                self._sweep.wait()
            self._raise_where_given_up()
        except BaseException as error:  # raised by `wait`, in the thread of who asks
            self.error, outcome = error, "failed"
        self.joined.refresh()
        self._status = self._resting or outcome
        self.version += 1

    def _raise_where_given_up(self) -> None:
        given_up = [one for one in self.reports if one.failed(self.plan.retries)]
        if given_up and not self._resting:
            said = "; ".join(f"{one.run}: {one.error}" for one in given_up[:3])
            raise RuntimeError(
                f"{len(given_up)} of {len(self.plan.runs)} islands failed again and again, and the others wait. {said}. "
                "Another call tries again from the last epoch; exp.islands has every error."
            )

    def halt(self, wish: str) -> None:
        """Have the islands rest.

        Args:
            wish: "paused" once what is under way has ended, "stopped" at once.
        """
        if self._status == "running" and self._sweep is not None:
            self._resting = wish
            self._sweep.halt(at_once=wish == "stopped")
        elif self._status in ("idle", "paused"):
            self._status = wish
        self.version += 1

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the thread; returns the status, raises its error."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.status

    def refuse_while_running(self, what: str) -> None:
        """Have islands that were asked to rest do so first.

        Raises:
            RuntimeError: they train in the background.
        """
        if self._resting and self._thread is not None:
            self._thread.join()
        if self._status == "running":
            raise RuntimeError(f"islands train in the background; call exp.pause() before exp.{what}().")
        self.wait(0)

    def close(self) -> None:
        """End the thread and let the workers go."""
        self.halt("stopped")
        if self._thread is not None:
            self._thread.join()
        if self._kept is not None:
            self._kept.engine.close()
            self._kept = None
