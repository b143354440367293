"""What all plotly figures share: the page, the empty state, the words of a hover."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from evolab.history.display import number
from evolab.reporting.panels.colours import INK, MUTED, look

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.events import Birth, Evaluation

GRID = "#e4e6ea"


def finish(chart: Figure, title: str, x: str = "", y: str = "", height: int = 420) -> Figure:
    """Give a figure the house's page: white, calm, aligned numbers, one title."""
    chart.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 16}}, height=height,
        margin={"l": 60, "r": 24, "t": 56, "b": 52},
        paper_bgcolor="#ffffff", plot_bgcolor="#ffffff", font={"color": INK[0], "size": 12},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        hoverlabel={"align": "left"},
    )  # fmt: skip
    chart.update_xaxes(title_text=x or None, gridcolor=GRID, zeroline=False, linecolor=GRID)
    chart.update_yaxes(title_text=y or None, gridcolor=GRID, zeroline=False, linecolor=GRID)
    return chart


def blank(title: str, words: str) -> Figure:
    """A figure that says what to do, where there is nothing to draw yet."""
    import plotly.graph_objects as go

    chart = go.Figure()
    chart.add_annotation(text=words, showarrow=False, font={"size": 14, "color": MUTED[0]})
    chart.update_xaxes(visible=False)
    chart.update_yaxes(visible=False)
    finish(chart, title, height=240)
    return chart.update_layout(xaxis_visible=False, yaxis_visible=False)


def hover_text(evaluation: Evaluation, birth: Birth | None = None) -> str:
    """An agent in the few lines of a hover; escaped, since plotly reads tags."""
    e = evaluation
    lines = [f"agent {e.agent}, generation {e.generation}", f"fitness {number(e.fitness)}"]
    if birth is not None:
        lines.append(f"{look(birth.kind).label}: {birth.detail}" if birth.detail else look(birth.kind).label)
    lines.append(", ".join(f"{name} {number(value)}" for name, value in e.hyperparameters.items()))
    lines.append(f"hidden {'x'.join(map(str, e.hidden))}, {e.parameters} parameters")
    return "<br>".join(escape(line) for line in lines)
