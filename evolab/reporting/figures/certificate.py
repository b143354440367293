"""The figure of a certificate: a dot per seed, the interquartile mean with its interval, the target."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from evolab.history.display import number
from evolab.reporting.figures.colours import CLOUD, TARGET, WINNER
from evolab.reporting.figures.layout import finish

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure


def figure(
    per_seed: np.ndarray, mean: float, interval: tuple[float, float], target: float | None, title: str
) -> Figure:
    """Mean returns of the seeds along one line.

    Args:
        per_seed: [seeds]; a seed that diverged has none and no dot.
        mean: interquartile mean over them.
        interval: its lower and upper end; NaN for none.
        target: drawn as a dashed line.
        title: of the figure.
    """
    import plotly.graph_objects as go

    shown = [(seed, float(value)) for seed, value in enumerate(per_seed) if math.isfinite(value)]
    # The golden ratio spreads neighbours apart, so that equal returns do not hide each other.
    heights = [(seed * 0.618) % 1 * 0.6 - 0.3 for seed, _ in shown]
    words = [f"seed {seed}: {number(value)}" for seed, value in shown]
    traces = [
        go.Scatter(x=[value for _, value in shown], y=heights, mode="markers", name="a seed",
                   marker={"color": CLOUD[0], "size": 9}, text=words, hovertemplate="%{text}<extra></extra>"),
    ]  # fmt: skip
    if math.isfinite(mean):
        low, high = (end if math.isfinite(end) else mean for end in interval)
        traces += [
            go.Scatter(x=[low, high], y=[0, 0], mode="lines", name="its 95% interval", hoverinfo="skip",
                       line={"color": WINNER[0], "width": 4}, opacity=0.5),
            go.Scatter(x=[mean], y=[0], mode="markers", name="interquartile mean",
                       marker={"color": WINNER[0], "size": 13, "symbol": "diamond"},
                       hovertemplate=f"{number(mean)} [{number(low)}, {number(high)}]<extra></extra>"),
        ]  # fmt: skip
    chart = go.Figure(traces)
    if target is not None:
        chart.add_vline(
            x=target, line_dash="dash", line_color=TARGET[0], annotation_text=f"target {number(target)}",
            annotation_position="bottom right",
        )  # fmt: skip
    finish(chart, escape(title), "mean return of a seed", height=260)
    return chart.update_yaxes(visible=False, range=[-0.6, 0.6])
