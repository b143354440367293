"""Random play: what a run begins with, and what it comes back to while its returns stand still.

Where a reward is rare and nobody has met it, all policies earn the same, and what they explore fades before there
was anything to learn; where idling is the best that anybody has found, those who explore are the first to go. As
long as that lasts, half of the episodes that explore are random from the beginning, in half of their steps or in
all, and half from some step on: the policy goes first. Where returns rise that is so in a third of them, and the
others are the policy's own.

Random play from the beginning seldom comes far. By it alone four of some 165 episodes of LunarLanderContinuous-v3
landed, in 62 870 steps: a policy that hovers brings it to where a fall is no crash.

A state that is hundreds of steps away is met by what lasts for some steps, and by what is new to the policy: its
own actions alternate with random ones, and a random action is held for a while. How long suits a task is not
known, so it differs by factors. Of 60 random episodes 55 met the goal of MountainCarContinuous-v0, where actions
of 4 steps in the mean met it in 29; 7 met that of MountainCar-v0, where those of 4 steps never did.

Source: Dabney et al. 2021, Temporally-extended epsilon-greedy exploration (arXiv:2006.01782), whose durations are
heavy-tailed; Ecoffet et al. 2021, First return, then explore (arXiv:2004.12919), for random play from where a policy
has come.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.flags import as_flags
from evolab.core.masks import permits
from evolab.history.history import History
from evolab.population.population import Population

ASTRAY = 0.5
"""Share of random steps in half of the episodes that are random from the beginning; all are random in the others."""

LATE = 0.5, 1 / 3
"""Share of the episodes that explore in which the policy goes first: while returns stand still, and while they rise.

Agents that learned to hover better and better were never random again: 0 of 69 episodes of LunarLanderContinuous-v3
landed where only those of returns that stood still were (seed 101), and 25 of 111 where a third always were.
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
        still: returns stand still.
        horizon: steps of each environment in this generation: the policy goes first for a part of them, uniform.

    Attributes:
        share: [P, E], of the steps of each running episode that are random in `stray`, from the one on with which its
            random play begins; None before its first call.
    """

    def __init__(
        self,
        population: Population,
        num_envs: int,
        stream: np.random.Generator,
        still: bool = True,
        horizon: int = 0,
    ) -> None:
        self._population, self._stream = population, stream
        self._still, self._horizon = still, horizon
        searched = "persistence" in population.table.spec.search_space
        self._lasts = searched or any(
            one.hyperparameters.get("persistence", 1) > 1 for one in population.individuals
        )
        self._left = np.zeros((len(population), num_envs), dtype=np.int64)
        self._astray = self._left > 0
        self._age, self._begins = np.zeros_like(self._left), np.zeros_like(self._left)
        self.share: np.ndarray | None = None
        self._last: np.ndarray | None = None

    def act(
        self,
        observation: object = None,
        ended: ArrayLike | Tensor | None = None,
        mask: np.ndarray | Tensor | None = None,
    ) -> np.ndarray:
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
                new = new | ~permits(self._population.action_space, as_flags(mask), self._last)
            drawn = np.where(_over(new, drawn), drawn, self._last)
        self._last = drawn
        return drawn

    def stray(
        self,
        action: np.ndarray | Tensor,
        exploring: np.ndarray,
        ended: np.ndarray | Tensor | None,
        mask: np.ndarray | Tensor | None = None,
    ) -> np.ndarray | Tensor:
        """A policy's actions, with random ones in some or all of an episode, where environments explore [P, E]."""
        new, fresh = self._due(ended), np.zeros(self._left.shape, dtype=bool)
        if self.share is None:  # not in `act` alone, whose stream is that of the space
            self.share, fresh = np.zeros(self._left.shape), ~fresh
        elif ended is not None:
            fresh = as_flags(ended)
        if fresh.any():
            share, begins = self._drawn_episodes()
            self.share = np.where(fresh, share, self.share)
            self._begins = np.where(fresh, begins, self._begins)
        self._age = np.where(fresh, 0, self._age + 1)
        self._astray = np.where(new, self._stream.random(new.shape) < self.share, self._astray)
        drawn = self.act(None, ended, mask)
        random = self._astray & (self._age >= self._begins) & exploring
        if isinstance(action, Tensor):  # where the environments live on a device
            other = torch.as_tensor(drawn, device=action.device)
            return torch.where(
                torch.as_tensor(_over(random, drawn), device=action.device), other.to(action), action
            )
        return np.where(_over(random, drawn), drawn, action)

    def _due(self, ended: ArrayLike | Tensor | None) -> np.ndarray:
        """[P, E], True where another stretch begins."""
        new = self._left <= 0
        return new if ended is None else new | as_flags(ended)

    def _drawn_episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """[P, E] each, of episodes that begin: the share of random steps, and the step from which on they may come."""
        shape, stream = self._left.shape, self._stream
        late = stream.random(shape) < LATE[0 if self._still else 1]
        early = np.where(stream.random(shape) < 0.5, ASTRAY, 1.0) if self._still else np.zeros(shape)
        begins = (stream.random(shape) * self._horizon).astype(np.int64)
        return np.where(late, 1.0, early), np.where(late, begins, 0)

    def _lengths(self) -> np.ndarray:
        """[P, E], of stretches: log-uniform from 1 to `LONGEST`."""
        return np.exp(self._stream.random(self._left.shape) * math.log(LONGEST)).astype(np.int64)


def _over(flags: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """[P, E] with an axis for each further one of the actions."""
    return flags.reshape(*flags.shape, *[1] * (actions.ndim - 2))
