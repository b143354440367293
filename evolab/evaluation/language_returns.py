"""Fitness in a language environment, and play of a single agent there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from evolab.core import checks
from evolab.core.rng import seed_of
from evolab.data.buffers.base import Buffer
from evolab.data.datasets.tokens import TokenDataset
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evaluation.episodes import healthy
from evolab.evaluation.fitness import Fitness
from evolab.population.agent import Agent
from evolab.population.decoding import Decoding
from evolab.population.population import Population
from evolab.population.utterances import language_policy

MANY = 256
"""Episodes at most behind a fitness where no number is asked for."""


class LanguageReturns(Fitness):
    """Mean return of episodes from fixed starts, the same for all agents and generations.

    Args:
        environment: whose episodes are played.
        episodes: how many of each agent; None for every start there is, `MANY` at most.
        seed: of the choice of starts.
    """

    def __init__(self, environment: LanguageEnvironment, episodes: int | None = None, seed: int = 0) -> None:
        if episodes is None:
            episodes = MANY if environment.starts is None else min(len(environment.starts), MANY)
        self.episodes = checks.positive_integer("eval_episodes", episodes)
        self.environment = environment
        self.starts = environment.fixed_starts(self.episodes, seed_of(seed, "games"))

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """Play them all at once, greedily; see `Fitness.estimate`."""
        agents, total = len(population), len(population) * len(self.starts)
        yield 0, total
        data = self.environment.play_many(
            language_policy(population.table, self.environment), self.starts, agents=agents
        )
        played = data.returns.view(agents, -1).double().numpy()
        self.returns = np.where(healthy(population)[:, None], played, np.nan)
        self.lengths = data.action_mask.sum(1).view(agents, -1).numpy()
        yield total, total
        yield self.returns.mean(1)


def play(
    agent: Agent, environment: LanguageEnvironment, starts: Sequence[object], choice: Decoding | None = None
) -> TokenDataset:
    """Episodes of one agent, one from each start.

    Args:
        agent: one that reads tokens, such as `exp.best`.
        environment: where it plays.
        starts: starting points, such as `environment.starts`.
        choice: of single tokens; None for the best token each time, or for the best utterance where the
            agent's algorithm compares several (`beams`).
    """
    return environment.play_many(language_policy(agent.copy().table, environment, choice), starts)
