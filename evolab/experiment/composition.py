"""What an experiment is composed of, and the methods of its class that lie in several files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolab.experiment.checkpointer import Checkpointer
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.runner import Runner
from evolab.reporting.trackers.trackers import Trackers
from evolab.training.state import TrainingState


class ExperimentParts:
    """Five parts: what was asked for, what is trained, what drives it, and who writes it down."""

    _config: ExperimentConfig
    _state: TrainingState
    _runner: Runner
    _trackers: Trackers
    _checkpointer: Checkpointer

    if TYPE_CHECKING:  # `Experiment` composes them

        def __init__(self, **options: object) -> None: ...
