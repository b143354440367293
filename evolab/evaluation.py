"""Fitness: every agent over whole episodes, side by side, on common seeds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evolab import checks
from evolab.randomness import fresh_seed, seed_of

if TYPE_CHECKING:
    from evolab.envs.env import Environments
    from evolab.population import Population

LONGEST = 10_000
"""Steps after which an episode is cut where neither the environment nor the caller sets a limit."""

TRIES = 3
"""Episodes that a member may begin, where faults of the environment break them off, before it counts as lost."""


@dataclass(frozen=True)
class Evaluated:
    """What evaluation found.

    Attributes:
        returns: [P, K], undiscounted return of each episode; NaN where faults broke it off `TRIES` times.
        lengths: [P, K], environment steps.
        endless: True where an episode was cut by `LONGEST`, for want of another limit.
        wasted: environment steps of episodes that faults broke off.
    """

    returns: np.ndarray
    lengths: np.ndarray
    endless: bool = False
    wasted: int = 0

    @property
    def fitness(self) -> np.ndarray:
        """[P], the mean over the episodes that came to an end; NaN where none did."""
        counts = np.isfinite(self.returns).sum(1)
        return np.where(counts > 0, np.nansum(self.returns, 1) / np.maximum(counts, 1), np.nan)

    @property
    def steps(self) -> int:
        """Environment steps spent in total."""
        return int(self.lengths.sum()) + self.wasted


def evaluate(
    population: Population,
    envs: Environments,
    episodes: int = 1,
    *,
    seed: int | None = None,
    max_steps: int | None = None,
) -> np.ndarray:
    """Fitness of every agent: its mean return over whole episodes of its greedy policy.

    All agents play the same episodes (same seeds), in environments of their own; the training
    environments given are not touched.

    Args:
        population: of P agents.
        envs: the environments to make more of.
        episodes: K per agent.
        seed: of the episodes; None for a fresh one.
        max_steps: longest episode; None for the environment's own limit.

    Returns:
        [P], in units of return; NaN for an agent whose weights are not finite.
    """
    checks.positive_integer("episodes", episodes)
    evaluator = envs.evaluator(episodes)
    try:
        *_, result = evaluating(population, evaluator, fresh_seed() if seed is None else seed, max_steps)
    finally:
        evaluator.close()
    assert isinstance(result, Evaluated)
    if result.endless:
        warn_of_endless(evaluator.name)
    return result.fitness


def evaluating(
    population: Population,
    evaluator: Environments,
    seed: int,
    max_steps: int | None = None,
    paired: bool = True,
) -> Iterator[int | Evaluated]:
    """Play one episode in every member; yields the number of finished episodes as it goes, then the result.

    Args:
        population: of P agents.
        evaluator: P x K members.
        seed: episode k of every agent has seed `seed_of(seed, k)`.
        max_steps: longest episode; None for the environment's own limit, or `LONGEST` where it has none.
        paired: give all agents the same episodes; False gives every member one of its own.
    """
    agents, episodes = evaluator.population, evaluator.num_envs
    limit = max_steps or evaluator.max_episode_steps or LONGEST
    count = episodes if paired else agents * episodes
    seeds = np.array([seed_of(seed, k) % 2**31 for k in range(count)], dtype=np.int64)
    seeds = np.broadcast_to(seeds, (agents, episodes)) if paired else seeds.reshape(agents, episodes)
    observation = evaluator.reset(seed=seeds)
    returns = np.zeros((agents, episodes), dtype=np.float64)
    lengths = np.zeros((agents, episodes), dtype=np.int64)
    broken = np.zeros((agents, episodes), dtype=np.int64)  # times that a fault broke the episode off
    alive = np.ones((agents, episodes), dtype=bool)
    wasted, endless = 0, False
    while alive.any():
        action = population.act(observation, explore=False)
        transition = evaluator.step(action, autoreset=False)
        lost = alive & ~np.asarray(transition.valid)
        if lost.any():  # an agent is not to blame for its environment: those members have begun another episode
            broken += lost
            wasted += int(lengths[lost].sum())
            returns[lost], lengths[lost] = np.where(broken[lost] < TRIES, 0.0, np.nan), 0
            alive &= ~(lost & (broken >= TRIES))
        counted = alive & ~lost
        returns += np.where(counted, transition.reward, 0.0)
        lengths += counted
        alive &= ~(np.asarray(transition.terminated) | np.asarray(transition.truncated))
        observation = transition.reset_observation
        if lengths.max() >= limit:
            cut = alive & (lengths >= limit)
            endless |= bool(cut.any())
            alive &= ~cut
        if alive.any():
            yield int(agents * episodes - alive.sum())
    returns[~healthy(population)] = np.nan
    unlimited = max_steps is None and evaluator.max_episode_steps is None
    yield Evaluated(returns, lengths, endless=unlimited and endless, wasted=wasted)


def healthy(population: Population) -> np.ndarray:
    """[P], True where every parameter of an agent's networks is finite."""
    fine = torch.ones(len(population), dtype=torch.bool, device=population.device)
    for name in population.roles:
        fine &= torch.isfinite(population.table[name].flatten(1).sum(1))
    return fine.cpu().numpy()


def warn_of_endless(name: str) -> None:
    """Say that episodes were cut, and how to choose where."""
    warnings.warn(
        f"{name} has no time limit: evaluation episodes are cut after {LONGEST} steps. Set eval_steps=... to choose.",
        stacklevel=3,
    )


def play(
    agent: Any, env: Any, episodes: int = 1, max_steps: int | None = None, seed: int = 0
) -> tuple[list[float], list[np.ndarray], list[Any]]:
    """Episodes of one agent in one environment: returns, rendered frames, observations.

    Args:
        agent: anything with `act(observation)`.
        env: a Gymnasium environment; frames are taken where it renders "rgb_array".
        episodes: how many.
        max_steps: longest episode; None for the environment's own limit.
        seed: of the first episode; the next ones count up.
    """
    returns: list[float] = []
    frames: list[np.ndarray] = []
    observations: list[Any] = []
    spec = getattr(env, "spec", None)
    limit = max_steps or (spec.max_episode_steps if spec is not None else None) or LONGEST
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        total = 0.0
        for _ in range(limit):
            if env.render_mode == "rgb_array":
                frames.append(np.asarray(env.render(), dtype=np.uint8))
            observations.append(observation)
            observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
            total += float(reward)
            if terminated or truncated:
                break
        returns.append(total)
    return returns, frames, observations
