"""Fitness for nothing: what agents earn while they learn tells them apart.

Episodes that serve evaluation alone cost a wide population most of its steps. Here some of the training episodes
are played without exploration: they are experience as others are, and their returns are the fitness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from evolab.core.experience import Transition
from evolab.core.flags import as_flags, as_numbers
from evolab.core.schema import whole
from evolab.data.buffers.base import Buffer
from evolab.envs.metrics import means_by_name
from evolab.evaluation.episodes import healthy
from evolab.evaluation.fitness import Fitness
from evolab.population.population import Population

ENOUGH = 3
"""Greedy episodes of a generation with which half of its steps would do."""


class TrainingEpisodes:
    """The training episodes of a generation: which of them explore, and what the others earned.

    The first of an agent's environments plays greedily, the others explore. An agent with a single one explores in
    it. All begin with the generation; where half of the agents end no episode in it, the next one is twice as long.

    Attributes:
        exploring: [P, E], True where episodes explore; True for all where none is greedy.
        returns: of each agent's greedy episodes that came to an end, in the order in which they did; of all its
            episodes where none is greedy.
        lengths: of the same, in environment steps.
        metrics: of the same, the numbers in the last `info` of each, by name.
        discounted: of the same, discounted returns.
        horizon: steps of each environment that the next generation takes at least, so that episodes end in it.
    """

    def __init__(self) -> None:
        self.exploring: bool | np.ndarray = True
        self.returns: list[list[float]] = []
        self.lengths: list[list[int]] = []
        self.metrics: list[dict[str, list[float]]] = []
        self.discounted: list[list[float]] = []
        self.horizon = 0
        self._taken = 0
        self._sum, self._steps = np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64)
        self._worth, self._weight, self._discount = np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 1))

    def last_at_least(self, horizon: int) -> None:
        """Have the next generation take so many steps of each environment at least."""
        self.horizon = horizon

    def begin(
        self, agents: int, num_envs: int, greedy: bool, discount: Sequence[float] | None = None
    ) -> None:
        """Begin a generation, whose episodes all begin with it.

        Args:
            agents: P.
            num_envs: E.
            greedy: play some of the episodes greedily, where E allows it.
            discount: [P], the weight of the next step's reward; 1 by default.
        """
        self.returns = [[] for _ in range(agents)]
        self.discounted = [[] for _ in range(agents)]
        self.lengths = [[] for _ in range(agents)]
        self.metrics = [{} for _ in range(agents)]
        self._taken = 0
        self._sum = np.zeros((agents, num_envs))
        self._steps = np.zeros((agents, num_envs), dtype=np.int64)
        self._worth, self._weight = np.zeros((agents, num_envs)), np.ones((agents, num_envs))
        self._discount = np.ones((agents, 1)) if discount is None else np.array(discount)[:, None]
        self.exploring = True
        if greedy and num_envs > 1:
            self.exploring = np.ones((agents, num_envs), dtype=bool)
            self.exploring[:, 0] = False

    def add(self, transition: Transition) -> None:
        """Count one step of all environments; an episode that a fault broke off counts for nothing."""
        valid = as_flags(transition.valid)
        self._taken += 1
        reward = as_numbers(transition.reward)
        self._sum = np.where(valid, self._sum + reward, 0.0)
        self._worth = np.where(valid, self._worth + self._weight * reward, 0.0)
        self._weight = np.where(valid, self._weight * self._discount, 1.0)
        self._steps = np.where(valid, self._steps + 1, 0)
        ended = valid & (as_flags(transition.terminated) | as_flags(transition.truncated))
        if not ended.any():
            return
        for row, env in np.argwhere(ended & self._counted).tolist():
            self.returns[row].append(float(self._sum[row, env]))
            self.discounted[row].append(float(self._worth[row, env]))
            self.lengths[row].append(int(self._steps[row, env]))
            for name, value in transition.metrics.get((row, env), {}).items():
                self.metrics[row].setdefault(name, []).append(value)
        self._sum[ended], self._steps[ended] = 0.0, 0
        self._worth[ended], self._weight[ended] = 0.0, 1.0

    @property
    def _counted(self) -> np.ndarray:
        """[P, E], True where episodes tell what an agent can do."""
        if isinstance(self.exploring, np.ndarray):
            return ~self.exploring
        return np.ones(self._sum.shape, dtype=bool)

    def end(self) -> list[tuple[float, float]]:
        """End a generation: mean return and length of each agent's greedy episodes.

        An agent that ended none has what those under way have earned, and seems to take twice their length. All
        of them began together, so it is what others have earned by then, or have ended before; NaN without a step.
        """
        found = []
        for row, (returns, lengths) in enumerate(zip(self.returns, self.lengths, strict=True)):
            under_way = self._counted[row] & (self._steps[row] > 0)
            if returns:
                found.append((float(np.mean(returns)), float(np.mean(lengths))))
            elif under_way.any():
                found.append((float(self._sum[row][under_way].mean()), 2.0 * self._taken))
            else:
                found.append((float("nan"), 0.0))
        ended = float(np.median([len(returns) for returns in self.returns]))
        if ended < 1:
            self.horizon = max(self.horizon, 2 * self._taken)  # a generation that was cut tells little
        elif ended >= ENOUGH:
            self.horizon //= 2
        return found


class Acting(Fitness):
    """Mean undiscounted return of the greedy episodes that an agent played while it learned.

    Where none came to an end it is the return so far. Algorithms that learn from their own policy's actions alone
    are told apart by their exploring episodes.

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
        self.measures = means_by_name(self._played.metrics)
        self.lengths = np.zeros((len(population), max(1, *map(len, lengths))), dtype=np.int64)
        for row, own in enumerate(lengths):
            self.lengths[row, : len(own)] = own
            if not own:
                self.lengths[row, 0] = round(found[row][1])
        yield np.where(healthy(population), [mean for mean, _ in found], np.nan)

    def take_state(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """How long the next generation is."""
        return {"horizon": self._played.horizon}, {}

    def put_state(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Know it again."""
        whole()("horizon", state.get("horizon", 0))
        self._played.last_at_least(state.get("horizon", 0))
