"""The figure of fitness: every agent joined to its parent, the winner's ancestry, confirmed values, the target."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from evolab.history.display import number
from evolab.reporting.figures.colours import CLOUD, WINNER
from evolab.reporting.figures.layout import MARKED, blank, finish, hover_text, whole

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.events import Evaluation
    from evolab.history.history import History


def fitness_figure(history: History, target: float | None = None, axis: str = "steps") -> Figure:
    """Fitness over environment steps or generations.

    Args:
        history: of the run.
        target: drawn as a dashed line.
        axis: "steps" (of all agents, evaluation included) or "generations".

    Raises:
        ValueError: if `axis` is neither.
    """
    import plotly.graph_objects as go

    if axis not in ("steps", "generations"):
        raise ValueError(f'axis is {axis!r}; it is "steps" or "generations".')
    if not len(history):
        return blank("Fitness", "No generation yet: call exp.step()")

    steps = {g.number: g.all_steps for g in history}

    def place(evaluation: Evaluation) -> int:
        return steps[evaluation.generation] if axis == "steps" else evaluation.generation

    xs: list[float | None] = []
    ys: list[float | None] = []
    generations = list(history)
    for before, now in pairwise(generations):
        earlier = {e.agent: e for e in before.evaluations}
        parents = {b.agent: b.parent for b in before.births}
        for e in now.evaluations:
            parent = earlier.get(parents.get(e.agent, -1))
            if parent is not None and math.isfinite(parent.fitness) and math.isfinite(e.fitness):
                xs += [place(parent), place(e), None]
                ys += [parent.fitness, e.fitness, None]
    everyone = [e for g in generations for e in g.evaluations]
    line = history.ancestry()
    traces = [
        go.Scatter(x=xs, y=ys, mode="lines", line={"color": CLOUD[0], "width": 1}, opacity=0.45,
                   hoverinfo="skip", showlegend=False),
        go.Scatter(x=[place(e) for e in everyone], y=[e.fitness for e in everyone], mode="markers",
                   marker={"color": CLOUD[0], "size": 4}, name="every agent",
                   text=[hover_text(e) for e in everyone], hovertemplate="%{text}<extra></extra>"),
        go.Scatter(x=[place(e) for e, _ in line], y=[e.fitness for e, _ in line], mode="lines",
                   line={"color": WINNER[0], "width": 3}, name="winner's ancestry",
                   text=[hover_text(e, b) for e, b in line], hovertemplate="%{text}<extra></extra>"),
    ]  # fmt: skip
    sure = [g for g in generations if g.confirmed is not None]
    if sure:  # of training episodes the fitness may end long before the target, which fresh ones then decide
        traces.append(
            go.Scatter(x=[place(g.best) for g in sure], y=[g.confirmed for g in sure], mode="markers",
                       marker={"color": WINNER[0], "size": 11, "symbol": "circle-open", "line": {"width": 2}},
                       name="mean of fresh episodes", hovertemplate="%{y:.4~g} over fresh episodes<extra></extra>")
        )  # fmt: skip
    chart = go.Figure(traces)
    if target is not None:
        # Outside, to the right: inside, a curve that reaches the target would run through the words.
        chart.add_hline(
            y=target, line_dash="dash", line_color=MARKED, annotation_text=f"target<br>{number(target)}",
            annotation_position="right", annotation_align="left",
        )  # fmt: skip
    offline = not any(e.steps for e in everyone)
    counted = (
        "updates of all agents" if offline else "environment steps of all agents (training + evaluation)"
    )
    finish(chart, "Fitness of every agent", counted if axis == "steps" else "generation", "fitness")
    if axis == "generations":
        chart.update_xaxes(**whole(generations[0].number, generations[-1].number))
    elif len(generations) == 1:  # plotly's own ticks beside a single value are fractions of it
        chart.update_xaxes(range=[0, 1.1 * generations[0].all_steps])
    return chart if target is None else chart.update_layout(margin={"r": 70})
