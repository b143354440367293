"""The figure of `hpo.py`: performance profiles, and the normalised return at the marks of the budget."""

from __future__ import annotations

from pathlib import Path

import hpo_table as table
import numpy as np
from hpo_tasks import MARKS

COLOURS = ("#0b6e4f", "#6ba292", "#b5c9c3", "#8d99ae", "#d1495b", "#edae49")


def figure(found: table.Runs, path: Path) -> Path:
    """Write one page that stands alone.

    Raises:
        SystemExit: no task was run by all arms, or a package is missing.
    """
    try:
        from plotly import graph_objects
        from plotly.subplots import make_subplots
    except ImportError:
        raise SystemExit("The figure needs plotly: pip install plotly.") from None
    arms = table.arms_of(found)
    tasks = table.in_common(found, arms)
    if not tasks:
        raise SystemExit("no task was run by all arms: there is nothing to draw over the tasks yet.")
    titles = ("Runs at the target within so many budgets of steps", "Normalised return, interquartile mean")
    drawn = make_subplots(1, 2, subplot_titles=titles)
    for arm, colour in zip(arms, COLOURS * 2, strict=False):
        scores = [table.column(found[task][arm], table.score) for task in tasks]
        point, (low, high) = table.estimate(table.profile, scores)
        both = np.concatenate([table.BUDGETS, table.BUDGETS[::-1]])
        shade = {"mode": "none", "fill": "toself", "fillcolor": colour, "opacity": 0.2, "hoverinfo": "skip"}
        drawn.add_scatter(
            x=both, y=np.concatenate([high, low[::-1]]), showlegend=False, row=1, col=1, **shade
        )
        line = {"color": colour, "shape": "hv"}
        drawn.add_scatter(x=table.BUDGETS, y=point, name=arm, legendgroup=arm, line=line, row=1, col=1)
        found_at = [
            table.estimate(
                table.iqm, [table.column(found[task][arm], table.returns_at(mark)) for task in tasks]
            )
            for mark in MARKS
        ]
        middle = np.array([value[0] for value, _ in found_at])
        ends = np.array([interval[:, 0] for _, interval in found_at])
        error = {"array": ends[:, 1] - middle, "arrayminus": middle - ends[:, 0]}
        names = [f"{mark:.0%}" for mark in MARKS]
        bar = graph_objects.Bar(
            x=names, y=middle, error_y=error, marker_color=colour, legendgroup=arm, showlegend=False
        )
        drawn.add_trace(bar, row=1, col=2)
    drawn.update_xaxes(type="log", title="budgets", row=1, col=1)
    drawn.update_xaxes(title="of the budget", type="category", row=1, col=2)
    drawn.update_yaxes(range=[0, 1.05])
    drawn.update_layout(
        template="plotly_white", width=1100, height=480, title=f"{len(tasks)} tasks: {', '.join(tasks)}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.write_html(path, include_plotlyjs=True)
    return path
