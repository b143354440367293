"""The figure of how learning went: losses, values beside returns, lengths of episodes, updates per step."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from evolab.reporting.figures.layout import MARKED, blank, finish, logarithmic, whole

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.history import History

EXPECTED = "expected return (dashed: earned)"
WIDE = 30
"""Ratio of the largest to the smallest value above which an axis is logarithmic."""


def losses_figure(history: History) -> Figure:
    """One small chart for each loss (means over agents and updates), and for the best agent's episodes and updates.

    Where critics expect something, what the best agent's expects of an episode stands beside what its episodes earned
    (dashed), both discounted: one that expects far more overestimates.
    """
    from plotly.subplots import make_subplots

    if not len(history):
        return blank("Learning", "No generation yet: call exp.step()")
    generations = list(history)
    losses = list(dict.fromkeys(name for g in generations for name in g.losses))
    series = {
        name if "loss" in name else f"{name} loss": [g.losses.get(name, math.nan) for g in generations]
        for name in losses
    }
    earned = [g.best.discounted for g in generations]
    if any(math.isfinite(g.best.value) for g in generations):
        series[EXPECTED] = [g.best.value for g in generations]
    series["episode length of the best agent"] = [g.best.length for g in generations]
    if any(g.best.steps for g in generations):
        series["updates per step"] = [g.best.updates / max(1, g.best.steps) for g in generations]
    columns = min(2, len(series))  # their titles are long
    rows = -(-len(series) // columns)
    chart: Any = make_subplots(
        rows, columns, subplot_titles=[escape(n) for n in series], vertical_spacing=0.25 / rows
    )
    for i, (name, values) in enumerate(series.items()):
        where = {"row": i // columns + 1, "col": i % columns + 1}
        chart.add_scatter(
            x=[g.number for g in generations], y=values, mode="lines" if len(generations) > 1 else "markers",
            line={"color": MARKED, "width": 2.5}, showlegend=False,
            hovertemplate="generation %{x}: %{y:.4g}<extra></extra>", **where,
        )  # fmt: skip
        if name == EXPECTED:
            chart.add_scatter(
                x=[g.number for g in generations], y=earned, mode="lines" if len(generations) > 1 else "markers",
                line={"color": MARKED, "width": 1.5, "dash": "dot"}, showlegend=False,
                hovertemplate="generation %{x}: earned %{y:.4g}<extra></extra>", **where,
            )  # fmt: skip
        finite = [v for v in (*values, *(earned if name == EXPECTED else ())) if math.isfinite(v)]
        if finite and min(finite) > 0 and max(finite) / min(finite) > WIDE:
            chart.update_yaxes(**logarithmic(min(finite), max(finite)), **where)
    finish(chart, "Learning over generations", height=110 + 220 * rows)
    chart.update_xaxes(**whole(generations[0].number, generations[-1].number, 4))
    return chart.update_annotations(font_size=12)  # type: ignore[no-any-return]
