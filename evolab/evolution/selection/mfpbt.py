"""MF-PBT: subpopulations that evolve at different frequencies and exchange agents asymmetrically."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolab.core import checks
from evolab.core.readonly import frozen_options
from evolab.evolution.selection.base import CALLS, CHANGED, Selected, Selection, ranking


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class MFPBT(Selection):
    """Multiple-frequency population based training: an antidote to greedy selection.

    The population is cut into as many equal subpopulations as there are frequencies, by slot.
    Subpopulation i evolves after every `frequencies[i]` generations, and is ranked into four
    brackets: the winners and the second quarter stay; the third quarter is open to migrants; the
    losers become mutated children of the winners. A migrant is a fitter agent from another
    subpopulation. From one that evolves less often it comes whole; from one that evolves more often
    it brings its weights alone and takes the hyperparameters of the local best, because settings that
    won over a short time may be bad over a long one. Migrants are not mutated.

    An agent that diverged is open to migrants whatever its bracket.

    Attributes:
        frequencies: generations between two evolutions of each subpopulation, strictly ascending.
            The population must divide into as many parts of four agents at least.
        window, by, warmup, interval: see `Selection`.

    Source: Doulazmi et al. 2025, Multiple-Frequencies Population-Based Training, section 4.
    """

    frequencies: tuple[int, ...] = (1, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        given, frequencies = self.frequencies, checks.sizes(self.frequencies)
        if not frequencies or list(frequencies) != sorted(set(frequencies)):
            raise ValueError(
                f"frequencies is {given!r}; expected strictly ascending whole numbers such as (1, 4)."
            )
        object.__setattr__(self, "frequencies", frequencies)  # a list from YAML

    def check(self, population: int) -> None:
        """Refuse a population that does not divide into equal parts of four agents at least."""
        super().check(population)
        parts = len(self.frequencies)
        if population % parts or population < 4 * parts:
            fitting = max(4 * parts, parts * round(population / parts))
            raise ValueError(
                f"MFPBT with {parts} frequencies cannot divide a population of {population}; expected a "
                f"multiple of {parts}, at least {4 * parts}. Use population={fitting} or fewer frequencies."
            )

    def choose(self, fitness: np.ndarray, generator: np.random.Generator, generation: int) -> Selected:
        """The losers as children of their winners, the open slots as migrants, the rest as they were."""
        size = len(fitness) // len(self.frequencies)
        parents = list(range(len(fitness)))
        hyperparameters = list(parents)
        mutated: set[int] = set()
        for part, frequency in enumerate(self.frequencies):
            if generation % frequency:
                continue
            local = ranking(fitness[part * size : (part + 1) * size]) + part * size  # rows, best first
            winners, losers, open_slots = self._brackets(local, fitness)
            for slot, winner in zip(losers, np.resize(winners, len(losers)).tolist()):
                parents[slot] = hyperparameters[slot] = winner
                mutated.add(slot)
            strangers = [row for row in ranking(fitness).tolist() if row // size != part]
            for slot, migrant in zip(open_slots, strangers):
                if fitness[migrant] <= fitness[slot]:
                    break  # both lists descend: no later migrant is fitter
                parents[slot] = migrant
                faster = self.frequencies[migrant // size] < frequency
                hyperparameters[slot] = int(local[0]) if faster and winners else migrant
        slots = range(len(fitness))
        changed = {slot for slot in slots if parents[slot] != slot}
        return Selected(
            parents=tuple(parents),
            elite=int(fitness.argmax()),
            survivors=frozenset(slots) - changed,
            mutated=frozenset(mutated),
            hyperparameters=tuple(hyperparameters),
        )

    def _brackets(self, local: np.ndarray, fitness: np.ndarray) -> tuple[list[int], list[int], list[int]]:
        quarter = len(local) // 4
        winners = [row for row in local[:quarter].tolist() if np.isfinite(fitness[row])]
        losers = local[-quarter:].tolist() if winners else []
        diverged = [row for row in local.tolist() if not np.isfinite(fitness[row]) and row not in losers]
        bracket = [row for row in local[2 * quarter : 3 * quarter].tolist() if row not in diverged]
        return winners, losers, bracket + diverged
