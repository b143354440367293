"""`exp.plot`: the figures of a run by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.history import History


class Plot:
    """The figures of a run for looking at afterwards; each gives a plain plotly `Figure`, and a call the overview.

    Args:
        history: of the run, read when a figure is asked for.
        target: drawn where fitness is.
    """

    def __init__(self, history: History, target: float | None = None) -> None:
        self.history, self.target = history, target

    def __call__(self) -> Figure:
        """The overview as one figure: fitness, the settings that varied, what mutations brought, a loss."""
        from evolab.reporting.figures.overview import overview_figure

        return overview_figure(self.history, self.target)

    def metrics(self, *names: str) -> Figure:
        """What was measured beside fitness: numbers that the environment puts into `info`, an FQE estimate.

        Args:
            names: which, also columns of `history.fitness` such as "length"; by default all that are there.
        """
        from evolab.reporting.figures.metrics import metrics_figure

        return metrics_figure(self.history, names)

    def fitness(self, axis: str = "steps") -> Figure:
        """Fitness of every agent, the winner's ancestry and the target, over "steps" or "generations"."""
        from evolab.reporting.figures.fitness import fitness_figure

        return fitness_figure(self.history, self.target, axis)

    def hyperparameters(self) -> Figure:
        """Every hyperparameter that varied, over generations: all agents, and the winner's line."""
        from evolab.reporting.figures.hyperparameters import hyperparameters_figure

        return hyperparameters_figure(self.history)

    def lineage(self, last: int | None = 40) -> Figure:
        """The family tree of the last generations (None for all), the winner's ancestry drawn through."""
        from evolab.reporting.figures.lineage import lineage_figure

        return lineage_figure(self.history, last)

    def mutations(self) -> Figure:
        """What each kind of mutation brought: median gain with its interval, and how often it was tried."""
        from evolab.reporting.figures.mutations import mutations_figure

        return mutations_figure(self.history)

    def losses(self) -> Figure:
        """How learning went: losses, lengths of episodes, updates per step, over generations."""
        from evolab.reporting.figures.learning import losses_figure

        return losses_figure(self.history)

    def __repr__(self) -> str:
        figures = ".fitness(), .hyperparameters(), .lineage(), .mutations(), .losses(), .metrics()"
        return f"Plot: exp.plot() is the overview; {figures}"
