"""The figure of measures beside fitness: the environment's own numbers, an FQE estimate."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from evolab.core import checks
from evolab.history.columns import MEASURED
from evolab.reporting.figures.colours import CLOUD, WINNER
from evolab.reporting.figures.layout import blank, finish, whole

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.history import History


def metrics_figure(history: History, names: tuple[str, ...] = ()) -> Figure:
    """One small chart for each measure: all agents as dots, and the winner's ancestry.

    Args:
        history: of the run.
        names: which; all by default.

    Raises:
        ValueError: no such measure; says which there are.
    """
    from plotly.subplots import make_subplots

    if not len(history):
        return blank("Metrics", "No generation yet: call exp.step()")
    table = history.fitness
    known = [name for name in table.columns if name not in MEASURED]
    for name in names:
        if name not in table.columns or name in ("generation", "agent", "parent"):
            raise checks.unknown("metric", name, [*known, "length", "episodes", "fitness"])
    chosen = list(names) or known
    if not chosen:
        return blank("Metrics", "The environment puts no numbers into info at the end of an episode.")
    line = history.lineage()[["generation", "agent"]].merge(table)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    chart: Any = make_subplots(
        rows, columns, subplot_titles=[escape(n) for n in chosen], vertical_spacing=0.22 / rows
    )
    for i, name in enumerate(chosen):
        where = {"row": i // columns + 1, "col": i % columns + 1}
        hover = "generation %{x}: %{y:.4g}<extra></extra>"
        chart.add_scatter(x=table["generation"], y=table[name], mode="markers", name="every agent",
                          marker={"color": CLOUD[0], "size": 4, "opacity": 0.5}, showlegend=i == 0,
                          hovertemplate=hover, **where)  # fmt: skip
        chart.add_scatter(x=line["generation"], y=line[name], name="winner's ancestry", showlegend=i == 0,
                          mode="lines" if len(line) > 1 else "markers", line={"color": WINNER[0], "width": 3},
                          hovertemplate=hover, **where)  # fmt: skip
    finish(chart, "Metrics over generations", height=90 + 230 * rows, panels=True)
    chart.update_xaxes(**whole(history.generations[0].number, history.generations[-1].number, 4))
    chart.update_annotations(font_size=12)
    return chart
