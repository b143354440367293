"""Fitness: every agent over whole episodes, side by side, on common seeds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evolab.core import checks
from evolab.core.rng import fresh_seed, seed_of

if TYPE_CHECKING:
    from evolab.envs.base import Environments
    from evolab.evaluation.racing import Racing
    from evolab.population.population import Population

LONGEST = 10_000
"""Steps after which an episode is cut where neither the environment nor the caller sets a limit."""

TRIES = 3
"""Episodes that an environment may begin, where faults of the environment break them off, before it counts as lost."""


@dataclass(frozen=True)
class Evaluated:
    """What evaluation found.

    Attributes:
        returns: [P, K], undiscounted return of each episode; NaN where faults broke it off `TRIES` times,
            and where an agent played fewer than another.
        lengths: [P, K], environment steps; 0 where no episode was played.
        endless: True where an episode was cut by `LONGEST`, for want of another limit.
        wasted: environment steps of episodes that faults broke off.
        raced: [P], fitness where not all agents played equally many episodes; see `Racing.fitness`.
    """

    returns: np.ndarray
    lengths: np.ndarray
    endless: bool = False
    wasted: int = 0
    raced: np.ndarray | None = None

    @property
    def fitness(self) -> np.ndarray:
        """[P], the mean over the episodes that came to an end; NaN where none did."""
        if self.raced is not None:
            return self.raced
        counts = np.isfinite(self.returns).sum(1)
        return np.where(counts > 0, np.nansum(self.returns, 1) / np.maximum(counts, 1), np.nan)

    @property
    def episodes(self) -> np.ndarray:
        """[P], episodes played."""
        return (self.lengths > 0).sum(1)

    @property
    def length(self) -> np.ndarray:
        """[P], mean length of the episodes played, in environment steps."""
        return self.lengths.sum(1) / np.maximum(self.episodes, 1)

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
    racing: Racing | None = None,
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
        racing: spend the same P x K episodes where the ranking is uncertain, such as `ev.Racing()`.

    Returns:
        [P], in units of return; NaN for an agent whose weights are not finite.
    """
    checks.positive_integer("episodes", episodes)
    seed = fresh_seed() if seed is None else seed

    def play(players: Population, size: int, starts: Sequence[int] | None = None) -> Any:
        evaluator = envs.evaluator(size)
        try:
            for event in evaluating(players, evaluator, seed, max_steps, starts=starts):
                yield event
        finally:
            evaluator.close()
        return event

    def whole() -> Any:
        race = None if racing is None else racing_through(population, racing, episodes, play)
        yield (yield from race or play(population, episodes))

    *_, result = whole()
    assert isinstance(result, Evaluated)
    if result.endless:
        warn_of_endless(envs.name)
    return result.fitness


def evaluating(
    population: Population,
    evaluator: Environments,
    seed: int,
    max_steps: int | None = None,
    paired: bool = True,
    starts: Sequence[int] | None = None,
) -> Iterator[int | Evaluated]:
    """Play one episode in every environment; yields the number of finished episodes as it goes, then the result.

    Args:
        population: of P agents.
        evaluator: P x K environments.
        seed: episode k of every agent has seed `seed_of(seed, k)`.
        max_steps: longest episode; None for the environment's own limit, or `LONGEST` where it has none.
        paired: give all agents the same episodes; False gives every environment one of its own.
        starts: [P], number of each agent's first episode, where they are not all 0.
    """
    agents, episodes = evaluator.population, evaluator.num_envs
    limit = max_steps or evaluator.max_episode_steps or LONGEST
    first = np.zeros(agents) if starts is None else np.asarray(starts)
    first = first if paired else np.arange(agents) * episodes
    numbers = first[:, None].astype(np.int64) + np.arange(episodes)
    known = {int(k): seed_of(seed, int(k)) % 2**31 for k in np.unique(numbers)}
    seeds = np.array([[known[int(k)] for k in row] for row in numbers], dtype=np.int64)
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
        if (
            lost.any()
        ):  # an agent is not to blame for its environment: those environments have begun another episode
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


def racing_through(
    population: Population, racing: Racing, episodes: int, play: Callable[[Population, int, list[int]], Any]
) -> Any:
    """Evaluate in the rounds of a race: yields what `play` does and returns `Evaluated`.

    Args:
        population: of P agents.
        racing: who plays which round.
        episodes: K; P x K are played in total.
        play: a generator over (players, episodes of each, number of each one's first episode) that
            returns `Evaluated`. Players are rows of the population, some of them several times.
    """
    seats = len(population)
    returns = [np.empty(0) for _ in range(seats)]
    lengths = [np.empty(0, dtype=np.int64) for _ in range(seats)]
    rows = {member.id: row for row, member in enumerate(population.individuals)}
    endless, wasted = False, 0
    for size in racing.rounds(episodes):
        chosen = racing.line_up(returns, seats)
        players = population if chosen == list(range(seats)) else population.copy(chosen)
        owners = [rows[member.id] for member in players.individuals]
        starts, following = [], [len(one) for one in returns]
        for owner in owners:
            starts.append(following[owner])
            following[owner] += size
        result = yield from play(players, size, starts)
        for seat, owner in enumerate(owners):
            returns[owner] = np.append(returns[owner], result.returns[seat])
            lengths[owner] = np.append(lengths[owner], result.lengths[seat])
        endless, wasted = endless or result.endless, wasted + result.wasted
    longest = max(len(one) for one in returns)
    table = np.stack([np.pad(one, (0, longest - len(one)), constant_values=np.nan) for one in returns])
    steps = np.stack([np.pad(one, (0, longest - len(one))) for one in lengths])
    return Evaluated(table, steps, endless, wasted, racing.fitness(returns))


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
        env: a Gymnasium environment; where it renders "rgb_array", a frame is taken before every step
            and one of how the episode ends.
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
        if env.render_mode == "rgb_array":
            frames.append(np.asarray(env.render(), dtype=np.uint8))
        returns.append(total)
    return returns, frames, observations
