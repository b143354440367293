"""The contract of a panel: it turns a snapshot of a run into a small dict that a page can draw.

A panel never touches what is being trained: it reads the frozen records of the
history. The dict is one of four forms, so a new panel needs no JavaScript and its
static picture comes for free:

- `{"form": "lines", "x": [...], "lines": {"name": [...]}, "unit": "..."}`
- `{"form": "bars", "bars": {"name": value}}`
- `{"form": "table", "columns": [...], "rows": [[...]]}`
- `{"form": "text", "text": "..."}`
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evolab.core.plain_values import plain
from evolab.history.events import Generation

if TYPE_CHECKING:
    from PIL.Image import Image
    from plotly.graph_objects import Figure

    from evolab.history.history import History

LARGEST = 20_000
FORMS = {"lines": ("x", "lines"), "bars": ("bars",), "table": ("columns", "rows"), "text": ("text",)}


@dataclass(frozen=True)
class Snapshot:
    """What a panel may read: finished generations and the few facts around them.

    Attributes:
        generations: all finished ones, oldest first.
        target: the fitness that the run aims at, or None.
        name: the environment's id.
        algorithm: the algorithm's name.
    """

    generations: Sequence[Generation]
    target: float | None = None
    name: str = ""
    algorithm: str = ""


class Panel(ABC):
    """One box of the dashboard. Write `data`; give it to `exp.dashboard(panels=[...])`.

    Attributes:
        title: the heading.
        empty: what the panel says before there is anything to show.
    """

    title: str = "Panel"
    empty: str = "No generation yet: press Step or call exp.step()."

    @abstractmethod
    def data(self, snapshot: Snapshot) -> dict[str, Any]:
        """The dict to draw; at most 20 kB as JSON, since it is sent again after each generation."""

    def picture(self, snapshot: Snapshot) -> Image:
        """The same as a still picture, for pages that cannot run the dashboard."""
        from evolab.reporting.panels.picture import draw_form

        return draw_form(self.title, checked(self, snapshot))


def checked(panel: Panel, snapshot: Snapshot) -> dict[str, Any]:
    """The panel's dict, in JSON's own types, or what is wrong with it.

    Raises:
        ValueError: if the form is unknown, a part is missing or the dict is too large.
        TypeError: if a value is not JSON-able.
    """
    name = type(panel).__name__
    if not snapshot.generations:
        return {"form": "text", "text": panel.empty}
    data = panel.data(snapshot)
    parts = FORMS.get(data.get("form", ""))
    if parts is None:
        raise ValueError(f"{name}.data gave form {data.get('form')!r}; a page can draw {', '.join(FORMS)}.")
    missing = [part for part in parts if part not in data]
    if missing:
        raise ValueError(f"{name}.data gave a {data['form']!r} without {missing[0]!r}.")
    try:
        data = plain(data)
        size = len(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}.data must give numbers, strings, lists and dicts: {error}.") from None
    if size > LARGEST:
        raise ValueError(f"{name}.data gave {size} bytes; at most {LARGEST}. Thin it, e.g. every tenth row.")
    return data


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
        from evolab.reporting.panels.overview import overview_figure

        return overview_figure(self.history, self.target)

    def metrics(self, *names: str) -> Figure:
        """What was measured beside fitness: numbers that the environment puts into `info`, an FQE estimate.

        Args:
            names: which, also columns of `history.fitness` such as "length"; by default all that are there.
        """
        from evolab.reporting.panels.metrics import metrics_figure

        return metrics_figure(self.history, names)

    def fitness(self, axis: str = "steps") -> Figure:
        """Fitness of every agent, the winner's ancestry and the target, over "steps" or "generations"."""
        from evolab.reporting.panels.fitness import fitness_figure

        return fitness_figure(self.history, self.target, axis)

    def hyperparameters(self) -> Figure:
        """Every hyperparameter that varied, over generations: all agents, and the winner's line."""
        from evolab.reporting.panels.hyperparameters import hyperparameters_figure

        return hyperparameters_figure(self.history)

    def lineage(self, last: int | None = 40) -> Figure:
        """The family tree of the last generations (None for all), the winner's ancestry drawn through."""
        from evolab.reporting.panels.lineage import lineage_figure

        return lineage_figure(self.history, last)

    def mutations(self) -> Figure:
        """What each kind of mutation brought: median gain with its interval, and how often it was tried."""
        from evolab.reporting.panels.mutations import mutations_figure

        return mutations_figure(self.history)

    def losses(self) -> Figure:
        """How learning went: losses, lengths of episodes, updates per step, over generations."""
        from evolab.reporting.panels.learning import losses_figure

        return losses_figure(self.history)

    def __repr__(self) -> str:
        figures = ".fitness(), .hyperparameters(), .lineage(), .mutations(), .losses(), .metrics()"
        return f"Plot: exp.plot() is the overview; {figures}"
