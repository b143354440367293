"""An experiment on disk: its configuration, its checkpoints, and going on with them."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from evolab.core import checks, registry
from evolab.core.plain_values import to_plain
from evolab.envs.factory import VectorMaker
from evolab.evolution.immigration import Immigrant
from evolab.experiment.build import described
from evolab.experiment.composition import ExperimentParts
from evolab.experiment.config.config import ExperimentConfig, Source
from evolab.experiment.config.conversions import read
from evolab.experiment.config.island_options import FILE
from evolab.experiment.live_settings import read_only, setting_names
from evolab.experiment.loading import SavedRun, open_run
from evolab.storage.folders import recover

Saved = TypeVar("Saved", bound="Saving")


class Saving(ExperimentParts):
    """The methods of an experiment that write and read it."""

    @property
    def config(self) -> dict[str, Any]:
        """Every option as plain values; `Experiment.from_config` makes the same run from it."""
        return read_only(described(self._config, self._state))

    @property
    def folder(self) -> Path | None:
        """Where checkpoints are written by themselves; None for nowhere."""
        return self._checkpointer.folder

    @folder.setter
    def folder(self, folder: str | PathLike[str] | None) -> None:
        self._checkpointer.move(None if folder is None else checks.path("folder", folder))

    @property
    def kept(self) -> Path | None:
        """Where the run is kept: where checkpoints go by themselves, or where it was saved last; None for nowhere."""
        return self._checkpointer.kept

    @classmethod
    def from_config(cls: type[Saved], source: Source, **own: object) -> Saved:
        """An experiment from a dict or from a .yaml or .json file; keyword arguments win.

        Raises:
            ValueError: an unknown option.
        """
        values = source if isinstance(source, Mapping) else read(source)
        if {**values, **own}.get("islands") is not None:
            return cls(**{**values, **own})
        return cls(**ExperimentConfig.from_plain(source, **own).options())

    def save(self, folder: str | PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Write a checkpoint that `Experiment.load` goes on from: bit for bit, if a seeded reset renews its environments.

        A checkpoint holds whole generations: while a background thread trains, this waits for the
        end of its generation; where one was stopped midway, the run as it was at its beginning is
        saved, and a warning says so.

        Args:
            folder: such as "runs/lander"; None for where the run is kept already.
            overwrite: replace another run that is there.

        Raises:
            FileExistsError: the folder holds another run.
            RuntimeError: another process, or another experiment, writes there.
            OSError: the disk is full or the folder read-only; what was there is untouched.
        """
        self._runner.raise_past_error()
        path = self._checkpointer.place(None if folder is None else checks.path("folder", folder))
        if not self._runner.between_generations(lambda: self._checkpointer.write(path, overwrite)):
            with self._runner.lock:
                self._checkpointer.write_boundary(path, overwrite)
        return path

    @classmethod
    def load(
        cls: type[Saved],
        folder: str | PathLike[str],
        environment: object = None,
        algorithm: object = None,
        network: object = None,
        *,
        generation: int | None = None,
        **own: Any,
    ) -> Saved:
        """Go on with a saved run as if it had never stopped; see `save`.

        Args:
            folder: as given to `save`.
            environment: pass the callable where the environment is your own.
            algorithm: pass the object where the algorithm is your own.
            network: pass the object where the network is your own.
            generation: one of those kept; None for the newest that is whole.
            own: any further option of `Experiment`, in place of the saved one, but those that the saved
                agents have settled, such as `population` and `network`.

        Raises:
            FileNotFoundError: no run there.
            ValueError: every generation is damaged (the files are named), or a part of your own is missing.
        """
        given = {"environment": environment, "algorithm": algorithm, "network": network}
        own |= {name: value for name, value in given.items() if value is not None}
        folder = checks.path("folder", folder)
        recover(folder)  # islands are replaced as a whole
        if generation is None and (folder / FILE).exists():
            islands: Saved = registry.above("Islands").load(folder, **own)
            return islands
        if (vector := own.pop("vector", None)) is not None:
            own["environment"] = VectorMaker(vector)
        found = open_run(folder, generation)
        config = found.config(own)
        with found.naming(own):
            experiment = cls(**config.options())
        experiment._go_on_with(found)
        for name in own.keys() & {*setting_names()}:
            experiment._state.changes.note(name, to_plain(getattr(experiment, name)))
        return experiment

    def invite(self, immigrant: Immigrant) -> None:
        """Have an agent of another run enter at the end of the next generation, where it is better than the worst."""
        self._runner.refuse_while_running("invite")
        self._state.expect(immigrant)

    def _go_on_with(self, found: SavedRun) -> None:
        found.restore(self._state, self._config)
        folder = found.folder.path if found.state["automatic"] else None
        self._checkpointer.adopt(found.folder, str(found.state["run"]), folder)
