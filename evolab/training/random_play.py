"""Random play: what a run begins with, and what it comes back to while its returns stand still.

Where a reward is rare and nobody has met it, all policies earn the same, and what they explore fades before there
was anything to learn; where idling is the best that anybody has found, those who explore are the first to go. As
long as that lasts, environments that explore play at random: in half of their steps, or throughout an episode.

A state that is hundreds of steps away is met by what lasts for some steps, and by what is new to the policy: its
own actions alternate with random ones, and a random action is held for a while. How long suits a task is not
known, so it differs by factors. Of 60 random episodes 55 met the goal of MountainCarContinuous-v0, where actions
of 4 steps in the mean met it in 29; 7 met that of MountainCar-v0, where those of 4 steps never did.

Source: Dabney et al. 2021, Temporally-extended epsilon-greedy exploration (arXiv:2006.01782), whose durations are
heavy-tailed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from evolab.core.masks import permits
from evolab.history.history import History
from evolab.population.population import Population

ASTRAY = 0.5
"""Share of random steps in half of the episodes that explore, while returns stand still; all are random in the others.

MountainCarContinuous-v0 was solved after 11 481, 12 533 and 8 437 steps so, and with half of the steps in all
episodes after 19 564 and 20 350 (seeds 100, 103 and 102; 100 and 102), while the defaults were being found.
"""

LONGEST = 64
"""Steps that a random action is held at most; lengths are log-uniform."""

PROGRESS = 0.05
"""Share of the range of all fitness so far by which a record has to rise."""

RECENT = 2
"""Newest generations in which it has to rise; the last alone where there are but two."""


def stands_still(history: History) -> bool:
    """True until a record has risen, and again where the newest generations brought no better agent than those before.

    A run begins so: the first hit on the goal of MountainCarContinuous-v0 came after 9 379 and 5 858 steps, and where
    two generations were waited for after 15 817 (seeds 100 and 101; the latter 100 alone).
    """
    found = [[one.fitness for one in generation.evaluations] for generation in history.generations]
    best = [max((value for value in values if math.isfinite(value)), default=-math.inf) for values in found]
    finite = [value for values in found for value in values if math.isfinite(value)]
    recent = min(RECENT, len(best) - 1)
    if recent < 1 or not finite:
        return True
    return max(best[-recent:]) <= max(best[:-recent]) + PROGRESS * (max(finite) - min(finite))


class RandomPlay:
    """Random actions of all agents, each held for a while; for a step where exploration neither does nor may persist.

    Args:
        population: whose actions they are.
        num_envs: E, environments of each agent.
        stream: what they are drawn from.

    Attributes:
        share: [P, E], of the steps of each running episode that are random in `stray`; None before its first call.
    """

    def __init__(self, population: Population, num_envs: int, stream: np.random.Generator) -> None:
        self._population, self._stream = population, stream
        searched = "persistence" in population.table.spec.search_space
        self._lasts = searched or any(
            one.hyperparameters.get("persistence", 1) > 1 for one in population.individuals
        )
        self._left = np.zeros((len(population), num_envs), dtype=np.int64)
        self._astray = self._left > 0
        self.share: np.ndarray | None = None
        self._last: np.ndarray | None = None

    def act(self, observation: Any = None, ended: Any = None, mask: np.ndarray | None = None) -> np.ndarray:
        """[P, E, ...], uniform in the environment's own range; new where an episode has ended, [P, E].

        Also where a mask, [P, E, W], does not permit any more what is being held.
        """
        drawn = self._population.random_actions(self._left.shape[1], self._stream, mask)
        if not self._lasts:
            return drawn
        new = self._due(ended)
        self._left = np.where(new, self._lengths(), self._left) - 1
        if self._last is not None:
            if mask is not None:
                new = new | ~permits(self._population.action_space, mask, self._last)
            drawn = np.where(_over(new, drawn), drawn, self._last)
        self._last = drawn
        return drawn

    def stray(
        self, action: Any, exploring: np.ndarray, ended: Any, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """A policy's actions, with random ones in half or all of an episode, where environments explore [P, E]."""
        new = self._due(ended)
        if self.share is None:  # not in `act` alone, whose stream is that of the space
            self.share = self._drawn_shares()
        elif ended is not None:
            self.share = np.where(ended, self._drawn_shares(), self.share)
        self._astray = np.where(new, self._stream.random(new.shape) < self.share, self._astray)
        drawn = self.act(None, ended, mask)
        return np.where(_over(self._astray & exploring, drawn), drawn, action)

    def _due(self, ended: Any) -> np.ndarray:
        """[P, E], True where another stretch begins."""
        new = self._left <= 0
        return new if ended is None else new | np.asarray(ended)

    def _drawn_shares(self) -> np.ndarray:
        return np.where(self._stream.random(self._left.shape) < 0.5, ASTRAY, 1.0)

    def _lengths(self) -> np.ndarray:
        """[P, E], of stretches: log-uniform from 1 to `LONGEST`."""
        return np.exp(self._stream.random(self._left.shape) * math.log(LONGEST)).astype(np.int64)


def _over(flags: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """[P, E] with an axis for each further one of the actions."""
    return flags.reshape(*flags.shape, *[1] * (actions.ndim - 2))
