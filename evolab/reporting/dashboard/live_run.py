"""What a view may read of a run, and the few things that its buttons may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from evolab.evolution.mutation.mutations import Mutations
from evolab.history.events import Progress
from evolab.history.history import History
from evolab.reporting.rollout import Rollout


class ShownAlgorithm(Protocol):
    """What a view says of an algorithm."""

    @property
    def name(self) -> str:
        """What readers call it."""

    @property
    def offline(self) -> bool:
        """True if it learns from recorded data, so that a run counts updates."""


class LiveRun(Protocol):
    """A run that can be watched and steered; an `Experiment` is one.

    Attributes:
        target: mean return that is aimed at; None for none.
        mutations: rates in force; a view may set others, which hold from the next generation on.
    """

    target: float | None
    mutations: Mutations

    @property
    def name(self) -> str:
        """The environment's id, or what stands for it."""

    @property
    def algorithm(self) -> ShownAlgorithm:
        """What the agents learn by."""

    @property
    def kept(self) -> Path | None:
        """The folder that the run is in; None for none."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Every option as plain values."""

    @property
    def history(self) -> History:
        """Every finished generation."""

    @property
    def confirmed(self) -> tuple[float, int | None] | None:
        """Mean return of the elite over fresh episodes, and how many, where that is known; None before there were any."""

    @property
    def solved(self) -> bool:
        """True where the elite averages the target."""

    @property
    def generation(self) -> int:
        """Finished generations."""

    @property
    def total_steps(self) -> int:
        """Training steps of all agents."""

    @property
    def evaluation_steps(self) -> int:
        """Environment steps of evaluation."""

    @property
    def status(self) -> str:
        """What the run is doing: "idle", "running", "pausing", "paused", "stopping", "stopped" or "failed"."""

    @property
    def version(self) -> int:
        """Grows with every change that a view may want to show."""

    @property
    def progress(self) -> Progress | None:
        """How far the current phase is; None before the first."""

    @property
    def error(self) -> BaseException | None:
        """What ended the background thread; None where nothing did."""

    def start(self, generations: int | None = None) -> None:
        """Train on a background thread."""

    def pause(self) -> None:
        """Stop at the next step of the environments."""

    def stop(self) -> None:
        """As `pause`, for good."""

    def rollout(self, episodes: int = 1, *, agent: str | int = "best") -> Rollout:
        """Play episodes and keep the pictures."""
