"""The hall of fame: the best agent that fresh episodes confirmed, and what becomes of it.

Deep reinforcement learning forgets: the best agent goes on learning and may never be that good again.
The hall of fame keeps a copy, and may bring it back into the population.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evolab.core import checks
from evolab.data.buffers.base import Buffer
from evolab.evaluation.episodes import Evaluated
from evolab.history.events import Birth, Progress
from evolab.population.agent import Agent
from evolab.population.individual import Individual
from evolab.population.population import Population

RESTING = "resting"

CONFIRMATION = 20
"""Fresh episodes that confirm a record, where `confirmation` says nothing else."""

FURTHER = 4
"""Times as many episodes follow where the first ones reach the target. Every generation tries, so twenty are
met by luck too often: an agent of 152 over a hundred episodes passed them at a target of 200 (measured)."""

Play = Callable[[Population, int, int], Generator[Progress, None, Evaluated]]
"""Plays fresh episodes: of a population, so many of each agent, in stage 0 or 1 of a confirmation."""


@dataclass(frozen=True)
class Revival:
    """What `HallOfFame.revive` did.

    Attributes:
        scores: [P], in the order that the rows are in now.
        agent: id of the agent that the elite came back as; None where it did not.
        elite: id of the elite that it is a copy of.
        resting: whether it is at rest.
    """

    scores: np.ndarray
    agent: int | None = None
    elite: int | None = None
    resting: bool = False

    def credited(self, births: Sequence[Birth], individuals: Sequence[Individual]) -> list[Birth]:
        """Records of birth whose lineage leads to the archived elite, which was evaluated, as do the individuals'."""
        if self.agent is None or self.elite is None:
            return list(births)
        for individual in individuals:
            individual.parent = self.elite if individual.parent == self.agent else individual.parent
        return [self._credited(birth, self.elite) for birth in births]

    def _credited(self, birth: Birth, elite: int) -> Birth:
        if birth.agent == self.agent:
            how = "at rest" if self.resting else "unchanged"
            return replace(birth, parent=elite, kind="revived", detail=f"the archived elite {elite}, {how}")
        if birth.parent == self.agent:
            detail = birth.detail.replace(f"copy of {self.agent}", f"copy of {elite}")
            return replace(birth, parent=elite, detail=detail)
        return birth


