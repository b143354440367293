"""The evaluator: whole episodes of every agent in environments of its own, and `ev.evaluate`."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np

from evolab.core import checks, registry
from evolab.core.machine_memory import require
from evolab.core.rng import fresh_seed
from evolab.envs.base import Environments, StepFault
from evolab.envs.compatibility import check_fits
from evolab.envs.factory import Source, make
from evolab.envs.language.environment import LanguageEnvironment
from evolab.envs.memory_needs import environments
from evolab.evaluation.episodes import LONGEST, Evaluated, evaluating
from evolab.population.agent import Agent
from evolab.population.population import Population

KEPT = 4
"""Sets of environments that an evaluator keeps for the next time; each may hold a process for every environment."""


def evaluate(
    population: Population | Agent | str | PathLike[str] | Sequence[object],
    envs: Environments | LanguageEnvironment | Source,
    episodes: int = 1,
    *,
    seed: int | None = None,
    max_steps: int | None = None,
) -> np.ndarray:
    """Fitness of every agent: its mean return over whole episodes of its greedy policy.

    All agents play the same episodes (same seeds), in environments of their own; the training
    environments given are not touched.

    Args:
        population: of P agents; or one agent, or the folder of one, or a list of agents, however they differ.
        envs: the environments to make more of, of however many agents; or what `Experiment` takes: an id, a
            callable, an `EnvSpec`, a language environment.
        episodes: of each agent.
        seed: of the episodes; None for a fresh one.
        max_steps: longest episode; None for the environment's own limit.

    Returns:
        [P], in units of return; NaN for an agent whose weights are not finite.
    """
    checks.positive_integer("episodes", episodes)
    start = fresh_seed() if seed is None else seed
    if isinstance(population, (list, tuple)):
        apart = [evaluate(one, envs, episodes, seed=start, max_steps=max_steps) for one in population]
        return np.concatenate([np.zeros(0), *apart])
    if not isinstance(population, Population):
        population = _population_of(population)
    if isinstance(envs, LanguageEnvironment):
        *_, fitness = registry.above("LanguageReturns")(envs, episodes, start).estimate(
            population, None, start
        )
        return fitness
    with contextlib.ExitStack() as ending:
        if not isinstance(envs, Environments):
            envs = make(envs, len(population))
            ending.callback(envs.close)
        check_fits(population.table, envs)
        evaluator = Evaluator(envs, max_steps)
        ending.callback(evaluator.close)
        *_, result = evaluator.play(population, episodes, start)
    assert isinstance(result, Evaluated)
    return result.fitness


def _population_of(source: object) -> Population:
    agent = Agent.load(source) if isinstance(source, (str, PathLike)) else source
    if not isinstance(agent, Agent):
        raise TypeError(
            f"population is {type(source).__name__}; expected a Population, an agent, its folder, or a list of agents. "
            "An experiment has them: exp.population, exp.best."
        )
    return Population.of([agent])


class Evaluator:
    """Plays whole episodes of greedy policies, in environments of its own that it keeps for the next time.

    Args:
        envs: the environments to make more of; they are not touched.
        max_steps: longest episode; None for the environment's own limit.

    Attributes:
        steps: environment steps spent so far.
        allowed: that episodes for fitness may take together; see `allow`.
    """

    def __init__(self, envs: Environments, max_steps: int | None = None) -> None:
        self.steps, self.max_steps, self.allowed = 0, max_steps, math.inf
        self._envs, self._warned = envs, False
        self._made: dict[tuple[int, int], Environments] = {}
        self._faults: list[tuple[int | None, StepFault]] = []

    @property
    def longest(self) -> int:
        """Steps after which an episode is cut."""
        return self.max_steps or self._envs.max_episode_steps or LONGEST

    def play(
        self,
        population: Population,
        episodes: int,
        seed: int,
        paired: bool = True,
        most: float = math.inf,
        so_far: bool = False,
    ) -> Iterator[int | Evaluated]:
        """As `evaluating`, with `episodes` per agent."""
        envs = self._environments(len(population), episodes)
        for event in evaluating(population, envs, seed, self.max_steps, paired, most, so_far):
            if isinstance(event, Evaluated):
                self.steps += event.steps
                for fault in envs.take_faults():
                    owner = None if fault.index is None else population.individuals[fault.index[0]].id
                    self._faults.append((owner, fault))
                if event.endless and not self._warned:
                    self._warned = True
                    _warn_of_endless(envs.name)
            yield event

    def _environments(self, population: int, episodes: int) -> Environments:
        """So many environments, kept from last time or made; those that have not been used for longest go."""
        envs = self._made.pop((population, episodes), None)
        if envs is None:
            if len(self._made) >= KEPT:
                self._made.pop(next(iter(self._made))).close()
            of = f"agents x episodes = {population:,} x {episodes:,}"
            require([environments(population * episodes, "sync", of, "episodes")])
            envs = self._envs.evaluator(episodes, population)
        self._made[population, episodes] = envs
        return envs

    def cut_at(self, max_steps: int | None) -> None:
        """Play episodes of so many steps at most; None for the environment's own limit."""
        self.max_steps = max_steps

    def allow(self, steps: float) -> None:
        """Let the next episodes for fitness take so many steps together: what is left of a budget."""
        self.allowed = steps

    def resume(self, steps: int) -> None:
        """Go on counting from the steps that a checkpoint tells."""
        self.steps = steps

    def take_faults(self) -> list[tuple[int | None, StepFault]]:
        """The faults since the last call, each with the id of its agent, where that can be told."""
        taken, self._faults = self._faults, []
        return taken

    def close(self) -> None:
        """Close all environments that were made."""
        for envs in self._made.values():
            envs.close()
        self._made = {}


def _warn_of_endless(name: str) -> None:
    warnings.warn(
        f"{name} has no time limit: evaluation episodes are cut after {LONGEST} steps. Set eval_steps=... to choose.",
        stacklevel=3,
    )
