"""Fitness: what tells how good agents are. The contract, and the mean return of episodes, its usual form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import Space
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core import checks, registry
from evolab.core.machine_memory import Need
from evolab.data.buffers.base import Buffer
from evolab.evaluation.episodes import Evaluated, over_episodes
from evolab.evaluation.evaluator import Evaluator
from evolab.population.population import Population


@runtime_checkable
class Estimator(Protocol):
    """Anything that tells how good agents are, with whatever else of a `Fitness` it declares."""

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """See `Fitness.estimate`."""


class Fitness:
    """What tells how good agents are; a subclass writes `estimate` and says what else is true of it.

    Attributes:
        beside_returns: it is recorded beside the mean return of episodes, which then decides, where there is
            an environment.
        by_returns: it is the mean return of episodes in the environment, so that a record can be confirmed on
            fresh ones.
        by_acting: it is what agents earned while they learned, which costs no step; greedy episodes then only
            confirm a record, as many as the experiment's `evaluation_share` allows.
        episodes: of each agent behind a figure; 0 where it takes none.
        measures: further figures by name, [P] each, of the newest estimate.
        returns: [P, E], of the newest estimate's episodes; None where it takes none.
        lengths: [P, E], environment steps of the newest estimate's episodes, one in each of E environments,
            0 where none was played; None where it takes none.
    """

    beside_returns: bool = False
    by_returns: bool = False
    by_acting: bool = False
    episodes: int = 0
    measures: Mapping[str, np.ndarray] = MappingProxyType({})
    returns: np.ndarray | None = None
    lengths: np.ndarray | None = None

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """Fitness of all agents.

        Args:
            population: of P agents.
            buffer: their experience.
            seed: of every draw.

        Yields:
            (done, total) as often as training may be paused, and [P] at last: larger is better, NaN for an
            agent that diverged.
        """
        raise NotImplementedError(f"{type(self).__name__} must define estimate(population, buffer, seed).")

    def check(self, algorithm: Algorithm) -> None:
        """Refuse an algorithm whose agents it cannot measure, before time is spent.

        Raises:
            ValueError: says why, and what to use.
        """
        return

    def needs(self, agents: int, observation_space: Space) -> Sequence[Need]:
        """Memory that it takes at least for so many agents; nothing that counts unless it says so."""
        return ()

    def take_state(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What a checkpoint keeps: plain values, and tensors by name; None where nothing is remembered."""
        return None

    def put_state(self, state: dict[str, object], tensors: dict[str, Tensor]) -> None:
        """Go on from what `take_state` gave."""


def fitness_named(fitness: object) -> Any:
    """The measure that a name stands for; "return", "acting", None and objects stay what they are.

    Raises:
        ValueError: no such name; says which are near.
    """
    if not isinstance(fitness, str) or fitness in ("return", "acting"):
        return fitness
    known = {name.lower(): name for name in registry.names("fitness")}
    if fitness.lower() not in known:
        raise checks.unknown("fitness", fitness, ["acting", "return", *known])
    return registry.part("fitness", known[fitness.lower()])()


class Returns(Fitness):
    """Mean undiscounted return of whole episodes of the greedy policy.

    Args:
        evaluator: plays them.
        episodes: of each agent.
        paired: all agents play the same episodes; False gives every agent its own.
    """

    by_returns = True

    def __init__(self, evaluator: Evaluator, episodes: int = 1, paired: bool = True) -> None:
        self.episodes = episodes
        self._evaluator, self._paired = evaluator, paired

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """Play them; see `Fitness.estimate`."""
        total = len(population) * self.episodes
        allowed = self._evaluator.allowed
        for event in self._evaluator.play(
            population, self.episodes, seed, self._paired, most=allowed, so_far=True
        ):
            if isinstance(event, Evaluated):
                self.returns, self.lengths = event.returns, event.lengths
                self.measures = {name: over_episodes(values) for name, values in event.metrics.items()}
                yield event.fitness
            else:
                yield event, total


class Given(Fitness):
    """An object of the user's own that has `estimate`, with the defaults for what it does not declare.

    Args:
        given: it.
        episodes: of each agent, where it measures `lengths`.
    """

    def __init__(self, given: Estimator, episodes: int | None = None) -> None:
        self._given = given
        self.beside_returns = bool(self._its("beside_returns"))
        self.episodes = episodes or int(self._its("episodes"))

    def estimate(
        self, population: Population, buffer: Buffer, seed: int
    ) -> Iterator[tuple[int, int] | np.ndarray]:
        """See `Fitness.estimate`."""
        found = None
        for event in self._given.estimate(population, buffer, seed):
            if isinstance(event, np.ndarray):
                found = event
            else:
                yield event
        if found is None:
            raise ValueError(
                f"{type(self._given).__name__}.estimate ended without an array of fitness, (P,)."
            )
        self.measures, self.lengths = self._its("measures"), self._its("lengths")
        yield found

    def take_state(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What the object keeps, if it can tell."""
        return self._its("take_state")()

    def put_state(self, state: dict[str, object], tensors: dict[str, Tensor]) -> None:
        """Give the object what it had."""
        self._its("put_state")(state, tensors)

    def _its(self, name: str) -> Any:
        """What the object declares, and otherwise what every fitness does."""
        return getattr(self._given, name, getattr(super(), name))
