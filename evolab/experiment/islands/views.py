"""What there is to see of islands: their histories as one, who is best, who leads, who lags, figures, the dashboard."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.algorithms.base import Algorithm
from evolab.core import checks
from evolab.evaluation.result import EvaluationResult
from evolab.evolution.mutation.mutations import Mutations
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.experiment import Experiment
from evolab.experiment.islands.driving import Driver
from evolab.experiment.islands.panel import best_islands, panels, rows_of
from evolab.history.display import count, number, ticked
from evolab.history.events import Progress
from evolab.history.history import History
from evolab.population.agent import Agent
from evolab.reporting.certificate import Certificate
from evolab.reporting.dashboard.panel import Panel
from evolab.reporting.figures.plot import Plot
from evolab.reporting.notebook_output import release_shown
from evolab.reporting.rollout import Rollout
from evolab.training.run_folder import RunFolder

if TYPE_CHECKING:
    from pandas import DataFrame

    from evolab.reporting.dashboard.dashboard import Dashboard
    from evolab.reporting.dashboard.live_run import LiveRun


class IslandViews:
    """The part of `Islands` that looks on."""

    _driver: Driver
    _config: ExperimentConfig
    _target: float | None

    # How far ----------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """Every generation that all islands have ended, their agents together."""
        return self._driver.joined.history

    @property
    def islands(self) -> DataFrame:
        """One row for each island: state (who leads, who lags, who is dead), generation, steps, best, confirmed, errors."""
        import pandas as pd

        return pd.DataFrame(rows_of(self._driver))

    @property
    def generation(self) -> int:
        """Generations that all islands have ended."""
        return len(self.history)

    @property
    def total_steps(self) -> int:
        """Training steps of all islands."""
        return sum(report.total_steps for report in self._driver.reports)

    @property
    def evaluation_steps(self) -> int:
        """Environment steps of evaluation, on all islands."""
        return sum(report.evaluation_steps for report in self._driver.reports)

    @property
    def solved(self) -> bool:
        """True where an island ended because its elite averages the target."""
        return any(report.over == "target" for report in self._driver.reports)

    @property
    def confirmed(self) -> tuple[float, None] | None:
        """Mean return of the best elite over fresh episodes, which its island has counted; None before there was one."""
        known = [row["confirmed"] for row in rows_of(self._driver) if row["confirmed"] is not None]
        return (max(known), None) if known else None

    @property
    def status(self) -> str:
        """What they are doing: "idle", "running", "pausing", "paused", "stopping", "stopped" or "failed"."""
        return self._driver.status

    @property
    def version(self) -> int:
        """Grows with every change that a view may want to show."""
        return self._driver.version

    @property
    def progress(self) -> Progress | None:
        """Islands that have ended the epoch under way, of all."""
        return self._driver.progress

    @property
    def error(self) -> BaseException | None:
        """What ended the background thread, until the next call raises it."""
        return self._driver.error

    # What they are ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The environment's id, or what stands for it, and how many islands."""
        return f"{called(self._config)}, {len(self._driver.plan.runs)} islands"

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm, with its options."""
        return self._config.algorithm

    @property
    def target(self) -> float | None:
        """Mean return at which `run` stops; None for none."""
        return self._target

    @target.setter
    def target(self, target: float | None) -> None:
        self._target = None if target is None else checks.finite("target", target)

    @property
    def mutations(self) -> Mutations:
        """What changes in the newborn of every island."""
        return self._config.mutations

    # Agents -----------------------------------------------------------------------------------

    def island(self, number: int) -> Experiment:
        """One island's experiment, as it stood at the end of its last epoch: a copy to look at, which writes nowhere.

        Args:
            number: from 0.

        Raises:
            IndexError: there is none of this number.
            LookupError: it has not ended an epoch yet.
        """
        names = self._driver.joined.names
        if not 0 <= number < len(names):
            raise IndexError(f"there is no island {number}; they are numbered 0 to {len(names) - 1}.")
        run = self._driver.plan.runs[number]
        place = self._driver.home / run.name
        kept = RunFolder(place).numbers() if place.is_dir() else []
        if not kept:
            raise LookupError(f"{run.name} has not ended an epoch yet. Call exp.step() first.")
        at = self.generation if self.generation in kept else None
        with warnings.catch_warnings():  # its worker holds it, which is no news
            warnings.filterwarnings("ignore", message=".*is in use by process")
            made = Experiment.load(place, generation=at, **run.own)
        made.folder = None
        return made

    @contextmanager
    def _at(self, number: int) -> Iterator[Experiment]:
        made = self.island(number)
        try:
            yield made
        finally:
            made.close()

    def _home(self, agent: Agent | str | int) -> tuple[int, Agent | str | int]:
        """The island of an agent, and what it is there."""
        if agent == "best" and len(self.history):
            return self._driver.joined.home(self.history.generations[-1].best.agent)[0], "best"
        if isinstance(agent, int):
            return self._driver.joined.home(agent)
        return best_islands(self._driver)[0], agent

    @property
    def best(self) -> Agent:
        """A copy of the best agent of the last generation of all islands.

        Raises:
            LookupError: no epoch has ended yet.
        """
        with self._at(self._home("best")[0]) as made:
            return made.best

    @property
    def elite(self) -> Agent:
        """The best agent ever that fresh episodes confirmed, of all islands; its `fitness` is their mean.

        Raises:
            LookupError: no epoch has ended yet.
        """
        with self._at(self._home("elite")[0]) as made:
            return made.elite

    def evaluate(
        self, episodes: int = 20, agent: Agent | str | int = "elite", **options: Any
    ) -> EvaluationResult:
        """Fresh greedy episodes of one agent; see `Experiment.evaluate`. Its steps are not counted.

        Args:
            episodes: how many.
            agent: "best", "elite", the number of a living agent, or an `Agent`.
            options: `seed` and `max_steps`, as there.
        """
        place, there = self._home(agent)
        with self._at(place) as made:
            return made.evaluate(episodes, there, **options)

    def rollout(
        self,
        episodes: int = 1,
        max_steps: int | None = None,
        agent: Agent | str | int = "best",
        seed: int | None = None,
    ) -> Rollout:
        """Play episodes and keep the pictures; arguments and result are those of `Experiment.rollout`."""
        place, there = self._home(agent)
        with self._at(place) as made:
            return made.rollout(episodes, max_steps, there, seed)

    def schedule(self) -> DataFrame:
        """The winner's settings over time, as `history.schedule()`, with the steps of the islands that it lived on."""
        told, found = self._driver.joined.told, self.history.schedule()
        places = [self._driver.joined.home(agent)[0] for agent in found["agent"]]
        own = [
            told[place].generations[generation - 1].total_steps
            for place, generation in zip(places, found["generation"], strict=True)
        ]
        return found.assign(total_steps=own)

    def replay(self, schedule: object = None, **options: Any) -> Experiment:
        """Train one agent from scratch by the winner's schedule; see `Experiment.replay`."""
        with self._at(self._home("best")[0]) as made:
            return made.replay(self.schedule() if schedule is None else schedule, **options)

    def certify(self, seeds: int = 16, *, config: object = None, **options: Any) -> Certificate:
        """What the winner's settings are worth when they are used on one agent; see `Experiment.certify`."""
        with self._at(self._home("best")[0]) as made:
            return made.certify(seeds, config=self.schedule() if config is None else config, **options)

    # Figures ----------------------------------------------------------------------------------

    @property
    def plot(self) -> Plot:
        """Figures of all islands: `exp.plot()` is the overview; see `Experiment.plot`."""
        return Plot(self.history, self._target)

    def dashboard(self: LiveRun, panels: Sequence[Panel | str] = (), rollout_every: int = 10) -> Dashboard:
        """The live dashboard of an experiment, with a curve for each island, and who leads and who lags."""
        from evolab.reporting.dashboard.dashboard import Dashboard

        return Dashboard(self, [*_panels(self), *panels], rollout_every)

    def report(self: LiveRun, path: str | PathLike[str] | None = None) -> Path:
        """Write one self-contained page of the whole search; None for report.html in its folder, if it has one."""
        from evolab.reporting.report import write_report

        return write_report(self, path, _panels(self))

    def _ipython_display_(self: LiveRun) -> None:
        """The dashboard, as the last expression of a cell."""
        from evolab.reporting.dashboard.dashboard import Dashboard, show_once

        show_once(Dashboard(self, _panels(self)))
        release_shown(self)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in dir(Experiment):
            raise AttributeError(f"{name} is each island's own: exp.island(0).{name}")
        raise checks.no_method(self, name)

    def __repr__(self) -> str:
        wish, each = self._driver.wish, f"{self._config.population} {self.algorithm.name}"
        head = (
            f"Experiment({called(self._config)}, {wish.islands} islands of {each} agents, {wish.migration} every "
            f"{wish.every} generations, seed {self._driver.plan.seed}): {self.status}"
        )
        if not len(self.history):
            return f"{head}; no epoch yet\n  next: exp.step(), exp.run(generations={10 * wish.every}), exp.dashboard()"
        last, leader = self.history.generations[-1], rows_of(self._driver)[best_islands(self._driver)[0]]
        failed = f"  {self.history.survived()}\n" if self.history.survived() else ""
        sure = f", its elite confirmed at {ticked(self.confirmed[0])}" if self.confirmed else ""
        return (
            f"{head}\n  generation {self.generation}, {count(self.total_steps)} steps "
            f"(and {count(self.evaluation_steps)} of evaluation)\n"
            f"  best {number(last.fitness)} (agent {last.best.agent}); {leader['island']} leads{sure}\n"
            f"{failed}  next: exp.islands, exp.plot(), exp.elite, exp.dashboard(), exp.save('runs/islands')"
        )


def called(config: ExperimentConfig) -> str:
    """The environment in a word."""
    said = config.to_plain().get("environment")
    return said if isinstance(said, str) else "data"


def _panels(islands: Any) -> Sequence[Panel]:
    return panels(islands._driver)
