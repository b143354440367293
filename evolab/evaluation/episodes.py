"""Fitness: every agent over whole episodes, side by side, on common seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from evolab.core.experience import Transition
from evolab.core.flags import as_flags, as_numbers
from evolab.core.rng import seed_of
from evolab.core.trees import Tree
from evolab.envs.base import Environments
from evolab.population.population import Population
from evolab.population.recurrent_state import Memory

LONGEST = 10_000
"""Steps after which an episode is cut where neither the environment nor the caller sets a limit."""

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
        lost = alive & ~as_flags(transition.valid)
        if lost.any():
            # Nothing counts against an agent whose environment failed: the episode has begun anew.
            broken += lost
            wasted += int(lengths[lost].sum())
            returns[lost], lengths[lost] = np.where(broken[lost] < TRIES, 0.0, np.nan), 0
            alive &= ~(lost & (broken >= TRIES))
        counted = alive & ~lost
        returns += np.where(counted, as_numbers(transition.reward), 0.0)
        lengths += counted
        for place, told in transition.metrics.items():
            for name, value in told.items() if counted[place] else ():
                metrics.setdefault(name, np.full(returns.shape, np.nan))[place] = value
        alive &= ~(as_flags(transition.terminated) | as_flags(transition.truncated))
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
