"""Racing: half of the evaluation episodes go to every agent, the rest to those that may still be the best.

All agents play the same episodes in the same order, so what luck a seed brings falls out of every
comparison. Who is clearly behind the leader plays no further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evolab.core import checks


@dataclass(frozen=True)
class Racing:
    """Spends evaluation episodes where the ranking is uncertain, as many in total as an even split.

    The first half of the episodes is everybody's. The others come in two rounds; an agent takes
    part while its mean is within `width` standard errors of the leader's on the seeds that both
    have played, and the two best always do. The error is pooled over all agents, since a few episodes say
    little about the spread of one of them.

    Off by default, since it is a trade. In 1 600 selections from 16 populations of 4 to 8 agents on
    LunarLander with 4 episodes each, the agent put first was not the best in 21.1%, against 22.9% by
    an even split of the same episodes (1.9% fewer, 0.2 to 3.6 at 95%); with 8 episodes in 15.2%
    against 16.6% (1.4% fewer, 0.4 to 2.6). But with 8 and 16 episodes 0.6% and 1% more pairs of agents
    stood in the wrong order, and the parents that tournaments choose were as good either way
    (`tests/benchmarks/racing.py`). Turn it on where the best agent alone matters. With two episodes
    per agent or one it is the even split.

    Args:
        width: standard errors behind the leader at which an agent is out.

    Source: the idea is that of Hoeffding races (Maron and Moore 1994), here with paired episodes and
    a normal error, as in F-Race (Birattari et al. 2002).
    """

    width: float = 2.0

    def __post_init__(self) -> None:
        checks.finite("Racing: width", self.width, low=0.0)

    def rounds(self, episodes: int) -> list[int]:
        """Episodes per agent, were they split evenly, of each round.

        >>> Racing().rounds(8), Racing().rounds(3), Racing().rounds(1)
        ([4, 2, 2], [2, 1], [1])
        """
        first = -(-episodes // 2)
        rest = episodes - first
        return [size for size in (first, -(-rest // 2), rest // 2) if size]

    def line_up(self, returns: Sequence[np.ndarray], seats: int) -> list[int]:
        """Who plays the next round.

        Args:
            returns: of each agent's episodes so far, in order; NaN where one was lost.
            seats: how many agents there is room for; an agent may take several.

        Returns:
            [seats] agents, the best ones more often where the seats cannot be shared evenly.
        """
        if not any(len(one) for one in returns):
            return [seat % len(returns) for seat in range(seats)]
        order = sorted(range(len(returns)), key=lambda agent: -_or_least(float(_estimates(returns)[agent])))
        leader = order[0]
        spread = _spread(returns)
        staying = [leader]
        for place, agent in enumerate(order[1:]):
            behind, common = _behind(returns, leader, agent)
            error = spread / max(common, 1) ** 0.5
            if np.isfinite(behind) and (place == 0 or behind <= self.width * error):
                staying.append(agent)
        return sorted((staying * seats)[:seats])

    def fitness(self, returns: Sequence[np.ndarray]) -> np.ndarray:
        """[P]: the mean return of each agent as if it had played all episodes that the best one has.

        Who left early is placed behind the best by their difference on the seeds that both played.
        """
        return _estimates(returns)


def _estimates(returns: Sequence[np.ndarray]) -> np.ndarray:
    means = np.array([_mean(one) for one in returns])
    longest = max(len(one) for one in returns)
    there = [agent for agent, one in enumerate(returns) if len(one) == longest]
    best = max(there, key=lambda agent: _or_least(float(means[agent])))
    if not np.isfinite(means[best]):
        return means
    for agent, one in enumerate(returns):
        if len(one) < longest:
            behind, common = _behind(returns, best, agent)
            means[agent] = means[best] - behind if common else means[agent]
    return means


def _behind(returns: Sequence[np.ndarray], leader: int, agent: int) -> tuple[float, int]:
    """How far an agent is behind another on the episodes that both played, and how many those are."""
    count = min(len(returns[leader]), len(returns[agent]))
    gap = returns[leader][:count] - returns[agent][:count]
    return _mean(gap), int(np.isfinite(gap).sum())


def _spread(returns: Sequence[np.ndarray]) -> float:
    """Standard deviation of the difference of two agents on one seed, pooled over all pairs."""
    squares, freedom = 0.0, 0
    for one in range(len(returns)):
        for other in range(one):
            count = min(len(returns[one]), len(returns[other]))
            gap = returns[one][:count] - returns[other][:count]
            gap = gap[np.isfinite(gap)]
            if len(gap) > 1:
                squares += float(np.square(gap - gap.mean()).sum())
                freedom += len(gap) - 1
    return (squares / freedom) ** 0.5 if freedom else float("inf")


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _or_least(value: float) -> float:
    return value if np.isfinite(value) else float("-inf")
