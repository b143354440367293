"""The figure of what mutations brought: median gain with its interval, and how often each kind was tried."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from evolab.reporting.figures.colours import UNCHANGED, look
from evolab.reporting.figures.layout import blank, finish

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from evolab.history.history import History


def mutations_figure(history: History) -> Figure:
    """Gains by kind of mutation and by hyperparameter, with the number of births beside each name."""
    import plotly.graph_objects as go

    if len(history) < 2:
        return blank(
            "What mutations brought", "Gains are known one generation after a mutation: call exp.step() twice"
        )
    table = history.mutation_effects()
    table = table[~table["kind"].isin(UNCHANGED) & (table["measured"] > 0)]
    kinds = list(table.loc[table["name"] == "", "kind"])
    table = table.assign(order=table["kind"].map(kinds.index)).sort_values("order", kind="stable")
    chart = go.Figure()
    for row in table.itertuples(index=False):
        style = look(row.kind)
        dash = "\u2014 " if row.name else ""
        label = f"{dash}{escape(row.name or style.label)} ({row.count})"
        share = f"in {row.ancestry:.0%} of the winner's births" if row.ancestry == row.ancestry else ""
        chart.add_scatter(
            x=[row.gain], y=[label], mode="markers", showlegend=False,
            marker={"symbol": style.symbol, "color": style.light, "size": 12},
            error_x={"type": "data", "symmetric": False, "array": [row.high - row.gain],
                     "arrayminus": [row.gain - row.low], "color": style.light, "thickness": 2},
            hovertemplate=f"{label}<br>median gain {row.gain:.3g} ({row.low:.3g} to {row.high:.3g})<br>"
            f"better than the parent: {row.improved:.0%} of {row.measured}<br>{share}<extra></extra>",
        )  # fmt: skip
    plain = table.loc[(table["kind"] == "none") & (table["name"] == ""), "gain"]
    if len(plain):
        chart.add_vline(x=float(plain.iloc[0]), line_dash="dot", line_color=look("none").light,
                        annotation_text="none")  # fmt: skip
    finish(chart, "What mutations brought", "gain of fitness over the parent (median, 95% interval)",
           height=max(280, 130 + 34 * len(table)))  # fmt: skip
    chart.update_yaxes(autorange="reversed")
    chart.update_layout(margin={"l": 190})
    return chart