class HallOfFame:
    """Owns the archived elite: which agent it is, what is known of it, and when it comes back.

    Args:
        revive: True has the elite return in place of the worst agent when no agent reaches its fitness;
            "resting" keeps it in one slot of the population, where it acts, so that the others learn from
            what it does, and its policy stays as it is. False does neither.
        confirmation: fresh episodes that confirm a record; four times as many follow where they reach a target.

    Attributes:
        elite: the best agent that was confirmed, a copy; None before the first.
        fitness: its mean return over all fresh episodes that it has played; minus infinity without one.
        episodes: how many those are.

    Raises:
        ValueError: `revive` is none of these, or `confirmation` is no positive number.
    """

    def __init__(self, revive: bool | str = False, confirmation: int = CONFIRMATION) -> None:
        if isinstance(revive, str) and revive != RESTING:
            raise checks.unknown("revive", revive, [RESTING])
        if revive not in (False, True, RESTING):
            raise ValueError(f"revive is {revive!r}; False, True or {RESTING!r} is expected.")
        self.revives = revive
        self.confirmation = checks.positive_integer("confirmation", confirmation)
        self.elite: Agent | None = None
        self.fitness, self.episodes = float("-inf"), 0

    def change(self, revive: bool | str, confirmation: int) -> None:
        """Do otherwise from now on; see the arguments of the class."""
        self.revives, self.confirmation = revive, confirmation

    # Who is the elite ---------------------------------------------------------------------------

    def archive(self, agent: Agent, fitness: float, episodes: int = 0) -> None:
        """Keep a copy of an agent as the elite, if its fitness is higher than what is known of the elite."""
        if fitness > self.fitness:
            self.elite, self.fitness, self.episodes = agent.copy(), fitness, episodes
            if episodes:
                self.elite.evaluated(fitness)

    def confirm(
        self, population: Population, row: int, fitness: float, target: float | None, play: Play
    ) -> Generator[Progress, None, float | None]:
        """Have an agent that promises a record play fresh episodes; it becomes the elite if it keeps the promise.

        The elite itself, at rest in the population, is not replaced by its own copy: the episodes add to
        what is known of it.

        Args:
            population: of P agents.
            row: of the agent.
            fitness: that it seems to have.
            target: mean return that is looked for; who reaches it is tried too.
            play: plays; the episodes are shared out to P copies of the agent.

        Returns:
            mean return over the fresh episodes; None where the agent promises nothing, or all of them were lost.
        """
        if not np.isfinite(fitness):
            return None
        if fitness <= self.fitness and (target is None or fitness < target):
            return None
        copies = population.copy([row] * len(population))
        returns, mean = np.empty(0), float("nan")
        for stage, episodes in enumerate((self.confirmation, FURTHER * self.confirmation)):
            result = yield from play(copies, -(-episodes // len(population)), stage)
            returns = np.concatenate([returns, result.returns.ravel()])
            if np.isnan(returns).all():
                return None
            mean = float(np.nanmean(returns))
            if target is None or mean < target:
                break
        count = int(np.isfinite(returns).sum())
        if self.holds(population.individuals[row]):
            self.observe(mean, count)
            return self.fitness
        self.archive(population[row], mean, count)
        return mean

    def observe(self, mean: float, episodes: int) -> None:
        """Add fresh episodes of the elite, at rest, to what is known of it."""
        if episodes and np.isfinite(mean) and self.elite is not None:
            total = self.episodes + episodes
            self.fitness += (mean - self.fitness) * episodes / total
            self.episodes = total
            self.elite.evaluated(self.fitness, again=True)

    def holds(self, individual: Individual) -> bool:
        """True for the elite itself, at rest in the population."""
        return self.elite is not None and individual.resting == self.elite.id

    # How it comes back --------------------------------------------------------------------------

    def revive(self, population: Population, scores: np.ndarray, buffer: Buffer) -> Revival:
        """Let the elite take the place of the worst agent, where no agent reaches its fitness; or keep it at rest.

        Args:
            population: of P agents; a row changes, and rows may move.
            scores: [P], by which agents will be selected; NaN where one diverged.
            buffer: experience that moves with the rows, where it is not shared.
        """
        finite = np.isfinite(scores)
        if not self.revives or self.elite is None or len(population) == 1:
            return Revival(scores)
        resting = [row for row, one in enumerate(population.individuals) if one.resting is not None]
        scores = scores.copy()
        if resting and self.holds(population.individuals[resting[0]]) and finite[resting[0]]:
            scores[resting[0]] = self.fitness  # known from more episodes than this generation's
            return Revival(scores)
        if self.revives != RESTING and finite.any() and scores[finite].max() >= self.fitness:
            return Revival(scores)
        worst = resting[0] if resting else int(np.argmin(np.where(finite, scores, -np.inf)))
        individuals = [population.individual(row) for row in range(len(population))]
        revived = replace(
            self.elite.individual().child(population.table.new_id()),
            fitness=[self.fitness],
            resting=self.elite.id if self.revives == RESTING else None,
            slot=individuals[worst].slot,
        )
        individuals[worst] = revived
        scores[worst] = self.fitness
        order = population.rebuild(individuals)
        buffer.follow(order)  # experience of their own moves with the rows
        return Revival(scores[order], revived.id, self.elite.id, self.revives == RESTING)

    # On disk ------------------------------------------------------------------------------------

    def take_state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the elite itself."""
        return {"elite_fitness": self.fitness, "elite_episodes": self.episodes}

    def put_state(self, state: Mapping[str, Any], elite: Agent | None) -> None:
        """Go on from a checkpoint; an older one does not say how many episodes are behind the elite."""
        self.elite, self.fitness = elite, float(state["elite_fitness"])
        self.episodes = int(state.get("elite_episodes", CONFIRMATION))
