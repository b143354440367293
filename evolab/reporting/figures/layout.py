"""What all plotly figures share: the page, the empty state, the words of a hover."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from evolab.history.display import change, count, number
from evolab.reporting.figures.colours import look

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.events import Birth, Evaluation

# A figure does not know the page it will stand on: no background of its own, and words and lines that show on white as
# well as on black.
CLEAR, WORDS, GRID = "rgba(0,0,0,0)", "#757a83", "rgba(128,128,128,0.25)"
MARKS = 5
"""Labels of a logarithmic axis at most."""
MARKED = "#7f858e"
"""Colour of a line that is neither data nor grid, such as a target."""


def finish(
    chart: Figure, title: str, x: str = "", y: str = "", height: int = 420, panels: bool = False
) -> Figure:
    """Give a figure the house's page: calm, on any background, aligned numbers, one title.

    Title and legend are lines of their own: a narrow page would else put one upon the other. Where there are panels,
    each with a title, the legend stands above these.
    """
    top, foot, clear = (90, 52, 28) if panels else (60, 52, 6)
    chart.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 16}, "y": 1, "yanchor": "top", "pad": {"t": 8}}, height=height,
        margin={"l": 60, "r": 24, "t": top, "b": foot},
        paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, font={"color": WORDS, "size": 12.5},
        legend={"orientation": "h", "y": 1 + clear / (height - top - foot), "yanchor": "bottom", "x": 1, "xanchor": "right"},
        hoverlabel={"align": "left"},
    )  # fmt: skip
    chart.update_xaxes(title_text=x or None, gridcolor=GRID, zeroline=False, linecolor=GRID)
    chart.update_yaxes(title_text=y or None, gridcolor=GRID, zeroline=False, linecolor=GRID)
    return chart


def logarithmic(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis with few whole labels; plotly's own are lone digits such as "2" and "5".

    >>> logarithmic(2.8, 610)["ticktext"], logarithmic(450, 4_610)["ticktext"]
    (['5', '10', '50', '100', '500'], ['500', '1000', '2000'])
    """
    for steps in ((1, 2, 5), (1, 5), (1,), (1,)):
        ticks = [
            step * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for step in steps
            if low <= step * 10.0**power <= high
        ]
        if len(ticks) <= MARKS:
            break
    ticks = ticks[:: math.ceil(len(ticks) / MARKS) or 1]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def whole(first: int, last: int, most: int = 8) -> dict[str, Any]:
    """An axis of generations with whole labels, so many at most; plotly's own of four generations has a "1.5".

    >>> whole(1, 4), whole(1, 300)["dtick"], whole(1, 1)["range"]
    ({'tick0': 0, 'dtick': 1}, 50, [0, 2])
    """
    wide = last - first
    step = next(
        step * 10**power for power in range(12) for step in (1, 2, 5) if wide / (step * 10**power) <= most
    )
    return {"tick0": 0, "dtick": step} | ({} if wide else {"range": [first - 1, last + 1]})


def blank(title: str, words: str) -> Figure:
    """A figure that says what to do, where there is nothing to draw yet."""
    import plotly.graph_objects as go

    chart = go.Figure()
    chart.add_annotation(text=words, showarrow=False, font={"size": 14})
    chart.update_xaxes(visible=False)
    chart.update_yaxes(visible=False)
    finish(chart, title, height=240)
    return chart.update_layout(xaxis_visible=False, yaxis_visible=False)


def hover_text(evaluation: Evaluation, birth: Birth | None = None) -> str:
    """An agent in the few lines of a hover; escaped, since plotly reads tags."""
    e = evaluation
    lines = [f"agent {e.agent}, generation {e.generation}", f"fitness {number(e.fitness)}"]
    if birth is not None:
        lines.append(
            f"{look(birth.kind).label}: {change(birth.detail)}" if birth.detail else look(birth.kind).label
        )
    lines.append(", ".join(f"{name} {number(value)}" for name, value in e.hyperparameters.items()))
    lines.append(
        f"{'layers' if e.layers else 'hidden'} {change(e.architecture)}, network size {count(e.network_size)}"
    )
    return "<br>".join(escape(line) for line in lines)
