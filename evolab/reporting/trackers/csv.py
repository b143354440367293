"""Agents as rows of one CSV file, for spreadsheets and for `pandas.read_csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from evolab.history.events import Generation
from evolab.reporting.trackers.tracker import Tracker, agent_rows, file_of


class CSV(Tracker):
    """One row per agent and generation: fitness, steps, architecture, hyperparameters.

    Args:
        path: the file; None for `tracked.csv` in the run's folder, or `NAME.csv` in the working
            folder where the run has none.
    """

    name = "csv"

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin the file, or cut off what a loaded run is about to do again."""
        self.path = self.path or file_of(config, "csv")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        if self.path.exists() and config["resumed"]:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["generation"]) <= config["resumed"]]
        self.path.unlink(missing_ok=True)
        self._write(rows)

    def log(self, generation: Generation) -> None:
        """Append a row per agent."""
        self._write(agent_rows(generation))

    def _write(self, rows: list[dict[str, Any]]) -> None:
        assert self.path is not None
        if not rows:
            return
        fresh = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore")
            if fresh:
                writer.writeheader()
            writer.writerows(rows)
