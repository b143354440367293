"""The figure of a comparison: the best fitness found so far, one curve for each kind of run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

from evolab.history.display import number
from evolab.reporting.comparison.curves import AXES, Source, anytime, groups, middle, targets

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#0066aa", "#c44f00", "#00805d", "#a87400", "#b04a86", "#6b6f78", "#7a5230")
DASHES = ("solid", "dash", "dot", "dashdot")


def compare(
    what: Mapping[str, Source | Iterable[Source]] | Iterable[Source] | Source,
    *,
    interval: float = 0.5,
    axis: str = "total_steps",
) -> Figure:
    """Anytime curves: the best fitness found so far over environment steps, as a plotly figure.

    Runs that differ in their seed alone are one curve: the median over them, with the interval
    that holds the middle of them shaded. `ev.dashboard("runs/")` shows the same live.

    Args:
        what: runs to compare: folders, experiments or histories; or a mapping from a label to one or
            several of them; or one folder, for all runs below it.
        interval: share of the runs that the shaded interval holds, 0.5 for the quartiles, 1 for all of them.
        axis: "total_steps" (evaluation included), "generations" or "seconds" (of training and evaluation).

    Raises:
        ValueError: nothing to compare, or an unknown axis.
        FileNotFoundError: a folder holds no run.
    """
    import plotly.graph_objects as go

    from evolab.reporting.figures.layout import MARKED, finish

    if axis not in AXES:
        raise ValueError(f"axis is {axis!r}; 'total_steps', 'generations' or 'seconds' is expected.")
    if not 0 < interval <= 1:
        raise ValueError(f"interval is {interval}; a share of the runs above 0, and 1 at most, is expected.")
    found = groups(what)
    if not found:
        raise ValueError("there is nothing to compare: no run with a finished generation.")
    chart = go.Figure()
    for index, (label, members) in enumerate(found.items()):
        xs, low, median, high = middle([anytime(run.history, axis) for run in members], interval)
        colour, several = COLOURS[index % len(COLOURS)], len(members) > 1
        label = escape(label, quote=False)
        if several:
            edge = {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "legendgroup": label}
            line = {"width": 0, "color": colour, "shape": "hv"}  # stepped as the median is
            chart.add_scatter(x=xs, y=low, line=line, **edge)
            chart.add_scatter(x=xs, y=high, line=line, fill="tonexty", fillcolor=_pale(colour), **edge)
        chart.add_scatter(
            x=xs, y=median, mode="lines" if len(xs) > 1 else "markers", legendgroup=label,
            name=f"{label} · median of {len(members)}" if several else label,
            line={"color": colour, "width": 3, "shape": "hv", "dash": DASHES[index // len(COLOURS) % len(DASHES)]},
        )  # fmt: skip
    for aim in targets(found):
        chart.add_hline(y=aim, line_dash="dash", line_width=1.5, line_color=MARKED,
                        annotation_text=f"target {number(aim)}", annotation_position="bottom right")  # fmt: skip
    finish(chart, "Best fitness so far", AXES[axis], "fitness")
    below = {"orientation": "v", "y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"}
    # Names of folders and settings are long: each on a line of its own, below the figure.
    return chart.update_layout(legend=below, height=420 + 22 * len(found))  # type: ignore[no-any-return]


def _pale(colour: str) -> str:
    """A colour as a fill that other curves show through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"
