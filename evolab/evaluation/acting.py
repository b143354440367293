"""Fitness for nothing: what agents earn while they learn is the evidence.

Episodes that serve evaluation alone cost a wide population most of its steps. Here some of the training episodes
are played without exploration: they are experience as others are, and tell the agents apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from evolab.core.experience import Transition
from evolab.data.buffers.base import Buffer
from evolab.evaluation.episodes import healthy
from evolab.evaluation.fitness import Fitness
from evolab.population.individual import Individual
from evolab.population.population import Population


class TrainingEpisodes:
    """The training episodes of a generation: which of them explore, and what the others earned.

    The first environment of an agent plays greedily, the others explore. An agent's only environment does
    the one and the other in turns, half of the agents this way round and half that way.

    Attributes:
        exploring: [P, E], True where the episode under way explores; True for all where none may be greedy.
        returns: of each agent's greedy episodes that came to an end, in the order in which they did; of all its
            episodes where none may be greedy.
        lengths: of the same, in environment steps.
        known: by id, mean return and mean length of an agent's newest greedy episodes.
    """

    def __init__(self) -> None:
        self.exploring: bool | np.ndarray = True
        self.returns: list[list[float]] = []
        self.lengths: list[list[int]] = []
        self.known: dict[int, tuple[float, float]] = {}
        self._ids: list[int] = []
        self._sum, self._steps = np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64)
        self._ended = np.zeros(0, dtype=np.int64)

    def begin(self, individuals: Sequence[Individual], num_envs: int, number: int, greedy: bool) -> None:
        """Begin a generation, whose episodes all begin with it.

        Args:
            individuals: the agents, in the order of their rows.
            num_envs: E.
            number: of the generation.
            greedy: play some of the episodes greedily.
        """
        self._ids = [one.id for one in individuals]
        self.returns = [[] for _ in individuals]
        self.lengths = [[] for _ in individuals]
        self._ended = np.zeros(len(individuals), dtype=np.int64)
        self._sum = np.zeros((len(individuals), num_envs))
        self._steps = np.zeros((len(individuals), num_envs), dtype=np.int64)
        self.exploring = True
        if greedy:
            self.exploring = np.ones((len(individuals), num_envs), dtype=bool)
            self.exploring[:, 0] = False
            if num_envs == 1:
                self.exploring[:, 0] = [(one.slot + number) % 2 == 0 for one in individuals]

    def add(self, transition: Transition) -> None:
        """Count one step of all environments; an episode that a fault broke off counts for nothing."""
        valid = np.asarray(transition.valid)
        self._sum = np.where(valid, self._sum + np.asarray(transition.reward), 0.0)
        self._steps = np.where(valid, self._steps + 1, 0)
        ended = valid & (np.asarray(transition.terminated) | np.asarray(transition.truncated))
        if not ended.any():
            return
        self._ended += ended.sum(1)
        for row, env in np.argwhere(ended).tolist():
            if self.exploring is True or not self.exploring[row, env]:  # type: ignore[index]
                self.returns[row].append(float(self._sum[row, env]))
                self.lengths[row].append(int(self._steps[row, env]))
        self._sum[ended], self._steps[ended] = 0.0, 0
        if isinstance(self.exploring, np.ndarray) and self.exploring.shape[1] == 1:
            self.exploring = self.exploring ^ ended

    @property
    def tell_of_all(self) -> bool:
        """True where every agent has ended an episode, and something is known of each."""
        return bool(self._ended.all()) and all(
            found or id in self.known for found, id in zip(self.returns, self._ids, strict=True)
        )

    def ended(self, row: int) -> bool:
        """True where an agent has brought an episode of the generation to an end."""
        return bool(self._ended[row])

    def end(self) -> list[tuple[float, float]]:
        """End a generation: mean return and length of each agent's newest greedy episodes.

        An agent that has never ended one has the return of those under way; NaN where it took no step.
        """
        found = {id: self.known[id] for id in self._ids if id in self.known}
        for row, id in enumerate(self._ids):
            if self.returns[row]:
                found[id] = float(np.mean(self.returns[row])), float(np.mean(self.lengths[row]))
            elif id not in found:
                begun = self._steps[row] > 0
                if begun.any():
                    found[id] = float(self._sum[row][begun].mean()), float(self._steps[row][begun].mean())
        self.known = found
        return [found.get(id, (float("nan"), 0.0)) for id in self._ids]


class Acting(Fitness):
    """Mean undiscounted return of the greedy episodes that an agent played while it learned.

    They are those of the generation, or of an earlier one where the agent ended none in it. Algorithms that learn
    from their own policy's actions alone are told apart by their exploring episodes.

    Args:
        episodes: of the generation.

    Source: Franke et al. 2021, Sample-efficient automated deep reinforcement learning (SEARL), whose
    evaluation episodes are the experience that everybody learns from.
    """

    by_returns = True
    by_acting = True

    def __init__(self, episodes: TrainingEpisodes) -> None:
        self._played = episodes

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """What they earned; see `Fitness.estimate`."""
        found = self._played.end()
        lengths = self._played.lengths
        self.lengths = np.zeros((len(population), max(1, *map(len, lengths))), dtype=np.int64)
        for row, own in enumerate(lengths):
            self.lengths[row, : len(own)] = own
            if not own:
                self.lengths[row, 0] = round(found[row][1])
        yield np.where(healthy(population), [mean for mean, _ in found], np.nan)

    def take_state(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What is known of the agents."""
        return {"known": {str(id): list(pair) for id, pair in self._played.known.items()}}, {}

    def put_state(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Know it again."""
        self._played.known = {int(id): (pair[0], pair[1]) for id, pair in state.get("known", {}).items()}
