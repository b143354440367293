"""The figure of the family tree: a column per generation, best on top, shapes by kind of mutation."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from evolab.reporting.figures.colours import CLOUD, WINNER, look
from evolab.reporting.figures.layout import blank, finish, hover_text, whole

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.events import Birth, Evaluation
    from evolab.history.history import History


def lineage_figure(history: History, last: int | None = 40) -> Figure:
    """The family tree with the winner's ancestry drawn through.

    Args:
        history: of the run.
        last: so many of the newest generations; None for all.
    """
    import plotly.graph_objects as go

    if not len(history):
        return blank("Lineage", "No generation yet: call exp.step()")
    generations = list(history)[-last:] if last else list(history)
    before = {g.number: g for g in history}
    kinds: dict[str, list[tuple[int, int, Evaluation, Birth | None]]] = {}
    xs: list[float | None] = []
    ys: list[float | None] = []
    across: list[float | None] = []  # arcs from island to island
    over: list[float | None] = []
    ranks: dict[tuple[int, int], int] = {}
    for g in generations:
        older = before.get(g.number - 1)
        births = {b.agent: b for b in older.births} if older else {}
        for rank, e in enumerate(g.evaluations):
            birth = births.get(e.agent)
            ranks[g.number, e.agent] = rank
            kinds.setdefault(birth.kind if birth else "first", []).append((g.number, rank + 1, e, birth))
            parent = ranks.get((g.number - 1, birth.parent)) if birth else None
            if parent is not None and birth and birth.kind == "migrated":
                across += [g.number - 1, g.number - 0.5, g.number, None]
                over += [parent + 1, min(parent, rank) + 0.4, rank + 1, None]
            elif parent is not None:
                xs += [g.number - 1, g.number, None]
                ys += [parent + 1, rank + 1, None]
    chart = go.Figure(
        go.Scatter(x=xs, y=ys, mode="lines", line={"color": CLOUD[0], "width": 1}, opacity=0.4,
                   hoverinfo="skip", showlegend=False)
    )  # fmt: skip
    if across:
        chart.add_scatter(
            x=across, y=over, mode="lines", name="migration", hoverinfo="skip",
            line={"color": CLOUD[0], "width": 1.5, "dash": "dash", "shape": "spline"},
        )  # fmt: skip
    line = [e for e, _ in history.ancestry() if (e.generation, e.agent) in ranks]
    chart.add_scatter(
        x=[e.generation for e in line], y=[ranks[e.generation, e.agent] + 1 for e in line], mode="lines",
        line={"color": WINNER[0], "width": 3}, name="winner's ancestry", hoverinfo="skip",
    )  # fmt: skip
    for kind, found in kinds.items():
        style = look(kind)
        chart.add_scatter(
            x=[f[0] for f in found], y=[f[1] for f in found], mode="markers", name=escape(style.label),
            marker={"symbol": style.symbol, "color": style.light, "size": 10},
            text=[hover_text(e, b) for _, _, e, b in found], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    size = max(len(g.evaluations) for g in generations)  # a population may have been larger at first
    height = max(300, min(900, 184 + 22 * size))
    finish(chart, "Lineage", "generation", "rank (best on top)", height)
    chart.update_xaxes(**whole(generations[0].number, generations[-1].number))
    # The legend stands at the foot of the figure, in as many rows as the page makes of it, and clear of the axis.
    foot = {"yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "xanchor": "left"}
    chart.update_layout(legend=foot, margin={"b": 124})
    chart.update_yaxes(autorange="reversed", showgrid=False, dtick=max(1, size // 8))
    return chart
