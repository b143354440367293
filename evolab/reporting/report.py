"""One self-contained page of a whole run: the dashboard's own drawing code with the state inside it.

Nothing is fetched from anywhere. Data stand in a JSON block and enter the page as
text, so no name of an environment or an agent can become markup.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.core import checks
from evolab.history.display import html_table, number
from evolab.history.history import History
from evolab.reporting.dashboard import page
from evolab.reporting.dashboard.feed import Feed
from evolab.reporting.dashboard.live_run import LiveRun
from evolab.reporting.dashboard.panel import Panel
from evolab.reporting.dashboard.static_view import bundle

if TYPE_CHECKING:
    from pandas import DataFrame

NEWEST = 200
"""Rows of a table that are shown."""

_STYLE = """
body { margin: 0 auto; max-width: 1240px; padding: 16px; background: #fff; color: #1f2329;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 20px; margin: 4px 8px 12px; } h2.part { font-size: 15px; margin: 28px 8px 8px; }
.part-body { margin: 0 8px; overflow-x: auto; }
.part-body > div { overflow-x: visible !important; } /* one scroller, which keys reach */
pre { font-size: 12px; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e6e8ec; } }
"""


def write_report(
    experiment: LiveRun, path: str | PathLike[str] | None = None, panels: Sequence[Panel | str] = ()
) -> Path:
    """Write the page and return where it is.

    Args:
        experiment: read only.
        path: of the file; its folder must exist. None for report.html in the run's folder, or where the run has
            none in the working directory.
        panels: further ones, such as those of islands.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    kept = experiment.kept if experiment.kept is not None and experiment.kept.is_dir() else Path()
    path = kept / "report.html" if path is None else checks.path("path", path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; create it before writing the report.")
    path.write_text(report(experiment, panels), "utf-8")
    return path


def report(experiment: LiveRun, panels: Sequence[Panel | str] = ()) -> str:
    """The page as a string."""
    feed = Feed(experiment, panels)
    state = feed.state() | {"rollout": _episode(experiment), "past": feed.past()}
    history = experiment.history
    title = f"{experiment.algorithm.name} on {experiment.name}"
    parts = []
    if len(history):
        parts = [
            ("What mutations brought, with bootstrap intervals", _frame(history.mutation_effects())),
            ("Which hyperparameters went with fitness (rank correlation)", _frame(history.importance())),
            ("The winner\u2019s ancestry", _frame(history.lineage())),
            ("The winner\u2019s schedule", _frame(_schedule(history))),
        ]
    config = json.dumps(experiment.config, indent=2, default=str, ensure_ascii=False)
    parts.append(("Configuration", f"<pre>{escape(config)}</pre>"))
    sections = "".join(_part(escape(name), body) for name, body in parts)
    still = bundle(feed.store, experiment, b"", "evolab-still")["text/html"]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{page.style()}</style></head><body>"
        f'<div id="board" class="ev-page"></div><noscript>{still}</noscript>{sections}'
        f'<script type="application/json" id="state">{_embedded(state)}</script>'
        f'<script type="module">{page.script()}\n{_START}</script></body></html>'
    )


_START = """
const store = emptyStore(), state = JSON.parse(document.getElementById("state").textContent);
take(store, { ...state, reset: true });
store.rollout = state.rollout;
const view = mount(document.getElementById("board"), store, { still: true });
if (state.past) unpack(store, state.past).then(() => view.draw(true));
"""


def _part(name: str, body: str) -> str:
    # A wide table scrolls within its part, by keys too.
    return (
        f'<h2 class="part">{name}</h2>'
        f'<div class="part-body" tabindex="0" role="region" aria-label="{name}">{body}</div>'
    )


def _embedded(state: dict[str, object]) -> str:
    # A "<" inside JSON can only stand in a string, where the escape means the same: no tag can begin.
    return json.dumps(state, ensure_ascii=False).replace("<", "\\u003c")


def _episode(experiment: LiveRun) -> dict[str, Any] | None:
    """An episode of the best agent, or None where the environment draws nothing or cannot be made."""
    if not len(experiment.history):
        return None
    try:
        return experiment.rollout(episodes=1).sprites(most=400_000, width=300)
    except Exception:  # a report without its film is still a report
        return None


def _schedule(history: History) -> DataFrame:
    """The winner's schedule with its layers in words: the genes, which a computer follows, would fill the page."""
    table = history.schedule()
    if not any(e.layers for e, _ in history.ancestry()):
        return table
    table["hidden"] = [e.architecture for e, _ in history.ancestry()]
    return table.drop(columns="genes", errors="ignore").rename(columns={"hidden": "layers"})


def _frame(table: DataFrame) -> str:
    """A DataFrame as a table, numbers with sensible digits; the newest rows if it is long."""
    if not len(table):
        return "<p>Nothing yet.</p>"
    shown = table.tail(NEWEST)
    cells = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    left = tuple(name for name in shown.columns if any(isinstance(v, str) for v in shown[name]))
    note = f"<p>The newest {NEWEST} of {len(table)} rows.</p>" if len(table) > NEWEST else ""
    return note + html_table([str(name) for name in shown.columns], cells, left)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return "" if value != value else number(value)
    except TypeError:  # pandas' missing value
        return ""
