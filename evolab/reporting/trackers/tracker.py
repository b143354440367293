"""The contract of a tracker: it is told of a run's beginning, of every generation and of its end."""

from __future__ import annotations

import math
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from evolab.core import checks

if TYPE_CHECKING:
    from evolab.experiment.experiment import Experiment
    from evolab.history.events import Generation

SHELF = {
    "csv": ("evolab.reporting.trackers.csv", "CSV"),
    "jsonl": ("evolab.reporting.trackers.jsonl", "JSONLines"),
    "tensorboard": ("evolab.reporting.trackers.tensorboard", "TensorBoard"),
    "wandb": ("evolab.reporting.trackers.wandb", "WandB"),
    "mlflow": ("evolab.reporting.trackers.mlflow", "MLflow"),
}


class Tracker(ABC):
    """Somewhere to write a run down. An error in any method is reported once and ends this tracker alone."""

    name = "tracker"

    @abstractmethod
    def start(self, config: Mapping[str, Any]) -> None:
        """The run begins, or goes on after it was loaded.

        Args:
            config: every option of the experiment as plain values, and besides `run_id` (the same
                after loading), `run_name` (such as "TD3-LunarLander-v3-42"), `folder` (the run's
                own, or None) and `resumed` (generations finished before).
        """

    @abstractmethod
    def log(self, generation: Generation) -> None:
        """A generation has ended."""

    def finish(self) -> None:
        """The experiment was closed."""
        return None


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
        values[f"agent/{rank}/parameters"] = evaluation.parameters
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
            "parameters": e.parameters,
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


class Trackers:
    """The trackers of one experiment; none of them can stop it.

    Args:
        given: names, `Tracker` objects, or one of them.

    Raises:
        ValueError: an unknown name.
        TypeError: an object without the three methods.
        ImportError: the tracker's package is missing; names the extra.
    """

    def __init__(self, given: Any = ()) -> None:
        given = [given] if isinstance(given, str) or hasattr(given, "log") else list(given or ())
        self.names = [one for one in given if isinstance(one, str)]
        self._all = [tracker_named(one) for one in given]
        self._started = False
        self.failed: dict[str, str] = {}

    def start(self, experiment: Experiment, run_id: str) -> None:
        """Tell all of them that training begins, once."""
        if self._started or not self._all:
            return
        self._started = True
        folder = experiment._keeper.folder
        about = {
            "run_id": run_id,
            "run_name": f"{experiment.algorithm.name}-{experiment.name}-{experiment._seed}",
            "folder": None if folder is None else str(folder),
            "resumed": experiment.generation,
        }
        self._each("start", {**experiment.config, **about})

    def log(self, generation: Generation) -> None:
        """Tell all of them of a generation."""
        self._each("log", generation)

    def finish(self, experiment: Experiment) -> None:
        """Tell all of them that it is over."""
        if self._started:
            for tracker in self._all:
                if getattr(tracker, "wants_rollout", False) and experiment._run.best is not None:
                    self._show(tracker, experiment)
            self._each("finish")
        self._started = False

    def _show(self, tracker: Any, experiment: Experiment) -> None:
        try:
            tracker.rollout(experiment.rollout(agent="elite"))
        except Exception as error:  # no pictures from this environment, or no environment
            say(f"the tracker {tracker.name} gets no episode to show: {error}")

    def _each(self, method: str, *arguments: Any) -> None:
        for tracker in list(self._all):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                self._all.remove(tracker)
                label = getattr(tracker, "name", type(tracker).__name__)
                self.failed[label] = f"{type(error).__name__}: {error}"
                say(
                    f"the tracker {label} failed and is left out from now on; training goes on. "
                    f"{self.failed[label]}"
                )


def say(message: str) -> None:
    """Warn without stopping: where warnings are errors, the words go to the standard error output."""
    try:
        warnings.warn(message, stacklevel=3)
    except Warning:
        print(message, file=sys.stderr)


def tracker_named(tracker: Any) -> Any:
    """The tracker that a name or an object stands for."""
    if isinstance(tracker, str):
        if tracker not in SHELF:
            raise checks.unknown("tracker", tracker, SHELF)
        module, kind = SHELF[tracker]
        return getattr(import_module(module), kind)()
    if isinstance(tracker, type):
        tracker = tracker()
    for method in ("start", "log", "finish"):
        if not callable(getattr(tracker, method, None)):
            raise TypeError(
                f"tracker {tracker!r} has no method {method}(); see evolab.reporting.trackers.tracker.Tracker."
            )
    return tracker
