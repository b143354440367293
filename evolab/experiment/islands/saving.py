"""Islands on disk: their configuration, their folder, and a copy of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.core.readonly import ReadOnly, write_as_dicts
from evolab.experiment.config.island_options import FILE
from evolab.experiment.islands.fixed import SAME, Fixed
from evolab.experiment.islands.views import IslandViews
from evolab.storage.folders import recover, swap


class IslandSaving(Fixed, IslandViews):
    """The methods of `Islands` that write them."""

    _kept: bool

    @property
    def folder(self) -> Path | None:
        """Where the islands are kept; None where that is a temporary folder."""
        return self._driver.home if self._kept else None

    @property
    def kept(self) -> Path | None:
        """The same: islands write by themselves."""
        return self.folder

    def save(self, folder: str | PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Write all islands, as they stood at the end of their last epoch, where `Experiment.load` goes on from.

        Args:
            folder: such as "runs/islands"; None for where they are kept already.
            overwrite: replace what is there.

        Raises:
            ValueError: they have no folder yet, and none is named.
            FileExistsError: the folder is not empty.
            RuntimeError: they train in the background.
            OSError: the disk is full or the folder read-only; what was there is untouched.
        """
        home = self._driver.home
        place = self.folder if folder is None else checks.path("folder", folder)
        if place is None:
            raise ValueError("these islands have no folder yet. Name one: exp.save('runs/islands').")
        self._driver.refuse_while_running("save")
        self._driver.plan.write(home)
        if place.resolve() == home.resolve():
            return place
        recover(place)
        if place.exists() and any(place.iterdir()) and not (overwrite and (place / FILE).exists()):
            cure = "." if overwrite else ", or pass overwrite=True."
            raise FileExistsError(f"{place} is not empty. Name another folder{cure}")
        made = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        try:
            shutil.copytree(home, made, ignore=shutil.ignore_patterns(".lock*", "*.tmp"))
            swap(made, place)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return place

    @property
    def config(self) -> Mapping[str, Any]:
        """Every option as plain values; `Experiment.from_config` makes the same islands from it."""
        wish = {name: value for name, value in asdict(self._driver.wish).items() if value is not None}
        values = {**self._config.to_plain(), "seed": self._driver.plan.seed, "target": self._target, **wish}
        write_as_dicts()
        return ReadOnly(values, "options of islands", f"Each of them {SAME.format('name: value')}")
