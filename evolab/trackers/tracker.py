"""The contract of a tracker: it is told of a run's beginning, of every generation and of its end."""

from __future__ import annotations

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab import checks

if TYPE_CHECKING:
    from evolab.events import Generation
    from evolab.experiment import Experiment

SHELF = {
    "csv": ("evolab.trackers.csv", "CSV"),
    "jsonl": ("evolab.trackers.jsonl", "JSONLines"),
    "tensorboard": ("evolab.trackers.tensorboard", "TensorBoard"),
    "wandb": ("evolab.trackers.wandb", "WandB"),
    "mlflow": ("evolab.trackers.mlflow", "MLflow"),
}


@dataclass(frozen=True)
class Told:
    """What a tracker may know of a run when it starts.

    Attributes:
        run: id of the run; the same after it was loaded from a checkpoint.
        name: what to call it, such as "TD3-LunarLander-v3-42".
        config: every option as plain values.
        folder: the run's own folder; None where it has none.
        resumed: generations finished before.
    """

    run: str
    name: str
    config: Mapping[str, Any]
    folder: Path | None
    resumed: int


class Tracker(ABC):
    """Somewhere to write a run down. An error in any method is reported once and ends this tracker alone."""

    name = "tracker"

    @abstractmethod
    def start(self, run: Told) -> None:
        """The run begins, or goes on after a pause of the process."""

    @abstractmethod
    def log(self, generation: Generation) -> None:
        """A generation has ended."""

    def finish(self) -> None:
        """The experiment was closed."""
        return None


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
        name = f"{experiment.algorithm.name}-{experiment.name}-{experiment._seed}"
        folder = experiment._keeper.folder
        told = Told(run_id, name, experiment.config, folder, experiment.generation)
        self._each("start", told)

    def log(self, generation: Generation) -> None:
        """Tell all of them of a generation."""
        self._each("log", generation)

    def finish(self) -> None:
        """Tell all of them that it is over."""
        if self._started:
            self._each("finish")
        self._started = False

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
                f"tracker {tracker!r} has no method {method}(); see evolab.trackers.tracker.Tracker."
            )
    return tracker
