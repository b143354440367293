"""The contract of a tracker: the facts of a run at its beginning, every generation, its end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.history.events import Generation
from evolab.reporting.rollout import Rollout


@dataclass(frozen=True)
class RunFacts:
    """What trackers are told of a run before its first generation.

    Attributes:
        run_id: the same after loading.
        run_name: such as "TD3-LunarLander-v3-42".
        folder: the run's own, or None.
        resumed: generations finished before.
        config: every option of the experiment as plain values.
    """

    run_id: str
    run_name: str
    folder: Path | None
    resumed: int
    config: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """The options and the facts beside them, as plain values."""
        facts = {"run_id": self.run_id, "run_name": self.run_name, "resumed": self.resumed}
        return {**self.config, **facts, "folder": None if self.folder is None else str(self.folder)}


class Tracker(ABC):
    """Somewhere to write a run down. An error in any method is reported once and ends this tracker alone.

    Attributes:
        name: what the tracker is called in messages.
        wants_rollout: True where an episode of the elite is to be handed to `rollout` at the end.
    """

    name: str = "tracker"
    wants_rollout: bool = False

    @abstractmethod
    def start(self, config: Mapping[str, object]) -> None:
        """The run begins, or goes on after it was loaded.

        Args:
            config: every option of the experiment as plain values, and besides `run_id` (the same
                after loading), `run_name` (such as "TD3-LunarLander-v3-42"), `folder` (the run's
                own, or None) and `resumed` (generations finished before).
        """

    @abstractmethod
    def log(self, generation: Generation) -> None:
        """A generation has ended."""

    def rollout(self, rollout: Rollout) -> None:  # noqa: B027  # optional
        """An episode of the elite, before the end; only where `wants_rollout`."""

    def finish(self) -> None:  # noqa: B027  # optional
        """The experiment was closed."""


def scalars(generation: Generation) -> dict[str, float]:
    """A generation as numbers by name, for trackers that draw lines.

    Agents come by rank, 0 the best: ids live for some generations only.
    """
    fitness = [e.fitness for e in generation.evaluations if math.isfinite(e.fitness)]
    values: dict[str, float] = {
        "generation": generation.number,
        "total_steps": generation.total_steps,
        "evaluation_steps": generation.evaluation_steps,
        "fitness/best": generation.fitness,
        "fitness/mean": sum(fitness) / len(fitness) if fitness else math.nan,
        "faults": len(generation.faults),
        **{f"losses/{name}": value for name, value in generation.losses.items()},
        **{f"seconds/{name}": value for name, value in generation.seconds.items()},
    }
    if generation.confirmed is not None:
        values["fitness/confirmed"] = generation.confirmed
    for rank, evaluation in enumerate(generation.evaluations):
        values[f"agent/{rank}/fitness"] = evaluation.fitness
        values[f"agent/{rank}/network_size"] = evaluation.network_size
        for name, value in {**evaluation.hyperparameters, **evaluation.extra}.items():
            values[f"agent/{rank}/{name}"] = value
    return {name: float(value) for name, value in values.items()}


def agent_rows(generation: Generation) -> list[dict[str, Any]]:
    """One row per agent: who it was, what it earned, what it was."""
    return [
        {
            "generation": e.generation,
            "agent": e.agent,
            "parent": e.parent,
            "fitness": e.fitness,
            "steps": e.steps,
            "total_steps": e.total_steps,
            "updates": e.updates,
            "hidden": "x".join(map(str, e.hidden)),
            "activation": ",".join(e.activation),
            "network_size": e.network_size,
            "is_elite": e.is_elite,
            **e.hyperparameters,
            **e.extra,
        }
        for e in generation.evaluations
    ]


def birth_rows(generation: Generation) -> list[dict[str, Any]]:
    """One row per newborn: whose child it is and what was changed in it."""
    names = ("generation", "agent", "parent", "kind", "detail", "change")
    return [{name: getattr(birth, name) for name in names} for birth in generation.births]


class FileTracker(Tracker):
    """A tracker that writes one file.

    Args:
        path: the file; None for `tracked.SUFFIX` in the run's folder, or `NAME.SUFFIX` in the working
            folder where the run has none. `name` is the suffix.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self._given = None if path is None else checks.path("path", path)
        self.path = self._given or Path()

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin the file, or cut off what a loaded run is about to do again."""
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in config["run_name"])
        own = Path(config["folder"]) / "tracked" if config["folder"] is not None else Path(safe.lstrip("."))
        self.path = self._given or own.with_name(f"{own.name}.{self.name}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.begin(config["resumed"] if self.path.exists() else 0)

    @abstractmethod
    def begin(self, resumed: int) -> None:
        """Begin the file, with what it holds of the first `resumed` generations."""
