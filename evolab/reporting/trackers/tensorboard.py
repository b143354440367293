"""TensorBoard: lines over training steps, hyperparameters as distributions, births as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.history.events import Generation
from evolab.reporting.trackers.tracker import Tracker, birth_rows, scalars


class TensorBoard(Tracker):
    """Event files for `tensorboard --logdir`; steps are the population's training steps.

    Args:
        folder: where they go; None for `tensorboard` in the run's folder, or `tensorboard/NAME`
            in the working folder where the run has none.

    Raises:
        ImportError: tensorboard is not installed.
    """

    name = "tensorboard"

    def __init__(self, folder: str | PathLike[str] | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise checks.missing("the TensorBoard tracker", "tensorboard", "tensorboard") from error
        self._kind, self._folder = SummaryWriter, folder
        self._writer: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        """Open the event file and note the configuration."""
        folder = self._folder
        if folder is None and config["folder"] is not None:
            folder = Path(config["folder"]) / "tensorboard"
        self._writer = self._kind(str(folder or Path("tensorboard") / config["run_name"]))
        self._writer.add_text("config", "```json\n" + json.dumps(dict(config), indent=1) + "\n```", 0)

    def log(self, generation: Generation) -> None:
        """Lines, distributions over the agents, and what was born."""
        import numpy as np

        step = generation.total_steps
        for name, value in scalars(generation).items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, step)
        columns: dict[str, list[float]] = {"fitness": [e.fitness for e in generation.evaluations]}
        for evaluation in generation.evaluations:
            for name, value in evaluation.hyperparameters.items():
                columns.setdefault(name, []).append(float(value))
        for name, values in columns.items():
            finite = np.array([value for value in values if math.isfinite(value)])
            if finite.size:
                self._writer.add_histogram(f"agents/{name}", finite, step)
        rows = [
            f"| {b['agent']} | {b['parent']} | {b['kind']} | {b['detail']} |" for b in birth_rows(generation)
        ]
        if rows:
            head = ["| agent | parent | kind | detail |", "|---|---|---|---|"]
            self._writer.add_text("births", "\n".join(head + rows), step)
        self._writer.flush()

    def finish(self) -> None:
        """Close the event file."""
        self._writer.close()
