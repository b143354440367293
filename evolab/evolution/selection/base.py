"""The contract of a selection: fitness in, the parent of every slot of the next population out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from evolab.core import checks

CHANGED = "exp.selection = dataclasses.replace(exp.selection, {name}={value})"
"""How an option of a selection is changed."""

CALLS = "ev.Experiment(env, selection={made})"
"""What to call with a selection; see `core.shown.shows_calls`."""


@dataclass(frozen=True)
class Selected:
    """Who fills the slots of the next population. A slot is a row of the new table, a row one of the old.

    Attributes:
        parents: [P], the row that each slot is copied from; fewer than there were agents where it narrows.
        elite: the slot that holds the fittest agent unchanged; None where there is none.
        survivors: slots that hold the same, unchanged individual: it keeps its id and is not mutated.
        mutated: slots that the mutations may change. Default: all but the survivors.
        hyperparameters: [P], the row whose hyperparameters each slot takes. Default: its parent's.
    """

    parents: tuple[int, ...]
    elite: int | None
    survivors: frozenset[int]
    mutated: frozenset[int] = field(default=None)  # type: ignore[arg-type]  # derived below
    hyperparameters: tuple[int, ...] = field(default=None)  # type: ignore[arg-type]  # derived below

    def __post_init__(self) -> None:
        if self.mutated is None:
            object.__setattr__(self, "mutated", frozenset(range(len(self.parents))) - self.survivors)
        if self.hyperparameters is None:
            object.__setattr__(self, "hyperparameters", self.parents)


@dataclass(frozen=True)
class Selection:
    """The base of every selection; a subclass adds its options and `choose`.

    Agents whose fitness is NaN or infinite have diverged: they never win, and where no agent
    has a finite fitness all are kept as they are.

    Attributes:
        window: an agent's fitness is the mean of its last `window` evaluations, of the same
            individual: a child starts with an empty record. See `score`.
        by: "mean" of the window, or its "best". Agents that learn quickly often fall back for a while;
            the mean, or the newest value alone, ranks them too low.
        warmup: generations at the start in which no agent is replaced. The first fitness says little about
            the later one: a high learning rate, for example, looks bad at first.
        interval: generations from one selection to the next; in those between, no agent is replaced.
    """

    window: int = field(default=1, kw_only=True)
    by: str = field(default="mean", kw_only=True)
    warmup: int = field(default=0, kw_only=True)
    interval: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        checks.positive_integer("window", self.window)
        if not isinstance(self.by, str) or self.by not in ("mean", "best"):
            raise ValueError(f"by is {self.by!r}; 'mean' or 'best' of the window is expected.")
        checks.positive_integer("warmup", self.warmup, minimum=0)
        checks.positive_integer("interval", self.interval)

    def check(self, population: int) -> None:
        """Refuse a population that this selection cannot work on, before time is spent.

        Args:
            population: the number of agents, P.

        Raises:
            ValueError: the options and the population do not fit.
        """
        checks.positive_integer("population", population)

    def select(self, fitness: np.ndarray, generator: np.random.Generator, generation: int = 1) -> Selected:
        """The parents of the next population.

        Args:
            fitness: [P], in units of return; NaN where an agent diverged.
            generator: the source of every random draw; the global one is never touched.
            generation: number of the generation that has just been evaluated, counted from 1.

        Raises:
            ValueError: `fitness` is not one number per agent, or the population does not fit.
        """
        fitness = np.asarray(fitness, dtype=np.float64)
        if fitness.ndim != 1:
            raise ValueError(
                f"fitness has shape {fitness.shape}; a selection expects (P,), one number per agent. "
                "Average over the episodes first."
            )
        self.check(len(fitness))
        finite = np.isfinite(fitness)
        if self.rests(generation) or not finite.any():
            everyone = tuple(range(len(fitness)))
            elite = int(np.nanargmax(np.where(finite, fitness, np.nan))) if finite.any() else None
            return Selected(parents=everyone, elite=elite, survivors=frozenset(everyone))
        return self.choose(np.where(finite, fitness, -np.inf), generator, generation)

    def rests(self, generation: int) -> bool:
        """True where no agent is replaced at the end of a generation, counted from 1.

        >>> [Selection(warmup=2, interval=3).rests(generation) for generation in range(1, 8)]
        [True, True, False, True, True, False, True]
        """
        return bool(self.warmup and generation <= self.warmup) or generation % self.interval != 0

    def score(self, record: Sequence[float]) -> float:
        """The value by which an agent is ranked: the mean or the best of its window; evaluations newest last.

        >>> Selection(window=3, by="best").score([9.0, 100.0, 180.0, 97.0])
        180.0
        """
        newest = np.array(record[-self.window :])
        if self.by == "mean" or not np.isfinite(newest[-1]):  # who has diverged does not live on its past
            return float(newest.mean())
        return float(newest[np.isfinite(newest)].max())

    def choose(self, fitness: np.ndarray, generator: np.random.Generator, generation: int) -> Selected:
        """What a selection decides; `select` has checked its arguments.

        Args:
            fitness: [P], minus infinity where an agent diverged, finite for one agent at least.
            generator: the source of every random draw.
            generation: counted from 1.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define choose(fitness, generator, generation)."
        )


def ranking(fitness: np.ndarray) -> np.ndarray:
    """The rows from the fittest to the least fit; equals in the order of their rows.

    >>> ranking(np.array([1.0, 3.0, 3.0])).tolist()
    [1, 2, 0]
    """
    return np.argsort(-fitness, kind="stable")


def replaced(
    bottom: Collection[int],
    top: Sequence[int],
    fitness: np.ndarray,
    inherit: float,
    generator: np.random.Generator,
) -> Selected:
    """Everyone in its own slot, but those of the bottom, which become children of the top.

    Args:
        bottom: rows that are replaced.
        top: rows that they are copied from, each drawn with equal chance.
        fitness: [P]; hyperparameters of who diverged, minus infinity, are never kept.
        inherit: chance that a child takes its parent's hyperparameters, not those that its slot had.
        generator: the source of the draws.
    """
    slots = range(len(fitness))
    parents = [int(generator.choice(top)) if row in bottom else row for row in slots]
    origins = parents
    if inherit < 1:
        origins = [
            slot if np.isfinite(fitness[slot]) and generator.random() >= inherit else row
            for slot, row in enumerate(parents)
        ]
    return Selected(
        parents=tuple(parents),
        elite=int(ranking(fitness)[0]),
        survivors=frozenset(slots) - set(bottom),
        hyperparameters=tuple(origins),
    )
