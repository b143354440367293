"""Certificate: what settings are worth on many seeds, each alone with its own data, with the interval of that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evolab.core import checks
from evolab.core.plain_values import plain
from evolab.core.version import VERSION
from evolab.history.display import count, html_table, number
from evolab.storage.files import replace_bytes

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RESAMPLES = 10_000
"""Draws of the bootstrap."""


class Steps(NamedTuple):
    """Environment steps of all seeds together.

    Attributes:
        training: updates where the agents learned from recorded data.
        evaluation: of the episodes behind the certificate.
    """

    training: int
    evaluation: int

    @property
    def total(self) -> int:
        """Both."""
        return self.training + self.evaluation


def iqm(values: np.ndarray) -> np.ndarray | float:
    """Interquartile mean over the last axis: the mean without the lowest and the highest quarter.

    Of N values floor(N / 4) are left out at each end. NaN, an agent that diverged, counts as lowest of all.

    Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice.

    >>> float(iqm(np.array([1.0, 2.0, 3.0, 100.0])))
    2.5
    """
    ordered = np.sort(np.where(np.isnan(values), -np.inf, values), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)  # type: ignore[no-any-return]


def bootstrap(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of the interquartile mean; always the same for the same values.

    Args:
        values: [N], one per seed; NaN counts as lowest of all.
        level: share of the resampled means that lie within.

    Returns:
        The lower and the upper end; NaN where one value has nothing to be compared with.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    index = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    means = np.sort(iqm(values[index]))
    # Of the sorted means themselves, not between two of them: an infinite one would make NaN.
    ends = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return float(ends[0]), float(ends[1])


@dataclass(frozen=True, eq=False)
class Certificate:
    """What settings are worth on seeds of their own; shows itself as a figure in a notebook.

    Attributes:
        environment: that they were trained in.
        algorithm: by which.
        offline: they learned from recorded data: steps of training are updates.
        returns: [seeds, episodes], undiscounted, of fresh episodes of each seed's final greedy policy; NaN where
            a seed diverged or the environment failed.
        steps: of all seeds, training and evaluation apart.
        updates: of each seed's agent.
        target: mean return that is looked for; None for none.
        settings: what was in force until which step of a seed, in order.
        network: where the architecture started, as plain values.
        seed: that the seeds follow from.
        seconds: that it took.
        faults: failures of environments that were survived.
    """

    environment: str
    algorithm: str
    returns: np.ndarray
    steps: Steps
    offline: bool = False
    updates: int = 0
    target: float | None = None
    settings: Sequence[Mapping[str, Any]] = ()
    network: Any = None
    seed: int = 0
    seconds: float = field(default=0.0, repr=False)
    faults: int = 0

    @cached_property
    def per_seed(self) -> np.ndarray:
        """[seeds], the mean return of each; NaN where it diverged."""
        counts = np.isfinite(self.returns).sum(1)
        return np.where(counts > 0, np.nansum(self.returns, 1) / np.maximum(counts, 1), np.nan)

    @property
    def mean(self) -> float:
        """Interquartile mean over the seeds; minus infinity where more than a quarter diverged."""
        return float(iqm(self.per_seed))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95% interval of `mean` by the bootstrap over seeds; NaN for a single seed."""
        return bootstrap(self.per_seed)

    @property
    def reached(self) -> float | None:
        """Share of the seeds whose mean return reaches the target; None without one."""
        return None if self.target is None else float(np.mean(self.per_seed >= self.target))

    def rows(self) -> list[tuple[str, str]]:
        """What there is to say, as (name, words)."""
        seeds, episodes = self.returns.shape
        finite = self.per_seed[np.isfinite(self.per_seed)]
        low, high = self.interval
        between = f" [{number(low)}, {number(high)}]" if seeds > 1 else "; one seed has no interval"
        found = [("interquartile mean, 95%", number(self.mean) + between)]
        if len(finite):
            spread = (finite.min(), np.median(finite), finite.max())
            found.append(("worst, median, best seed", ", ".join(map(number, spread))))
        if self.reached is not None:
            there = round(self.reached * seeds)
            found.append((f"reach the target of {number(self.target)}", f"{there} of {seeds} seeds"))
        if len(finite) < seeds:
            found.append(("diverged", f"{seeds - len(finite)} of {seeds} seeds"))
        each = count(self.steps.training // seeds)
        unit = "updates" if self.offline else "training steps"
        found.append((unit, f"{count(self.steps.training)}, {each} of each seed"))
        found.append(
            ("evaluation steps", f"{count(self.steps.evaluation)}, {episodes} episodes of each seed")
        )
        if self.faults:
            found.append(("failures of environments", f"{self.faults}, survived"))
        return found

    def _title(self) -> str:
        return f"{self.algorithm} on {self.environment}: {len(self.returns)} seeds, each with data of its own"

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        lines = [f"  {name.ljust(width)}  {words}" for name, words in self.rows()]
        return "\n".join([f"Certificate({self._title()})", *lines, "  .figure(), .save('certificate.json')"])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        html = html_table(("", ""), self.rows(), ("", ""), self._title())
        return {"text/html": html, **self.figure()._repr_mimebundle_(), "text/plain": repr(self)}

    def figure(self) -> Figure:
        """A plotly figure: a dot per seed, the interquartile mean with its interval, the target."""
        from evolab.reporting.figures.certificate import figure

        return figure(self.per_seed, self.mean, self.interval, self.target, self._title())

    def to_plain(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts; NaN as "NaN"."""
        seeds, episodes = self.returns.shape
        return dict(
            plain(
                {
                    "evolab": VERSION,
                    "environment": self.environment,
                    "algorithm": self.algorithm,
                    "offline": self.offline,
                    "seeds": seeds,
                    "episodes": episodes,
                    "mean": self.mean,
                    "interval": self.interval,
                    "target": self.target,
                    "reached": self.reached,
                    "steps": {**self.steps._asdict(), "total": self.steps.total},
                    "updates": self.updates,
                    "per_seed": self.per_seed.tolist(),
                    "returns": self.returns.tolist(),
                    "settings": list(self.settings),
                    "network": self.network,
                    "seed": self.seed,
                    "seconds": round(self.seconds, 2),
                    "faults": self.faults,
                }
            )
        )

    def save(self, path: str | PathLike[str] = "certificate.json") -> Path:
        """Write everything as JSON; what was there is replaced at once.

        Raises:
            OSError: the folder is not there or read-only, or the disk is full.
        """
        path = checks.path("path", path)
        text = json.dumps(self.to_plain(), allow_nan=False, ensure_ascii=False, indent=1) + "\n"
        replace_bytes(path, text.encode())
        return path
