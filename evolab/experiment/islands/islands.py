"""Islands: an experiment of several populations, with the calls of one; its workers train, this process looks on."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path

from evolab.core import checks
from evolab.core.rng import fresh_seed
from evolab.experiment.callbacks import Callback
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.island_options import FILE, IslandOptions
from evolab.experiment.engines.orders import RunGoals
from evolab.experiment.islands.driving import ENDLESS, Driver
from evolab.experiment.islands.fixed import OPTIONS
from evolab.experiment.islands.saving import IslandSaving
from evolab.experiment.sweeps.migration_orders import SECTION, island_plan
from evolab.experiment.sweeps.plan import Plan
from evolab.history.events import Generation
from evolab.history.history import History

FREE = ("engine", "workers", "exact", "progress")
"""What may be another where islands go on."""


class Islands(IslandSaving):
    """Several populations as one search: `ev.Experiment("CartPole-v1", islands=4)`; the calls are an experiment's.

    Each island has its own seeds and its own replay. After every epoch of `every` generations the best agents migrate;
    see `ev.sweep`. Rows go from island to island by the folder that all workers see, never through this process. The
    history is that of all islands, in which an agent's number is its number at home times `islands`, plus its island's.

    Args:
        plan: what the islands are.
        wish: how they are trained.
        folder: where they are kept; None for a temporary folder of this machine, which ends with the object.
        target: mean return at which `run` stops; None for none.
        progress: show a table of how it goes.
    """

    def __init__(
        self,
        plan: Plan,
        wish: IslandOptions,
        folder: str | PathLike[str] | None = None,
        target: float | None = None,
        progress: bool = True,
    ) -> None:
        first = plan.runs[0]
        self._config = ExperimentConfig.from_plain(first.options, **first.own)
        self._target, self._progress, self._kept = target, progress, folder is not None
        if folder is None:
            _refuse_elsewhere(wish)
            folder = tempfile.mkdtemp(prefix="evolab-islands-")
        home = checks.path("folder", folder)
        entries = [one.name for one in home.iterdir()] if home.is_dir() else []
        if FILE not in entries and any(not name.startswith(".") for name in entries):
            raise FileExistsError(f"{home} is not empty. Name another folder, or empty it.")
        self._driver = Driver(home, plan, wish)
        self._end = weakref.finalize(self, _Ending(self._driver, None if self._kept else home))

    @classmethod
    def made(cls, environment: object = None, algorithm: object = None, **options: object) -> Islands:
        """Islands by the options of `Experiment`; `Experiment(..., islands=4)` comes here.

        Args:
            environment: as of `Experiment`.
            algorithm: as of `Experiment`.
            options: of each island, and those of islands.

        Raises:
            ValueError: as `Experiment` and `ev.sweep`.
        """
        wish, rest = IslandOptions.split({"environment": environment, "algorithm": algorithm, **options})
        folder, progress, target = (
            rest.pop("folder", None),
            rest.pop("progress", True),
            rest.pop("target", None),
        )
        rest = {name: value for name, value in rest.items() if value is not None}
        rest.setdefault("seed", fresh_seed())
        section = {name: value for name, value in asdict(wish).items() if name in SECTION}
        plan = island_plan(section, {**rest, "generations": wish.every})
        plan = replace(plan, threads=checks.positive_integer("threads", wish.threads))
        return cls(plan, wish, folder, None if target is None else checks.finite("target", target), progress)

    @classmethod
    def load(cls, folder: str | PathLike[str], **own: object) -> Islands:
        """Go on with saved islands; `Experiment.load` comes here.

        Args:
            folder: of the islands.
            own: objects that no file holds, and `engine`, `workers`, `exact`, `progress` where they are to be others.

        Raises:
            FileNotFoundError: no islands there.
            ValueError: another option; or a part of your own is missing.
        """
        home = checks.path("folder", folder)
        for name in own:
            if name not in OPTIONS:
                raise checks.unknown_option("Experiment", name, OPTIONS)
        mine, rest = IslandOptions.split(own)
        shown = rest.pop("progress", True)
        plan = Plan.read(home, rest)
        plan = replace(plan, exact=checks.flag("exact", own.get("exact", plan.exact)))
        if plan.migration is None:
            raise ValueError(
                f"{home} is a sweep of runs that do not speak to each other: ev.sweep({str(home)!r}) goes on."
            )
        needed = {name for run in plan.runs for name in run.own}
        fixed = {name for name in {*own} - needed if name not in FREE}
        if fixed:
            raise ValueError(
                f"{', '.join(sorted(fixed))} cannot change: the islands in {home} were begun with theirs. Leave it out."
            )
        wish = IslandOptions(
            len(plan.runs),
            plan.migration or "ring",
            plan.runs[0].length,
            plan.transitions,
            plan.frequencies or None,
            plan.synchronous,
            plan.exact,
            mine.engine,
            mine.workers,
            plan.threads,
        )
        return cls(plan, wish, home, plan.runs[0].goals.target, shown)

    # Training ---------------------------------------------------------------------------------

    def fill(self, source: int | str | PathLike[str]) -> None:
        """Put experience into the islands' buffers before they are trained, when they begin.

        Args:
            source: random steps of all islands together, or the path of recorded data that each takes.

        Raises:
            RuntimeError: they have begun.
        """
        driver = self._driver
        driver.refuse_while_running("fill")
        if any(report.begun or report.epoch for report in driver.reports):
            raise RuntimeError(
                "the islands have begun; what is filled in comes before their first generation."
            )
        if isinstance(source, int):
            driver.fill_each(max(1, checks.positive_integer("fill", source) // len(driver.plan.runs)))
        else:
            driver.fill_each(str(source))

    def step(self) -> Generation:
        """One epoch of all islands; returns its last generation."""
        self.run(generations=self._driver.wish.every)
        return self.history.generations[-1]

    def run(
        self,
        generations: int | None = None,
        *,
        max_steps: int | None = None,
        target: float | None = None,
        minutes: float | None = None,
        callback: Callback | None = None,
    ) -> History:
        """Epochs until a goal is met. Ctrl-C breaks off the epoch under way, which is computed again.

        Args:
            generations: so many more of each island; whole epochs.
            max_steps: until training and evaluation of all islands have taken so many steps in all. An epoch that this
                cuts short is computed again where a later call goes on.
            target: until an island's elite averages this return over fresh episodes; all end with its epoch.
            minutes: the first epoch that ends after so much time on the clock is the last.
            callback: is called with each finished `Generation` of all islands, at the end of its epoch; returns True (or
                raises StopIteration) to end the run.

        Raises:
            ValueError: no goal at all, or generations that are no whole number of epochs.
            RuntimeError: an island failed again and again.
        """
        goals = self._goals(generations, max_steps, target, minutes, callback)
        self._driver.refuse_while_running("run")
        self._driver.run(goals, self._progress, False, minutes, callback)
        return self.history

    def start(
        self,
        generations: int | None = None,
        *,
        max_steps: int | None = None,
        target: float | None = None,
        minutes: float | None = None,
        callback: Callback | None = None,
    ) -> None:
        """As `run`, on a background thread; the notebook stays usable. Without a goal, until paused."""
        endless = (
            ENDLESS * self._driver.wish.every if generations is None and max_steps is None else generations
        )
        goals = self._goals(endless, max_steps, target, minutes, callback)
        self._driver.refuse_while_running("start")
        self._driver.run(goals, False, True, minutes, callback)

    def _goals(
        self,
        generations: int | None,
        max_steps: int | None,
        target: float | None,
        minutes: float | None,
        callback: Callback | None,
    ) -> RunGoals:
        if callback is not None and not callable(callback):
            raise TypeError(f"callback is {callback!r}; a function of the finished generation is expected.")
        if minutes is not None:
            checks.positive("minutes", minutes)
        if target is not None:
            self._target = checks.finite("target", target)
        if all(goal is None for goal in (generations, max_steps, self._target)):
            if minutes is None and callback is None:
                raise ValueError(
                    "run() needs a goal: generations=20, max_steps=300_000, minutes=10 or target=200.0."
                )
            generations = ENDLESS * self._driver.wish.every
        return self._driver.goals(generations, max_steps, self._target)

    def pause(self) -> None:
        """Rest at the end of the epoch under way; where the workers are processes, at once, as `stop` does."""
        self._driver.halt("paused")

    def stop(self) -> None:
        """Rest at once: what an island did since its last epoch is computed again by the next call, with the same result."""
        self._driver.halt("stopped")

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the background thread has stopped; returns the status, raises its error."""
        return self._driver.wait(timeout)

    def close(self) -> None:
        """End the background thread, let the workers go, and remove a temporary folder."""
        self._end()


class _Ending:
    """What is left to do when islands are no longer used.

    Args:
        driver: of the islands.
        folder: that goes with them; None where it stays.
    """

    def __init__(self, driver: Driver, folder: Path | None) -> None:
        self._driver, self._folder = driver, folder

    def __call__(self) -> None:
        self._driver.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _refuse_elsewhere(wish: IslandOptions) -> None:
    if wish.engine == "ray" and os.environ.get("RAY_ADDRESS", "local") not in ("local", "auto"):
        raise ValueError(
            "workers on other machines need a folder that all of them see. Name one: folder='/shared/islands'."
        )
