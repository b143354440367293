"""The overview of a run as one figure: fitness, the winner's settings, what mutations brought, losses."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from evolab.reporting.figures.fitness import fitness_figure
from evolab.reporting.figures.hyperparameters import hyperparameters_figure
from evolab.reporting.figures.layout import blank, finish, whole
from evolab.reporting.figures.learning import losses_figure
from evolab.reporting.figures.mutations import mutations_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.history import History

SETTINGS = 3
"""Hyperparameters that the overview shows, those that moved most by their own scale."""


def overview_figure(history: History, target: float | None = None) -> Figure:
    """Fitness on top; below it the settings that moved most, what mutations brought, and a loss."""
    from plotly.subplots import make_subplots

    if not len(history):
        return blank("Overview", "No generation yet: call exp.step()")
    settings = _charts(hyperparameters_figure(history))
    losses = _charts(losses_figure(history))
    small = [*list(settings.items())[:SETTINGS], *list(losses.items())[:1]]
    small += [*list(settings.items())[SETTINGS:], *list(losses.items())[1:]][: max(0, 4 - len(small))]
    small = small[:4]
    wide = len(small) > 3
    columns = 2 if wide else max(1, len(small))
    below = -(-len(small) // columns)
    gains = len(history) > 1
    layout: list[list[Any]] = [[{"colspan": columns}, *[None] * (columns - 1)]]
    layout += [[{}] * columns for _ in range(below)]
    layout += [[{"colspan": columns}, *[None] * (columns - 1)]] * gains
    titles = ["fitness of every agent", *(name for name, _ in small)]
    titles += [""] * (below * columns - len(small))
    titles += ["gain of fitness over the parent (median, 95% interval)"] * gains
    chart: Any = make_subplots(
        len(layout), columns, specs=layout, subplot_titles=[escape(t) for t in titles],
        row_heights=[1.5, *[1.0] * below, *[1.3] * gains], vertical_spacing=0.28 / len(layout),
    )  # fmt: skip
    chart.add_traces(fitness_figure(history, target, "generations").data, rows=1, cols=1)
    ends = history.generations[0].number, history.generations[-1].number
    chart.update_xaxes(**whole(*ends), row=1, col=1)
    if target is not None:
        chart.add_hline(y=target, line_dash="dash", line_color="#7f858e", row=1, col=1)
    for i, (_, (traces, axis)) in enumerate(small):
        where = {"row": 2 + i // columns, "col": 1 + i % columns}
        for trace in traces:
            chart.add_trace(trace.update(showlegend=False), **where)
        chart.update_yaxes(type=axis.type, tickvals=axis.tickvals, ticktext=axis.ticktext, **where)
        chart.update_xaxes(**whole(*ends, 4), **where)
    if gains:
        for trace in mutations_figure(history).data:
            chart.add_trace(trace, row=len(layout), col=1)
        chart.update_yaxes(autorange="reversed", row=len(layout), col=1)
    finish(chart, f"{len(history)} generations", height=250 + 190 * below + 230 * gains, panels=True)
    chart.update_annotations(font_size=12)
    return chart


def _charts(figure: Figure) -> dict[str, tuple[list[Any], Any]]:
    """The small charts of a figure by their titles: traces, and the vertical axis."""
    found: dict[str, tuple[list[Any], Any]] = {}
    for i, title in enumerate(figure.layout.annotations):
        axis = f"y{i + 1}" if i else "y"
        traces = [trace for trace in figure.data if (trace.yaxis or "y") == axis]
        if traces:
            found[str(title.text)] = traces, figure.layout[f"yaxis{i + 1}" if i else "yaxis"]
    return found
