"""Fitness: every agent over whole episodes, side by side, on common seeds."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.core import checks, registry
from evolab.core.experience import Transition
from evolab.core.rng import fresh_seed, seed_of
from evolab.core.trees import Tree
from evolab.envs.base import Environments, StepFault
from evolab.envs.compatibility import check_fits
from evolab.envs.factory import Source, make
from evolab.envs.language.environment import LanguageEnvironment
from evolab.population.agent import Agent
from evolab.population.population import Population
from evolab.population.recurrent_state import Memory

LONGEST = 10_000
"""Steps after which an episode is cut where neither the environment nor the caller sets a limit."""

KEPT = 4
"""Sets of environments that an evaluator keeps for the next time; each may hold a process for every environment."""

TRIES = 3
"""Episodes that may begin, where faults of the environment break them off, before one counts as lost."""


@dataclass(frozen=True)
class Evaluated:
    """What evaluation found.

    Attributes:
        returns: [P, E], undiscounted return of the episode of each environment; NaN where faults broke it off `TRIES` times.
        lengths: [P, E], environment steps; 0 where no episode was played.
        endless: True where an episode was cut by `LONGEST`, for want of another limit.
        wasted: environment steps of episodes that faults broke off.
        metrics: [P, E] by name, the numbers in the last `info` of each episode; NaN where it had none.
    """

    returns: np.ndarray
    lengths: np.ndarray
    endless: bool = False
    wasted: int = 0
    metrics: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def fitness(self) -> np.ndarray:
        """[P], the mean over the episodes that came to an end; NaN where none did."""
        return over_episodes(self.returns)

    @property
    def steps(self) -> int:
        """Environment steps spent in total."""
        return int(self.lengths.sum()) + self.wasted


def over_episodes(values: np.ndarray) -> np.ndarray:
    """[P], the mean of [P, E] over the episodes that have a value; NaN where none has."""
    counts = np.isfinite(values).sum(1)
    return np.where(counts > 0, np.nansum(values, 1) / np.maximum(counts, 1), np.nan)


def evaluate(
    population: Population | Agent | str | PathLike[str] | Sequence[Any],
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


def _population_of(source: Any) -> Population:
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


def play_steps(
    act: Callable[[Tree, np.ndarray | None], np.ndarray | Tensor],
    step: Callable[[np.ndarray | Tensor], Transition],
    observation: Tree,
) -> Iterator[Transition]:
    """Act and step, for as long as the caller asks: the one loop of everything that plays in `Environments`.

    Args:
        act: actions [P, E, ...] from observations [P, E, ...] and from [P, E], True where an episode has just
            begun (None at first).
        step: what the environments answer to actions.
        observation: [P, E, ...], where it begins.
    """
    ended = None
    while True:
        transition = step(act(observation, ended))
        yield transition
        observation = transition.reset_observation
        ended = transition.ended


def evaluating(
    population: Population,
    evaluator: Environments,
    seed: int,
    max_steps: int | None = None,
    paired: bool = True,
    most: float = math.inf,
    so_far: bool = False,
) -> Iterator[int | Evaluated]:
    """Play one episode in every environment; yields the number of finished ones as it goes, then the result.

    Args:
        population: of P agents.
        evaluator: P x E environments.
        seed: episode e of every agent has seed `seed_of(seed, e)`.
        max_steps: longest episode; None for the environment's own limit, or `LONGEST` where it has none.
        paired: give all agents the same episodes; False gives every environment one of its own.
        most: environment steps in all. Where they are not enough all returns are NaN: those of the episodes that
            have come to an end would speak for the short ones.
        so_far: where they are not enough, returns are what all episodes earned in as many steps each, or before.
    """
    agents, episodes = evaluator.population, evaluator.num_envs
    limit = max_steps or evaluator.max_episode_steps or LONGEST
    numbers = np.arange(agents * episodes).reshape(agents, episodes)
    numbers = np.broadcast_to(numbers[0], numbers.shape) if paired else numbers
    known = {int(k): seed_of(seed, int(k)) % 2**31 for k in np.unique(numbers)}
    seeds = np.array([[known[int(k)] for k in row] for row in numbers], dtype=np.int64)
    returns = np.zeros((agents, episodes), dtype=np.float64)
    lengths = np.zeros((agents, episodes), dtype=np.int64)
    broken = np.zeros((agents, episodes), dtype=np.int64)  # times that a fault broke the episode off
    alive = np.ones((agents, episodes), dtype=bool)
    wasted, endless = 0, False
    metrics: dict[str, np.ndarray] = {}
    memory = Memory()  # the training episodes of these agents may be under way
    for transition in play_steps(
        lambda observation, ended: population.act(observation, False, ended, evaluator.action_mask, memory),
        lambda action: evaluator.step(action, autoreset=False),
        evaluator.reset(seed=seeds),
    ):
        lost = alive & ~np.asarray(transition.valid)
        if lost.any():
            # Nothing counts against an agent whose environment failed: the episode has begun anew.
            broken += lost
            wasted += int(lengths[lost].sum())
            returns[lost], lengths[lost] = np.where(broken[lost] < TRIES, 0.0, np.nan), 0
            alive &= ~(lost & (broken >= TRIES))
        counted = alive & ~lost
        returns += np.where(counted, transition.reward, 0.0)
        lengths += counted
        for place, told in transition.metrics.items():
            for name, value in told.items() if counted[place] else ():
                metrics.setdefault(name, np.full(returns.shape, np.nan))[place] = value
        alive &= ~(np.asarray(transition.terminated) | np.asarray(transition.truncated))
        if lengths.max() >= limit:
            cut = alive & (lengths >= limit)
            endless |= bool(cut.any())
            alive &= ~cut
        if not alive.any():
            break
        if lengths.sum() + wasted + alive.sum() > most:
            returns = returns if so_far else np.full_like(returns, np.nan)
            break
        yield int(agents * episodes - alive.sum())
    returns[~healthy(population)] = np.nan
    unlimited = max_steps is None and evaluator.max_episode_steps is None
    yield Evaluated(returns, lengths, endless=unlimited and endless, wasted=wasted, metrics=metrics)


def healthy(population: Population) -> np.ndarray:
    """[P], True where every parameter of an agent's networks is finite."""
    fine = torch.ones(len(population), dtype=torch.bool, device=population.device)
    for name in population.roles:
        fine &= torch.isfinite(population.table[name].flatten(1).sum(1))
    return fine.cpu().numpy()


def _warn_of_endless(name: str) -> None:
    warnings.warn(
        f"{name} has no time limit: evaluation episodes are cut after {LONGEST} steps. Set eval_steps=... to choose.",
        stacklevel=3,
    )
