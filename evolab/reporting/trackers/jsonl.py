"""Generations as lines of JSON, one file, for whatever reads JSON."""

from __future__ import annotations

import json
from typing import Any

from evolab.core.plain_values import plain
from evolab.history.events import Generation
from evolab.reporting.trackers.tracker import FileTracker, agent_rows, birth_rows, scalars


class JSONL(FileTracker):
    """One line per generation: its numbers, its agents and its births."""

    name = "jsonl"

    def begin(self, resumed: int) -> None:
        """Keep the lines of the generations so far."""
        lines = self.path.read_text("utf-8").splitlines() if resumed else []
        kept = [line for line in lines if json.loads(line)["generation"] <= resumed]
        self.path.write_text("".join(line + "\n" for line in kept), "utf-8")

    def log(self, generation: Generation) -> None:
        """Append a line."""
        row: dict[str, Any] = {**scalars(generation), "generation": generation.number}
        row |= {"agents": agent_rows(generation), "births": birth_rows(generation)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(row), allow_nan=False) + "\n")
