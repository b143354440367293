"""Random play: what a run begins with, and what it comes back to while nothing tells its agents apart.

Where a reward is rare and nobody has met it, all policies earn the same, and what they explore fades before there
was anything to learn. As long as that lasts, environments that explore play at random in half of their steps.

A state that is hundreds of steps away is met by what lasts for some steps, and by what is new to the policy: its
own actions alternate with random ones, each held as long as the agent's exploration persists. One seed of
MountainCar-v0 (100), after 31 000 steps in all: an elite of -105.7 over 20 fresh episodes; before, -119 after 99 000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from evolab.history.history import History
from evolab.population.population import Population

ASTRAY = 0.5
"""Share of random steps in environments that explore, while nothing tells the agents apart."""


def nothing_tells_apart(history: History) -> bool:
    """True where all agents of the newest generation earned the same; False for a single one."""
    if not history.generations:
        return False
    newest = history.generations[-1].evaluations
    return len(newest) > 1 and len({one.fitness for one in newest}) == 1


def held(
    population: Population, num_envs: int, stream: np.random.Generator
) -> Callable[[Any, Any], np.ndarray]:
    """Random actions [P, E, ...], each held for as many steps in the mean as its agent's exploration persists."""
    keep = 1 - 1 / _lasting(population)  # [P, 1], chance that an action goes on
    last: np.ndarray | None = None

    def act(observation: Any, ended: Any) -> np.ndarray:
        nonlocal last
        drawn = population.random_actions(num_envs, stream)
        if last is not None and keep.any():
            hold = (stream.random((len(population), num_envs)) < keep) & ~np.asarray(ended)
            drawn = np.where(hold.reshape(*hold.shape, *[1] * (drawn.ndim - 2)), last, drawn)
        last = drawn
        return drawn

    return act


def straying(
    population: Population, num_envs: int, stream: np.random.Generator
) -> Callable[[Any, np.ndarray, Any], np.ndarray]:
    """Actions [P, E, ...] of policies with random ones among them, in stretches, where environments explore."""
    turns = ASTRAY / _lasting(population)  # [P, 1], chance that the other one goes on from here
    random = held(population, num_envs, stream)
    astray = stream.random((len(population), num_envs)) < ASTRAY

    def act(action: Any, exploring: np.ndarray, ended: Any) -> np.ndarray:
        nonlocal astray
        astray = astray ^ (stream.random(astray.shape) < turns)
        where = (astray & exploring).reshape(*astray.shape, *[1] * (action.ndim - 2))
        return np.where(where, random(None, False if ended is None else ended), action)

    return act


def _lasting(population: Population) -> np.ndarray:
    """[P, 1], steps."""
    return np.array([[float(one.hyperparameters.get("persistence", 1.0))] for one in population.individuals])
