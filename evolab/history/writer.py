"""The one writer of a history's files: they are appended to, and never rewritten where they are right.

A checkpoint remembers how long each file was and the SHA-256 of that much; what a crash or an
abandoned future has left behind it is cut off before the next lines are written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from evolab.history import jsonlines
from evolab.history.events import Generation
from evolab.storage.files import Damaged, plain_size, sync_folder

FILES = (*jsonlines.ROWS, "generations")


class Mark(TypedDict):
    """How much of a file a checkpoint counts on."""

    bytes: int
    sha256: str


class HistoryWriter:
    """The files of JSON lines in a run's folder `history`, and how far they are known.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._sizes = dict.fromkeys(FILES, 0)
        self._sums = {name: hashlib.sha256() for name in FILES}

    def append(self, generations: Sequence[Generation]) -> dict[str, Mark]:
        """Have all of `generations` on the disk; gives what a checkpoint must remember."""
        self.folder.mkdir(exist_ok=True)
        lines: dict[str, list[str]] = {name: [] for name in FILES}
        for generation in generations[self._count :]:
            for name, rows in jsonlines.to_lines(generation).items():
                lines[name] += rows
        sizes, sums = dict(self._sizes), {name: total.copy() for name, total in self._sums.items()}
        for name in FILES:
            data = "".join(line + "\n" for line in lines[name]).encode()
            path = self.folder / f"{name}.jsonl"
            if path.is_symlink():
                raise Damaged(f"{path} is not a plain file; links are not followed.")
            with path.open("r+b" if path.exists() else "xb") as file:
                # What is there already is left alone: older checkpoints count on it, whenever this is killed.
                file.seek(sizes[name])
                same = _alike(file.read(len(data)), data) if file.readable() else 0
                file.seek(sizes[name] + same)
                file.truncate()
                file.write(data[same:])
                file.flush()
                os.fsync(file.fileno())
            sizes[name] += len(data)
            sums[name].update(data)
        sync_folder(self.folder)
        # Only now: where a write fails (a full disk), the next call starts from the same place.
        self._sizes, self._sums, self._count = sizes, sums, len(generations)
        return self.mark()

    def mark(self) -> dict[str, Mark]:
        """Size and SHA-256 of each file as far as it is known."""
        return {name: {"bytes": self._sizes[name], "sha256": self._sums[name].hexdigest()} for name in FILES}

    def read(self, mark: Mapping[str, Mark]) -> list[Generation]:
        """The generations that a checkpoint remembers.

        Raises:
            Damaged: a file is shorter than that or was changed.
        """
        texts: dict[str, str] = {}
        for name in FILES:
            if name not in mark and name == "learning":  # a run of a version that did not write it
                continue
            path, size = self.folder / f"{name}.jsonl", int(mark[name]["bytes"])
            there = plain_size(path)
            if size < 0 or there < size:
                raise Damaged(f"{path} is damaged: it has {there} bytes, {size} were written.")
            with path.open("rb") as file:
                data = file.read(size)
            total = hashlib.sha256(data)
            if total.hexdigest() != mark[name]["sha256"]:
                raise Damaged(f"{path} is damaged: the SHA-256 of its first {size} bytes has changed.")
            texts[name] = data.decode()
            self._sizes[name], self._sums[name] = size, total
        generations = jsonlines.from_lines(texts)
        self._count = len(generations)
        return generations


def _alike(there: bytes, wanted: bytes) -> int:
    """How many bytes both begin with."""
    if wanted.startswith(there):
        return len(there)
    return next(place for place, (a, b) in enumerate(zip(there, wanted)) if a != b)
