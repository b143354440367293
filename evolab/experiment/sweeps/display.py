"""How a sweep stands: a table that a notebook keeps up to date, and lines for a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from evolab.experiment.engines.orders import Report
from evolab.history.display import count, html_table, number, plain_table, ticked
from evolab.reporting.progress import in_notebook

NAMES = ("run", "state", "generation", "steps", "best", "confirmed", "seconds", "error")
LEFT = ("run", "state", "error")
PERIOD = 0.5
"""Seconds between two updates of a notebook's table."""

MOST = 40
"""Rows of the table that a notebook shows; `Sweep.table` has all."""


def state_of(report: Report, retries: int, goals_met: bool) -> str:
    """One word, or two, for how a run stands."""
    if goals_met:
        return f"over ({report.over})"
    if report.failed(retries):
        return "failed"
    return "begun" if report.epoch or report.begun else "waiting"


def rows_of(reports: Sequence[Report], states: Sequence[str]) -> list[tuple[str, ...]]:
    """The cells of the table."""
    return [
        (
            report.run,
            state,
            str(report.generation),
            count(report.total_steps + report.evaluation_steps),
            number(report.best),
            ticked(report.confirmed),
            f"{report.seconds:.0f}",
            report.error,
        )
        for report, state in zip(reports, states, strict=True)
    ]


def as_text(title: str, rows: Sequence[Sequence[str]]) -> str:
    """The table in plain text."""
    return f"{title}\n{plain_table(NAMES, rows, LEFT)}"


def as_html(title: str, rows: Sequence[Sequence[str]]) -> str:
    """The table of a notebook."""
    hidden = len(rows) - MOST
    title += f"; {MOST} rows are shown" if hidden > 0 else ""
    return html_table(NAMES, rows[:MOST], LEFT, title)


class Screen:
    """Shows a sweep while it runs: one table in a notebook, a line for each run that ends elsewhere.

    Args:
        shown: False for nothing.
    """

    def __init__(self, shown: bool) -> None:
        self._notebook = in_notebook()
        self._shown, self._due = shown, 0.0
        self._handle: Any = None
        self._told: set[str] = set()

    def show(self, title: str, rows: Sequence[Sequence[str]], last: bool = False) -> None:
        """Say what has changed.

        Args:
            title: of the table.
            rows: its cells.
            last: nothing comes after this.
        """
        if not self._shown:
            return
        if self._notebook:
            if last or time.monotonic() >= self._due:
                self._due = time.monotonic() + PERIOD
                self._put(as_html(title, rows), as_text(title, rows))
            return
        for row in rows:
            if row[0] not in self._told and (row[1].startswith("over") or row[1] == "failed"):
                self._told.add(row[0])
                facts = [f"generation {row[2]}", f"{row[3]} steps", row[4] and f"best {row[4]}"]
                facts += [row[5] and f"confirmed {row[5]}", row[7]]
                print(f"{row[0]}: {row[1]}, {', '.join(fact for fact in facts if fact)}", flush=True)

    def _put(self, html: str, text: str) -> None:
        from IPython.display import DisplayHandle

        bundle = {"text/html": html, "text/plain": text}
        if self._handle is None:
            self._handle = DisplayHandle()
            self._handle.display(bundle, raw=True)
        else:
            self._handle.update(bundle, raw=True)
