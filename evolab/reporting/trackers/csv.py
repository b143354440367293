"""Agents as rows of one CSV file, for spreadsheets and for `pandas.read_csv`."""

from __future__ import annotations

import csv
from typing import Any

from evolab.history.events import Generation
from evolab.reporting.trackers.tracker import FileTracker, agent_rows


class CSV(FileTracker):
    """One row per agent and generation: fitness, steps, architecture, hyperparameters."""

    name = "csv"

    def begin(self, resumed: int) -> None:
        """Keep the rows of the generations so far."""
        rows: list[dict[str, Any]] = []
        if resumed:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["generation"]) <= resumed]
        self.path.unlink(missing_ok=True)
        self._write(rows)

    def log(self, generation: Generation) -> None:
        """Append a row per agent."""
        self._write(agent_rows(generation))

    def _write(self, rows: list[dict[str, object]]) -> None:
        if not rows:
            return
        earlier: list[dict[str, Any]] = []
        columns = list(rows[0])
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                columns = list(reader.fieldnames or ())
                if not {*rows[0]} <= {*columns}:  # a metric that no episode has told before
                    earlier = list(reader)
                    columns += [name for name in rows[0] if name not in columns]
            if earlier:
                self.path.unlink()
        fresh = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            if fresh:
                writer.writeheader()
            writer.writerows(earlier + rows)
