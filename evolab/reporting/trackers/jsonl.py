"""Generations as lines of JSON, one file, for whatever reads JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from evolab.core.plain import plain
from evolab.history.events import Generation
from evolab.reporting.trackers.tracker import Tracker, agent_rows, birth_rows, file_of, scalars


class JSONL(Tracker):
    """One line per generation: its numbers, its agents and its births.

    Args:
        path: the file; None for `tracked.jsonl` in the run's folder, or `NAME.jsonl` in the
            working folder where the run has none.
    """

    name = "jsonl"

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin the file, or cut off what a loaded run is about to do again."""
        self.path = self.path or file_of(config, "jsonl")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() and config["resumed"] else []
        kept = [line for line in lines if json.loads(line)["generation"] <= config["resumed"]]
        self.path.write_text("".join(line + "\n" for line in kept), "utf-8")

    def log(self, generation: Generation) -> None:
        """Append a line."""
        assert self.path is not None
        row = {**scalars(generation), "generation": generation.number}
        row |= {"agents": agent_rows(generation), "births": birth_rows(generation)}  # type: ignore[dict-item]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(row), allow_nan=False) + "\n")
