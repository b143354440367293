"""Games: what an experiment needs to know of a language environment: play, fitness and data."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evolab.core import checks
from evolab.core.rng import seed_of
from evolab.data.buffers.token_buffer import TokenBuffer
from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.tokens import TokenDataset
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evaluation.episodes import healthy
from evolab.population.language import player
from evolab.population.population import Population
from evolab.training.state import TrainingState

MANY = 256
"""Games at most behind a fitness for which nobody asked for a number."""


class Maker:
    """Makes environments like one that was given; what the vector environments are made with.

    Args:
        environment: is copied, never used itself.
    """

    def __init__(self, environment: LanguageEnvironment) -> None:
        self.environment = environment
        self.__name__ = environment.name

    def __call__(self) -> LanguageEnvironment:
        """A fresh copy."""
        return copy.deepcopy(self.environment)


def maker(environment: Any) -> Maker:
    """What makes more of a language environment.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(environment, LanguageEnvironment):
        came = "none" if environment is None else repr(environment)
        raise TypeError(
            f"a language environment is expected, {came} came. Pass ev.envs.WordGame(), ev.envs.RandomWalks() or "
            f"your own ev.envs.LanguageEnvironment."
        )
    return Maker(environment)


def token_buffer(given: Any) -> TokenBuffer:
    """The buffer of a run, with the limit of the one that the user gave."""
    return TokenBuffer(None if given is None else given.capacity)


class Games:
    """Fitness as the mean return of games from fixed starts, the same for all agents and generations.

    Args:
        environment: whose games are played.
        games: how many; None for every start there is, `MANY` at most.
        seed: of the choice of starts.
    """

    beside_returns = False

    def __init__(self, environment: LanguageEnvironment, games: int | None = None, seed: int = 0) -> None:
        self.environment = environment
        if games is None:
            games = MANY if environment.starts is None else min(len(environment.starts), MANY)
        self.starts = environment.fixed_starts(
            checks.positive_integer("eval_episodes", games), seed_of(seed, "games")
        )
        self.measures: dict[str, np.ndarray] = {}
        self.lengths: np.ndarray | None = None

    def estimate(self, population: Population, buffer: Any, seed: int) -> Iterator[Any]:
        """Play them all, greedily; yields (done, total), then the fitness [P]."""
        total = len(population) * len(self.starts)
        yield 0, total
        data = self.environment.play_many(
            player(population, self.environment), self.starts, agents=len(population)
        )
        returns = data.returns.view(len(population), -1).double().numpy()
        self.lengths = data.action_mask.sum(1).view(len(population), -1).double().mean(1).numpy()
        yield total, total
        yield np.where(healthy(population), returns.mean(1), np.nan)


def play(
    agent: Any, environment: LanguageEnvironment, starts: Sequence[Any], choice: Any = None
) -> TokenDataset:
    """Games of one agent, one from each start.

    Args:
        agent: one that reads tokens, such as `exp.best`.
        environment: what it plays.
        starts: starting points, such as `environment.starts`.
        choice: a `decoding.Choice` of single tokens; None for the best token each time, or for the best
            utterance where the agent's algorithm compares several (`beams`).
    """
    population = agent._population
    alone = population.copy([population.row(agent.id)])
    return environment.play_many(player(alone, environment, choice), starts)


def random_games(environment: LanguageEnvironment, count: int, seed: int) -> TokenDataset:
    """Games in which every token is drawn uniformly from the legal ones."""
    generator = torch.Generator().manual_seed(seed)

    def policy(turn: Any) -> torch.Tensor:
        return torch.multinomial(turn.legal.double(), 1, generator=generator)[:, 0]

    return environment.play_many(policy, environment.fixed_starts(count, seed))


def filled(run: TrainingState, environment: LanguageEnvironment, source: Any) -> TokenBuffer:
    """A buffer with recorded games.

    Args:
        run: whose buffer says how many are kept at most.
        environment: that the agents live in; the data must fit it.
        source: a `TokenDataset`, the path of a file of one, a number of games played at random, or
            a mapping of what `environment.record` takes, such as {"player": "mixture", "episodes": 5000}.

    Raises:
        DatasetError: the data are none of these, damaged, empty, or of another environment.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        source = random_games(environment, checks.positive_integer("fill", source), seed_of(run.seed, "fill"))
    if isinstance(source, (str, Path)):
        source = TokenDataset.load(source)
    if isinstance(source, Mapping):
        if not hasattr(environment, "record"):
            raise DatasetError(f"{environment.name} cannot record games of its own. Pass a TokenDataset.")
        known = inspect.signature(environment.record).parameters
        for name in source:
            if name not in known:
                raise checks.unknown(f"option of {environment.name}.record", name, known)
        source = environment.record(**source)
    if not isinstance(source, TokenDataset):
        raise DatasetError(
            f"{type(source).__name__} came; a language environment learns from a TokenDataset, such as "
            f"environment.record(...) gives, or from the path of one (.json, .h5)."
        )
    environment.check(source)
    assert isinstance(run.buffer, TokenBuffer)
    buffer = TokenBuffer(run.buffer.limit, run.population.device)
    buffer.put(source, environment.block)
    return buffer
