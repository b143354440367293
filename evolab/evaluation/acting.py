"""Fitness for nothing: what agents earn while they learn is the evidence.

Episodes that serve evaluation alone cost a wide population most of its steps. Here whole training episodes,
exploration included, tell the agents apart; greedy ones are left to whoever promises a record.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evolab.core.experience import Transition
from evolab.data.buffers.base import Buffer
from evolab.evaluation.episodes import healthy
from evolab.evaluation.fitness import Fitness
from evolab.population.population import Population


class TrainingEpisodes:
    """Returns and lengths of the training episodes of a generation, agent by agent.

    Attributes:
        returns: of each agent's episodes that came to an end, in the order in which they did.
        lengths: of the same, in environment steps.
    """

    def __init__(self) -> None:
        self.returns: list[list[float]] = []
        self.lengths: list[list[int]] = []
        self._sum, self._steps = np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64)

    def begin(self, population: int, num_envs: int) -> None:
        """Begin a generation, whose episodes all begin with it."""
        self.returns, self.lengths = ([[] for _ in range(population)] for _ in range(2))
        self._sum = np.zeros((population, num_envs))
        self._steps = np.zeros((population, num_envs), dtype=np.int64)

    def add(self, transition: Transition) -> None:
        """Count one step of all environments; an episode that a fault broke off counts for nothing."""
        valid = np.asarray(transition.valid)
        self._sum = np.where(valid, self._sum + np.asarray(transition.reward), 0.0)
        self._steps = np.where(valid, self._steps + 1, 0)
        ended = valid & (np.asarray(transition.terminated) | np.asarray(transition.truncated))
        for row, env in np.argwhere(ended).tolist():
            self.returns[row].append(float(self._sum[row, env]))
            self.lengths[row].append(int(self._steps[row, env]))
        self._sum[ended], self._steps[ended] = 0.0, 0

    @property
    def fewest(self) -> int:
        """Episodes that every agent has brought to an end."""
        return min(map(len, self.returns), default=0)

    def of(self, row: int) -> tuple[list[float], list[int]]:
        """Returns and lengths of an agent; of the episodes under way where none has ended yet."""
        if self.returns[row]:
            return self.returns[row], self.lengths[row]
        begun = self._steps[row] > 0
        return self._sum[row][begun].tolist(), self._steps[row][begun].tolist()


class Acting(Fitness):
    """Mean undiscounted return of the training episodes that an agent brought to an end in a generation.

    Exploration lowers it for all of them alike. An agent without such an episode has the return of those under way.

    Args:
        episodes: of the generation.

    Source: Franke et al. 2021, Sample-efficient automated deep reinforcement learning (SEARL), whose agents'
    own episodes are evaluation and experience in one.
    """

    by_returns = True
    by_acting = True

    def __init__(self, episodes: TrainingEpisodes) -> None:
        self._played = episodes

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """What they earned; see `Fitness.estimate`."""
        played = [self._played.of(row) for row in range(len(population))]
        most = max(len(lengths) for _, lengths in played)
        self.lengths = np.zeros((len(population), max(most, 1)), dtype=np.int64)
        for row, (_, lengths) in enumerate(played):
            self.lengths[row, : len(lengths)] = lengths
        means = np.array([np.mean(returns) if returns else np.nan for returns, _ in played])
        yield np.where(healthy(population), means, np.nan)
