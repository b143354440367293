"""Narrowing: wide, then deep. A large first population is halved again and again; then the fittest have children."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evolab.core import checks
from evolab.core.readonly import frozen_options
from evolab.evolution.selection.base import CALLS, CHANGED, Selected, Selection, ranking
from evolab.evolution.selection.tournament import Tournament


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class Narrowing(Selection):
    """The worse half of the agents is dropped every few generations, until few are left; these evolve by a tournament.

    A good draw of the hyperparameters matters more than any change of a bad one, and few draws are good. So the
    search begins with many agents. Until few are left, no agent is mutated or replaced; where all have the same
    fitness, none is at any time: by chance alone one would soon be the ancestor of all. A generation of few agents
    takes fewer steps.

    Args:
        size: agents that are left in the end.
        every: generations between two halvings.
        tournament: draws for each slot afterwards.
        window, by, warmup, interval: see `Selection`.

    Source: Karnin et al. 2013, Almost optimal exploration in multi-armed bandits (successive halving); here
    with one buffer, from which all agents learn.

    >>> Narrowing(size=2).select(np.array([1.0, 5.0, 2.0, 3.0]), np.random.default_rng(0), generation=2).parents
    (1, 3)
    """

    size: int = 4
    every: int = 2
    tournament: int = 2
    window: int = field(default=2, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("size", "every", "tournament"):
            checks.positive_integer(name, getattr(self, name))

    def choose(self, fitness: np.ndarray, generator: np.random.Generator, generation: int) -> Selected:
        """The better half, everybody, or the winners of a tournament."""
        agents, everyone = len(fitness), tuple(range(len(fitness)))
        if agents > self.size:
            waits = generation % self.every != 0 or fitness.max() <= np.median(fitness)
        else:
            waits = agents > 1 and fitness.max() == fitness.min()
        if waits:
            return Selected(everyone, int(fitness.argmax()), frozenset(everyone))
        if agents <= self.size:
            return Tournament(min(self.tournament, agents)).choose(fitness, generator, generation)
        left = ranking(fitness)[: max(self.size, agents // 2)]
        kept = tuple(sorted(left.tolist()))
        return Selected(kept, kept.index(int(left[0])), frozenset(range(len(kept))))
