"""What an experiment in a language environment begins with: more environments, and recorded episodes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from pathlib import Path

import torch

from evolab.core import checks
from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.tokens import TokenDataset
from evolab.envs.language.environment import LanguageEnvironment, RecordsEpisodes
from evolab.population.decoding import Turn


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


def episodes_from(source: object, environment: LanguageEnvironment, seed: int) -> TokenDataset:
    """Recorded episodes that agents of an environment can learn from.

    Args:
        source: a `TokenDataset`, the path of a file of one, a number of episodes played at random, or
            a mapping of what `environment.record` takes, such as {"player": "mixture", "episodes": 5000}.
        environment: that the agents live in; the data must fit it.
        seed: of the random episodes.

    Raises:
        DatasetError: the data are none of these, damaged, empty, or of another environment.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        source = random_episodes(environment, checks.positive_integer("fill", source), seed)
    if isinstance(source, (str, Path)):
        source = TokenDataset.load(source)
    if isinstance(source, Mapping):
        if not isinstance(environment, RecordsEpisodes):
            raise DatasetError(f"{environment.name} cannot record episodes of its own. Pass a TokenDataset.")
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
    return environment.check(source)


def random_episodes(environment: LanguageEnvironment, count: int, seed: int) -> TokenDataset:
    """Episodes in which every token is drawn uniformly from the legal ones."""
    generator = torch.Generator().manual_seed(seed)

    def policy(turn: Turn) -> torch.Tensor:
        return torch.multinomial(turn.legal.double(), 1, generator=generator)[:, 0]

    return environment.play_many(policy, environment.fixed_starts(count, seed))
