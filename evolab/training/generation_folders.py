"""The folder of a run on disk: which generations are there, and what a killed process left is cleared away.

experiment.json         facts for listings
history/                events of all generations, appended to
generation-000012/      one checkpoint, complete or not there
elite/                  the best confirmed agent
abandoned/              generations that were damaged, or came after the one that a run went on from
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from evolab.storage.files import Damaged, read_json
from evolab.storage.folders import recover

ABOUT = "experiment.json"
_GENERATION = re.compile(r"\.?generation-(\d{6,})(\.before)?")


class GenerationFolders:
    """The generations in a run's folder.

    Args:
        path: of the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def generation(self, number: int) -> Path:
        """The folder of a generation."""
        return self.path / f"generation-{number:06d}"

    def numbers(self) -> list[int]:
        """The generations that are there, newest first, damaged or not."""
        found = (
            (_GENERATION.fullmatch(entry.name) for entry in self.path.iterdir()) if self.path.is_dir() else ()
        )
        return sorted({int(match[1]) for match in found if match}, reverse=True)

    def owner(self) -> str | None:
        """The id of the run that the folder holds; None where it holds none that can be read."""
        files = [(self.path, ABOUT), *((self.generation(n), "state.json") for n in self.numbers())]
        for folder, name in files:
            try:
                found = read_json(folder / name).get("run")
            except (Damaged, AttributeError):
                continue
            if isinstance(found, str):
                return found
        return None

    def sweep(self) -> None:
        """Remove what a killed process left half written, and finish what it left half renamed."""
        for number in self.numbers():
            recover(self.generation(number))
        for entry in self.path.iterdir():
            if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)

    def clear(self, newest: int, kept: Collection[int | None]) -> None:
        """Remove the generations up to the newest that are not kept, and put aside the later ones.

        Later ones are damaged, or the future of a run that was taken up again at an earlier point.
        """
        for number in self.numbers():
            folder = self.generation(number)
            if number > newest:
                aside = self.path / "abandoned"
                aside.mkdir(exist_ok=True)
                shutil.rmtree(aside / folder.name, ignore_errors=True)
                os.rename(folder, aside / folder.name)
            elif number not in kept:
                doomed = self.path / f".{folder.name}.old.tmp"
                shutil.rmtree(doomed, ignore_errors=True)
                os.rename(folder, doomed)  # a half-deleted generation is never seen
                shutil.rmtree(doomed, ignore_errors=True)
