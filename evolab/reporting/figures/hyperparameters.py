"""The figure of hyperparameters over generations: all agents as dots, the winner's line in steps."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from evolab.reporting.figures.colours import CLOUD, WINNER
from evolab.reporting.figures.layout import blank, finish, logarithmic, whole

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.history import History


def hyperparameters_figure(history: History) -> Figure:
    """One small chart for each hyperparameter that varied, and for the networks' size."""
    from plotly.subplots import make_subplots

    if not len(history):
        return blank("Hyperparameters", "No generation yet: call exp.step()")
    table = history.hyperparameters.merge(history.fitness[["generation", "agent", "network_size"]])
    line = history.lineage()[["generation", "agent"]].merge(table)
    names = [n for n in table.columns if n not in ("generation", "agent", "hidden", "activation")]
    numbers = [n for n in names if table[n].dtype.kind in "if"]
    varied = [n for n in numbers if table[n].nunique() > 1] or numbers
    columns = min(3, len(varied))
    rows = -(-len(varied) // columns)
    chart: Any = make_subplots(
        rows, columns, subplot_titles=[escape(n) for n in varied], vertical_spacing=0.22 / rows
    )
    for i, name in enumerate(varied):
        where = {"row": i // columns + 1, "col": i % columns + 1}
        dots = {"color": CLOUD[0], "size": 4, "opacity": 0.5}
        hover = "generation %{x}: %{y}<extra></extra>"
        chart.add_scatter(x=table["generation"], y=table[name], mode="markers", marker=dots,
                          name="every agent", showlegend=i == 0, hovertemplate=hover, **where)  # fmt: skip
        chart.add_scatter(x=line["generation"], y=line[name], mode="lines", name="winner's ancestry",
                          line={"color": WINNER[0], "width": 3, "shape": "vh"}, showlegend=i == 0,
                          hovertemplate=hover, **where)  # fmt: skip
        low, high = float(table[name].min()), float(table[name].max())
        if low > 0 and high / low > 6:
            chart.update_yaxes(**logarithmic(low, high), **where)
    finish(chart, "Hyperparameters over generations", height=90 + 230 * rows, panels=True)
    chart.update_xaxes(**whole(history.generations[0].number, history.generations[-1].number, 4))
    chart.update_annotations(font_size=12)
    return chart
