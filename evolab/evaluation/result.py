"""What an agent is worth: every return of fresh episodes, with their mean and the interval of that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from evolab.core import checks
from evolab.core.machine_memory import Need, require
from evolab.core.rng import fresh_seed, seed_of
from evolab.envs.base import Environments
from evolab.envs.compatibility import check_fits
from evolab.envs.factory import Source, make
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evaluation.episodes import Evaluated
from evolab.evaluation.evaluator import Evaluator
from evolab.evaluation.language_returns import play
from evolab.history.display import count, html_facts, number
from evolab.population.agent import Agent
from evolab.population.population import Population

AT_ONCE = 100
"""Episodes that are played beside each other, each in an environment of its own."""

KEPT = 16
"""Bytes of an episode's result: a return and a length."""

RESAMPLES = 10_000
"""Draws of the bootstrap."""


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Fresh greedy episodes of one agent; `float(result)` is their mean.

    Attributes:
        returns: [N], undiscounted return of each episode, in the order of their seeds; NaN where faults of the
            environment broke it off.
        lengths: [N], environment steps of each.
        environment: that they were played in.
        agent: id of the agent.
        seed: that the episodes follow from.
        metrics: [N] by name, the numbers in the last `info` of each episode; NaN where it had none.
        wasted: environment steps of episodes that faults broke off.

    >>> EvaluationResult(np.array([10.0, 12.0]), np.array([10, 12]), "CartPole-v1", agent=3)
    EvaluationResult: mean 11, 95% interval 10 to 12, over 2 episodes of CartPole-v1 (agent 3)
      worst 10, median 11, best 12; 22 environment steps; every return: .returns
    """

    returns: np.ndarray
    lengths: np.ndarray
    environment: str
    agent: int
    seed: int = 0
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    wasted: int = 0

    @cached_property
    def _finite(self) -> np.ndarray:
        return self.returns[np.isfinite(self.returns)]

    @property
    def mean(self) -> float:
        """Mean return of the episodes that came to an end; NaN where none did."""
        return float(self._finite.mean()) if len(self._finite) else float("nan")

    @property
    def std(self) -> float:
        """Standard deviation of the returns."""
        return float(self._finite.std(ddof=1)) if len(self._finite) > 1 else float("nan")

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95% interval of the mean by the percentile bootstrap; NaN for a single episode."""
        values = self._finite
        if len(values) < 2:
            return float("nan"), float("nan")
        generator = np.random.default_rng(0)
        # In pieces: many episodes would otherwise need gigabytes.
        size = max(1, 2_000_000 // len(values))
        means = [
            values[generator.integers(len(values), size=(min(size, RESAMPLES - i), len(values)))].mean(1)
            for i in range(0, RESAMPLES, size)
        ]
        low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
        return float(low), float(high)

    @property
    def steps(self) -> int:
        """Environment steps that it took."""
        return int(self.lengths.sum()) + self.wasted

    def __float__(self) -> float:
        return self.mean

    def __len__(self) -> int:
        return len(self.returns)

    def _facts(self) -> tuple[str, str]:
        """The mean in words, and the spread."""
        low, high = self.interval
        between = f", 95% interval {number(low)} to {number(high)}" if len(self._finite) > 1 else ""
        lost = len(self) - len(self._finite)
        episodes = f"{len(self)} episode{'s' if len(self) > 1 else ''}"
        head = (
            f"mean {number(self.mean)}{between}, over {episodes} of {self.environment} (agent {self.agent})"
        )
        spread = "no episode came to an end"
        if len(self._finite):
            ends = (self._finite.min(), np.median(self._finite), self._finite.max())
            spread = "worst {}, median {}, best {}".format(*map(number, ends))
        if lost:
            spread += f"; {lost} without a return"
        for name, values in self.metrics.items():
            known = values[np.isfinite(values)]
            spread += f"; {name} {number(float(known.mean()))}" if len(known) else ""
        return head, f"{spread}; {count(self.steps)} environment steps"

    def __repr__(self) -> str:
        head, spread = self._facts()
        return f"EvaluationResult: {head}\n  {spread}; every return: .returns"

    def _repr_html_(self) -> str:
        head, spread = self._facts()
        words, _, of = head.partition(", over ")
        facts = [("mean return", words.removeprefix("mean ")), ("returns", spread)]
        return html_facts(of, [*facts, ("every return", "result.returns")])


def evaluate_agent(
    agent: Agent,
    environment: Environments | LanguageEnvironment | Source,
    episodes: int = 20,
    *,
    seed: int | None = None,
    max_steps: int | None = None,
) -> EvaluationResult:
    """Fresh episodes of an agent's greedy policy; see `Agent.evaluate`.

    Args:
        agent: is copied, so it may go on learning.
        environment: what `Experiment` takes, or environments to make more of.
        episodes: how many, each with a seed of its own.
        seed: that these follow from; None for a fresh one.
        max_steps: longest episode; None for the environment's own limit.
    """
    episodes = checks.positive_integer("episodes", episodes)
    start = fresh_seed() if seed is None else checks.positive_integer("seed", seed, minimum=0)
    require([Need("results", KEPT * episodes, f"episodes={episodes:,}", "episodes")])
    if isinstance(environment, LanguageEnvironment):
        data = play(agent, environment, environment.fixed_starts(episodes, start))
        returns = data.returns.double().cpu().numpy()
        lengths = data.action_mask.sum(1).cpu().numpy()
        return EvaluationResult(returns, lengths, environment.name, agent.id, start)
    alone = Population.of([agent.copy()])
    with contextlib.ExitStack() as ending:
        if not isinstance(environment, Environments):
            environment = make(environment)
            ending.callback(environment.close)
            check_fits(alone.table, environment)
        evaluator = Evaluator(environment, max_steps)
        ending.callback(evaluator.close)
        found = [*_rounds(evaluator, alone, episodes, start)]
    names = dict.fromkeys(name for one in found for name in one.metrics)
    nothing = np.full(AT_ONCE, np.nan)
    return EvaluationResult(
        np.concatenate([one.returns[0] for one in found]),
        np.concatenate([one.lengths[0] for one in found]),
        environment.name,
        agent.id,
        start,
        {
            name: np.concatenate(
                [
                    one.metrics[name][0] if name in one.metrics else nothing[: one.returns.size]
                    for one in found
                ]
            )
            for name in names
        },
        sum(one.wasted for one in found),
    )


def _rounds(evaluator: Evaluator, agent: Population, episodes: int, seed: int) -> Iterator[Evaluated]:
    """So many episodes, `AT_ONCE` beside each other."""
    for done in range(0, episodes, AT_ONCE):
        now = seed if not done else seed_of(seed, done)
        *_, result = evaluator.play(agent, min(AT_ONCE, episodes - done), now, paired=False)
        assert isinstance(result, Evaluated)
        yield result
