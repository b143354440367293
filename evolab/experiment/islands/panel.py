"""Panels of islands: a curve for each, and a table of who leads, lags behind, or is dead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evolab.experiment.islands.driving import Driver
from evolab.reporting.dashboard.panel import Panel, Snapshot

MOST = 12
"""Islands that are shown, the best of them; a page has room for no more."""

POINTS = 100


class IslandPanel(Panel):
    """A panel that reads how islands stand.

    Args:
        driver: of the islands.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver


class IslandCurves(IslandPanel):
    """Fitness of each island's best agent."""

    title = "Islands"

    def data(self, snapshot: Snapshot) -> dict[str, Any]:
        """A small curve for each of the best islands, the leader first."""
        joined, count = self._driver.joined, len(snapshot.generations)
        every = max(1, math.ceil(count / POINTS))
        numbers = [one.number for one in snapshot.generations][::-1][::every][::-1]
        lines = {}
        for place in best_islands(self._driver)[:MOST]:
            known = {one.number: one.fitness for one in joined.told[place].generations}
            values = [known.get(number, math.nan) for number in numbers]
            lines[joined.names[place]] = [round(v, 3) if math.isfinite(v) else None for v in values]
        return {"form": "lines", "x": numbers, "lines": lines, "unit": "generation", "apart": True}


class IslandTable(IslandPanel):
    """How each island stands."""

    title = "Who leads, who lags"

    def data(self, snapshot: Snapshot) -> dict[str, Any]:
        """A row for each of the best islands."""
        rows = rows_of(self._driver)
        columns = ("island", "state", "generation", "best", "confirmed", "came in")
        shown = [rows[place] for place in best_islands(self._driver)[:MOST]]
        return {
            "form": "table",
            "columns": list(columns),
            "rows": [[row[name] for name in columns] for row in shown],
        }


def best_islands(driver: Driver) -> list[int]:
    """Places of the islands, the best first."""
    reports = driver.reports
    known = [-math.inf if one.best is None else one.best for one in reports]
    sure = [-math.inf if one.confirmed is None else one.confirmed for one in reports]
    return sorted(range(len(reports)), key=lambda place: (-sure[place], -known[place], place))


def rows_of(driver: Driver) -> list[dict[str, Any]]:
    """How each island stands: name, state, generation, steps, best, confirmed, who came in, worker, error."""
    reports, leader = driver.reports, best_islands(driver)[0]
    furthest = max(one.generation for one in reports)
    rows = []
    for place, (report, told) in enumerate(zip(reports, driver.joined.told, strict=True)):
        came = sum(birth.kind == "migrated" for one in told.generations for birth in one.births)
        behind = furthest - report.generation
        state = "leads" if place == leader and report.best is not None else "follows"
        if report.failed(driver.plan.retries):
            state = "dead"
        elif behind:
            state = f"{state}, {behind} behind"
        rows.append(
            {
                "island": report.run,
                "state": state,
                "generation": report.generation,
                "steps": report.total_steps + report.evaluation_steps,
                "best": report.best,
                "confirmed": report.confirmed,
                "came in": came,
                "seconds": report.seconds,
                "worker": report.worker,
                "error": report.error,
            }
        )
    return rows


def panels(driver: Driver) -> Sequence[Panel]:
    """Those of islands, for a dashboard or a report."""
    return IslandCurves(driver), IslandTable(driver)
