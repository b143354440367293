"""Saved runs, opened: what a folder says, with the parts that only the caller can bring."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from evolab.algorithms.base import Algorithm
from evolab.algorithms.search_space import algorithm_named
from evolab.core import checks, spaces
from evolab.core.plain_values import from_plain, to_plain
from evolab.envs.ids import must_be_imported
from evolab.experiment.build import populate
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.file_schema import check_config
from evolab.experiment.live_settings import setting_names
from evolab.networks.base import Network
from evolab.population import serialisation
from evolab.storage import lock
from evolab.storage.folders import Saved
from evolab.training.run_folder import RunFolder
from evolab.training.state import TrainingState

FIXED = {
    "population": "the saved agents are as many as they are",
    "network": "the saved agents have theirs",
    "hyperparameters": "the saved agents have theirs, and they may have evolved",
    "draw": "the saved agents have their hyperparameters",
    "load": "the saved agents have their weights",
    "buffer": "the saved run has its own, with what is in it",
    "dtype": "the saved agents' tensors have theirs",
    "normalise": "the saved agents have their statistics",
    "islands": "the saved run is one population",
}
"""Options that a saved run cannot go on without, and why."""


def of_0_1(config: Mapping[str, object], agents: int, shared: bool) -> dict[str, Any]:
    """A configuration as evolab 0.1 meant it, whose update ratio counted steps of an agent's own."""
    ratio = config.get("update_ratio", 1.0)
    each = ratio / agents if shared and isinstance(ratio, (int, float)) else ratio
    return {"fitness": "return", "revive": False, **config, "update_ratio": each}


class SavedRun(NamedTuple):
    """A run on disk that is whole.

    Attributes:
        folder: of the run.
        saved: its newest whole generation, or the one asked for.
        state: what that generation's `state.json` says.
    """

    folder: RunFolder
    saved: Saved
    state: Mapping[str, Any]

    def config(self, own: Mapping[str, object]) -> ExperimentConfig:
        """How the run was configured.

        Args:
            own: options in place of the saved ones.

        Raises:
            ValueError: a part of the user's own is missing, or an option is unknown or cannot change any more.
        """
        path = self.folder.path
        for name in own:
            if name not in ExperimentConfig.names() and name not in FIXED:
                raise checks.unknown_option("Experiment", name, ExperimentConfig.names())
            if name in FIXED and name not in self.state["own"]:
                raise ValueError(f"Experiment.load takes no {name}: {FIXED[name]}. Leave it out.")
        for name, described in self.state["own"].items():
            if name not in own:
                option = "vector" if described == "vector" else name  # what made many environments at once
                raise ValueError(
                    f"the run in {path} has its own {name} ({described}), and nothing is imported by a name in a "
                    f"file. Pass the object: Experiment.load({str(path)!r}, {option}=...)."
                )
        where = str(self.saved.path / "state.json")
        saved = self._saved_options(own, where)
        environment = saved.get("environment")  # an id, or evolab's own as a dict of options
        module = must_be_imported(environment) if isinstance(environment, str) else None
        if module is not None:
            raise ValueError(
                f"the run in {path} is of {saved['environment']!r}, and nothing is imported by a name in a file. "
                f"Import {module} first, or pass it: Experiment.load({str(path)!r}, environment=...)."
            )
        parts = {name: value for name, value in own.items() if name not in setting_names()}
        if "algorithm" in own:
            known, given = self.state["population"]["algorithm"], algorithm_named(own["algorithm"]).name
            was = known["type"] if isinstance(known, dict) else known
            if was != given and "algorithm" not in self.state["own"]:
                raise ValueError(f"algorithm is {given}; the saved agents learn by {was}. Leave it out.")
        told = sorted(name for name in parts if name != "progress")
        passed = f", with the {' and '.join(told)} that you pass" if told else ""
        with serialisation.naming(f"{where}: config{passed}"):
            config = ExperimentConfig.from_plain(saved, **parts)
            self._check_parts(config, parts)
        for name in own.keys() - parts.keys():
            config = config.changed(name, own[name])
        return config

    def _saved_options(self, own: Mapping[str, object], where: str) -> dict[str, Any]:
        """The configuration's plain values that count, in their declared form."""
        saved = self.state["config"]
        with serialisation.naming(where):
            check_config({name: value for name, value in saved.items() if name not in own}, "config")
        # What it was started from is in its agents by now, and may be gone.
        saved = {name: value for name, value in saved.items() if name not in (*own, "load", "data")}
        if self.state["versions"]["evolab"].startswith("0.1."):
            buffer = self.state["buffer"]  # of rollouts, or of transitions
            saved = of_0_1(saved, len(self.state["agents"]), buffer.get("shared", "horizon" not in buffer))
        agents = self.folder.began_with or len(self.state["agents"])  # a selection may have narrowed it
        if saved.get("population", agents) != agents:
            raise ValueError(
                f"{where}: config.population is {saved['population']}, but the run began with {agents} agents."
            )
        return saved

    def _check_parts(self, config: ExperimentConfig, given: Mapping[str, object]) -> None:
        """Refuse a state whose agents are of another algorithm or network than its configuration."""
        for name in ("algorithm", "network"):
            if name in given or name in self.state["own"]:
                continue
            described, used = self.state["population"][name], getattr(config, name)
            found = from_plain(described, f"population.{name}")
            # Compared as they are written: a network of the user's own may not say when two are equal.
            if isinstance(used, (Algorithm, Network)) and to_plain(found) != to_plain(used):
                raise ValueError(
                    f"population.{name} is {found}, config.{name} is {used}; one of them was changed."
                )

    def naming(self, own: Mapping[str, object]) -> AbstractContextManager[None]:
        """Names the file when its configuration cannot be built; not where it is of the user's own environment."""
        return (
            nullcontext()
            if "environment" in own
            else serialisation.naming(f"{self.saved.path / 'state.json'}: config")
        )

    def restore(self, state: TrainingState, config: ExperimentConfig) -> None:
        """Put what was saved into the state of a run that was built from `config`."""
        about = self.state["population"]
        if not state.populated:  # without an environment, the saved agents say what they act in
            observed, acted = (spaces.from_json(about[f"{name}_space"]) for name in ("observation", "action"))
            state.populate(populate(config, observed, acted))
        self.folder.restore(state, self.saved, self.state, str(config.device))
        state.fit_environments()


def open_run(folder: Path, generation: int | None) -> SavedRun:
    """A saved run, with a warning for whatever stands in the way of going on with it.

    Raises:
        FileNotFoundError: no run there.
        ValueError: the folder is a link, or every generation is damaged (the files are named).
    """
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link; links are not followed. Pass the folder itself.")
    place = RunFolder(folder)
    saved, state, problems = place.open(generation)
    for problem in problems:
        warnings.warn(f"{problem} Generation {state['generation']} is used instead.", stacklevel=4)
    other = lock.holder(folder)
    if other is not None:
        warnings.warn(
            f"{folder} is in use by process {other.get('pid')} on {other.get('host')}: this copy can be "
            "looked at, and saved elsewhere.",
            stacklevel=4,
        )
    if "data" in state["buffer"]:
        name = state["buffer"]["data"]
        warnings.warn(
            f"its data stayed in {name}: call exp.fill({name!r}) before the next step.", stacklevel=4
        )
    return SavedRun(place, saved, state)
