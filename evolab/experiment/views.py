"""Views of an experiment: rollouts, figures, the dashboard, the report."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.experiment.properties import Readings
from evolab.experiment.rollouts import chosen, played
from evolab.population.agent import Agent
from evolab.reporting.figures.plot import Plot
from evolab.reporting.notebook_output import release_shown
from evolab.reporting.rollout import Rollout

if TYPE_CHECKING:
    from evolab.reporting.dashboard.dashboard import Dashboard
    from evolab.reporting.dashboard.live_run import LiveRun


class Views(Readings):
    """The methods of an experiment that show it."""

    def rollout(
        self,
        episodes: int = 1,
        max_steps: int | None = None,
        agent: Agent | str | int = "best",
        seed: int | None = None,
    ) -> Rollout:
        """Play episodes and keep the pictures.

        Args:
            episodes: how many.
            max_steps: longest episode; None for the environment's own limit.
            agent: "best", "elite", the id of a living agent, or an `Agent`.
            seed: of the first episode; None for one that follows from the run's.

        Returns:
            a `Rollout` with `.returns`, `.frames`, `.observations`, `.save("x.gif")`; it shows itself.
        """
        with self._runner.lock:
            actor = chosen(self._state, agent)
        about = self._config.environment, actor, episodes, max_steps, seed, self._config.frame_stack
        return played(self._state, *about)

    @property
    def plot(self) -> Plot:
        """Figures of the run: `exp.plot()` is the overview; `.fitness()`, `.hyperparameters()`, `.lineage()` and others."""
        return Plot(self.history, self._config.target)

    def dashboard(self: LiveRun, **options: Any) -> Dashboard:
        """The live dashboard, a widget: Step, Run, Pause, Stop and everything that evolves."""
        from evolab.reporting.dashboard.dashboard import Dashboard

        return Dashboard(self, **options)

    def report(self: LiveRun, path: str | PathLike[str] | None = None) -> Path:
        """Write one self-contained page of the whole run; None for report.html in the run's folder, if it has one."""
        from evolab.reporting.report import write_report

        return write_report(self, path)

    def _ipython_display_(self: LiveRun) -> None:
        """The dashboard, as the last expression of a cell."""
        from evolab.reporting.dashboard.dashboard import Dashboard, show_once

        show_once(Dashboard(self))
        release_shown(self)
