"""The hall of fame: the best agent that fresh episodes confirmed, and what becomes of it.

Deep reinforcement learning forgets: the best agent goes on learning and may never be that good again.
The hall of fame keeps a copy; `evolution.revival` may bring it back into the population.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from evolab.core import checks
from evolab.evaluation.episodes import Evaluated
from evolab.evolution.candidate import Candidate
from evolab.history.display import ticked
from evolab.history.events import Progress
from evolab.population.agent import Agent
from evolab.population.individual import Individual

RESTING = "resting"

CONFIRMATION = 20
"""Fresh episodes that confirm a record, where `confirmation` says nothing else."""

FIRST = 3
"""Fresh episodes after which a confirmation may end, where episodes are to be saved."""

ELITE = 16
"""First stage of the elite's own episodes, whose random numbers are others than those of who challenges it."""

LEARNING = 0.3
"""Weight of the newest confirmation in `offset`."""

FURTHER = 4
"""Times as many episodes follow where the first ones reach the target. Every generation tries, so twenty are
met by luck too often: an agent of 152 over a hundred episodes passed them at a target of 200 (measured)."""

Play = Callable[[Agent, int, int], Generator[Progress, None, Evaluated]]
"""Plays fresh episodes: of an agent, so many, in this stage of a confirmation."""


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
        deviations: sum of the squared differences of their returns from that mean.
        seemed: what the elite had earned by acting when it was confirmed; it decides where fresh episodes tie.
        proposed: what the elite seemed to have when nobody had been confirmed.
        offset: what agents that were tried had more than they seemed to have: exploration costs, luck flatters.

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
        self.fitness, self.episodes, self.deviations = float("-inf"), 0, 0.0
        self.proposed, self.offset, self.seemed = float("-inf"), 0.0, float("-inf")

    def change(self, revive: bool | str, confirmation: int) -> None:
        """Do otherwise from now on; see the arguments of the class."""
        self.revives, self.confirmation = revive, confirmation

    # Who is the elite ---------------------------------------------------------------------------

    def propose(self, agent: Agent, fitness: float) -> None:
        """Keep a copy of an agent that could not be tried yet, for as long as no agent has been."""
        if not self.episodes and fitness > self.proposed:
            self.elite, self.proposed = agent.copy(), fitness

    def archive(
        self,
        agent: Agent,
        fitness: float,
        episodes: int = 0,
        seemed: float = -math.inf,
        deviations: float = 0.0,
    ) -> None:
        """Keep a copy of an agent as the elite, if its fitness is higher than what is known of the elite.

        Where returns have a highest value, few episodes reach it by luck, and nothing could ever be higher. Of equals
        the one is kept that `seemed` better, by the episodes in which it learned, unless the elite is known well.
        """
        if (fitness, seemed) > (self.fitness, self._tie):
            self.elite, self.fitness, self.episodes = agent.copy(), fitness, episodes
            self.seemed, self.deviations = seemed, deviations
            if episodes:
                self.elite.evaluated(fitness)

    @property
    def _tie(self) -> float:
        """What an agent has to seem to have to replace an elite that is as good as it is."""
        return math.inf if self.episodes >= self.confirmation else self.seemed

    def confirm(
        self, candidate: Candidate, target: float | None, play: Play
    ) -> Generator[Progress, None, float | None]:
        """Have an agent that promises a record play fresh episodes; it becomes the elite if it keeps that promise.

        The elite itself, at rest in the population, is not replaced by its own copy: the episodes add to
        what is known of it. Where episodes have to be saved, one comes first, and the others follow for as long as
        their mean is above the elite's; few tell, whatever they earned.

        Args:
            candidate: the agent.
            target: mean return that is looked for; who reaches it is tried too, over five times as many episodes.
            play: plays.

        Returns:
            mean return over the fresh episodes; None where none were played, or all of them were lost.
        """
        if not np.isfinite(candidate.fitness):
            return None
        saving = math.isfinite(candidate.allowance)
        if not self._worth_trying(candidate, target):
            return None
        returns, mean, steps = np.empty(0), float("nan"), 0
        few = min(FIRST, self.confirmation)
        parts = [1, few - 1, self.confirmation - few] if saving else [self.confirmation]
        stages = [part for part in parts if part]
        for stage, wanted in enumerate([*stages, *[self.confirmation] * FURTHER]):
            reaches = target is not None and mean >= target
            if stage >= len(stages) and not reaches:
                break
            # Whoever may have reached the target is worth all that is left, and so are few episodes that were begun.
            begun = 0 < len(returns) < few
            allowed = candidate.allowance if saving and not (reaches or begun) else candidate.left
            known = steps / len(returns) if len(returns) else None
            count = min(wanted, candidate.affords(allowed - steps, known))
            if count < min(wanted, FIRST):
                break
            result = yield from play(candidate.agent, count, stage)
            returns = np.concatenate([returns, result.returns.ravel()])
            steps += result.steps
            if np.isnan(returns).all():
                return None
            mean = float(np.nanmean(returns))
            if saving and not (target is not None and mean >= target) and self._settles(returns, candidate):
                break
        if not len(returns):
            return None
        if saving and candidate.ended:
            self.offset += (mean - candidate.fitness - self.offset) * LEARNING
        if self.holds(candidate.population.individuals[candidate.row]):
            self.add(returns)
            return self.fitness
        if len(returns) < few:  # it fell behind, or the budget ended
            return mean
        finite = returns[np.isfinite(returns)]
        self.archive(candidate.agent, mean, len(finite), candidate.seemed, float(finite.var() * len(finite)))
        return mean

    def _settles(self, returns: np.ndarray, candidate: Candidate) -> bool:
        """True where fresh episodes of an agent say already whether it is better than the elite.

        A few that are alike do not say that all are: where an episode earns 0 or 1, three of them are often equal. So
        they are taken to differ no less than the elite's.
        """
        finite = returns[np.isfinite(returns)]
        lead = float(finite.mean()) - self.fitness
        if lead <= 0:
            return lead < 0 or candidate.seemed <= self._tie
        if len(finite) < 2:
            return False
        spread = max(float(finite.var(ddof=1)), self.deviations / max(self.episodes - 1, 1))
        return lead > 2 * math.sqrt(spread / len(finite))

    @property
    def enough(self) -> int:
        """Episodes that show that a target is reached."""
        return (1 + FURTHER) * self.confirmation

    def observe_elite(
        self, candidate: Candidate, target: float | None, play: Play
    ) -> Generator[Progress, None, float | None]:
        """More episodes of the elite: until it is known from enough, or is shown to reach the target.

        An elite known from few episodes was lucky more often than not: it is the best of many that were tried. Where
        nobody seems to be better, nothing is as much worth knowing: an elite of CartPole-v1 that had the highest
        return there is in 3 episodes, and 413 over 100, was known from 8 after 56 000 more steps, in which others tied
        with it (seed 1).

        Args:
            candidate: the best agent of a generation, whose allowance it is; half of it is left to those who are tried,
                if that agent seems to be better than the elite.
            target: mean return that is looked for.
            play: plays.

        Returns:
            mean return over all of its fresh episodes; None where nothing new is known of it.
        """
        if self.elite is None:
            return None
        reached = target is not None and self.fitness >= target
        share = 0.5 if candidate.fitness > min(self.fitness, self._tie) else 1.0
        left = candidate.left if reached else candidate.allowance * share
        played, length = 0, None
        for stage in range(FURTHER + 2):
            wanted = (self.enough if reached else self.confirmation) - self.episodes
            count = min(wanted, self.confirmation, candidate.affords(left, length))
            if not self.episodes or count <= 0:
                break
            # How long its episodes are is not known, and those of the best agent may be far shorter.
            count = count if played or reached else 1
            result = yield from play(self.elite, count, ELITE + stage)
            left, played, length = left - result.steps, played + count, result.steps / count
            self.observe(result)
            reached = reached and target is not None and self.fitness >= target
        return self.fitness if played or (reached and self.episodes >= self.enough) else None

    def _worth_trying(self, candidate: Candidate, target: float | None) -> bool:
        """True where an agent may be better than the elite, or reach the target before it does."""
        if math.isinf(candidate.allowance):
            return candidate.fitness > self.fitness or (target is not None and candidate.fitness >= target)
        if target is not None and self.fitness >= target:
            return False
        # Whoever is the first is better than nobody, and plays all of the first few.
        return candidate.affords(candidate.allowance) >= (
            1 if self.episodes else min(FIRST, self.confirmation)
        )

    def observe(self, result: Evaluated) -> None:
        """Add fresh episodes of the elite to what is known of it."""
        self.add(result.returns.ravel())

    def add(self, returns: np.ndarray) -> None:
        """Add the returns of fresh episodes of the elite, [N], to what is known of it; NaN tells nothing."""
        returns = returns[np.isfinite(returns)]
        if len(returns) and self.elite is not None:
            total, lead = self.episodes + len(returns), float(returns.mean()) - self.fitness
            self.deviations += float(returns.var() * len(returns))
            self.deviations += lead**2 * self.episodes * len(returns) / total if self.episodes else 0.0
            self.fitness += lead * len(returns) / total
            self.episodes = total
            self.elite.evaluated(self.fitness, again=True)

    def holds(self, individual: Individual) -> bool:
        """True for the elite itself, at rest in the population."""
        return self.elite is not None and individual.resting == self.elite.id

    def described(self) -> str:
        """What is known of the elite, in words."""
        if self.elite is None:
            return "no elite yet"
        if not self.episodes:
            return f"agent {self.elite.id} is proposed as the elite, not confirmed yet"
        return f"elite {ticked(self.fitness)} over {self.episodes} fresh episodes (agent {self.elite.id})"

    # On disk ------------------------------------------------------------------------------------

    def take_state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the elite itself."""
        return {
            "elite_fitness": self.fitness,
            "elite_episodes": self.episodes,
            "elite_proposed": self.proposed,
            "elite_offset": self.offset,
            "elite_seemed": self.seemed,
            "elite_deviations": self.deviations,
        }

    def put_state(self, state: Mapping[str, float], elite: Agent | None) -> None:
        """Go on from a checkpoint; an older one does not say how many episodes are behind the elite."""
        self.elite, self.fitness = elite, float(state["elite_fitness"])
        self.episodes = int(state.get("elite_episodes", CONFIRMATION))
        self.deviations = float(state.get("elite_deviations", 0.0))
        self.proposed, self.offset, self.seemed = (
            float(state.get(f"elite_{name}", default))
            for name, default in (("proposed", -math.inf), ("offset", 0.0), ("seemed", -math.inf))
        )
