"""Tournament: each slot of the next population goes to the best of a few agents drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolab.core import checks
from evolab.core.readonly import frozen_options
from evolab.evolution.selection.base import CALLS, CHANGED, Selected, Selection


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class Tournament(Selection):
    """`size` draws with replacement for each slot, and the fittest of them becomes the parent.

    A larger tournament selects harder: at size 1 parents are drawn at random; at size 2 the best of
    four agents wins 7 of 16 draws and the worst 1 of 16.

    Attributes:
        size: draws for each slot; 1 <= size <= population.
        elitism: True if the fittest of all survives unchanged, in slot 0.
        window, by, warmup, interval: see `Selection`.

    >>> Tournament(size=2).select(np.array([1.0, 5.0]), np.random.default_rng(0)).parents[0]
    1
    """

    size: int = 2
    elitism: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_integer("size", self.size)

    def check(self, population: int) -> None:
        """Refuse a tournament that is larger than the population."""
        super().check(population)
        if self.size > population:
            raise ValueError(
                f"Tournament(size={self.size}) is larger than the population of {population}; "
                f"expected size <= {population}. Draw fewer or raise the population."
            )

    def choose(self, fitness: np.ndarray, generator: np.random.Generator, generation: int) -> Selected:
        """The winners of P tournaments, or of P - 1 beside the elite."""
        entrants = np.flatnonzero(np.isfinite(fitness))  # a diverged agent could win against itself
        slots = len(fitness) - int(self.elitism)
        drawn = entrants[generator.integers(len(entrants), size=(slots, self.size))]  # [slots, size]
        winners = drawn[np.arange(slots), fitness[drawn].argmax(1)]
        if not self.elitism:
            return Selected(parents=tuple(winners.tolist()), elite=None, survivors=frozenset())
        best = int(fitness.argmax())
        return Selected(parents=(best, *winners.tolist()), elite=0, survivors=frozenset({0}))
