"""An agent that may become the elite: what it seems to be worth, and what trying it may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evolab.population.agent import Agent
from evolab.population.population import Population


@dataclass(frozen=True)
class Candidate:
    """An agent of a generation, which fresh episodes may make the elite.

    Attributes:
        population: of P agents.
        row: of the agent.
        fitness: that it seems to have.
        length: steps that one of its episodes seems to take.
        allowance: environment steps that trying it may cost; infinite where no episode has to be saved.
        left: environment steps until the run's budget is spent, which reaching the target may take.
        ended: False where its fitness is what an episode under way has earned so far.
    """

    population: Population
    row: int
    fitness: float
    length: float = 0.0
    allowance: float = math.inf
    left: float = math.inf
    ended: bool = True

    @property
    def agent(self) -> Agent:
        """It itself."""
        return self.population[self.row]

    @property
    def seemed(self) -> float:
        """What decides where it ties with the elite; nothing is known where its episode has not ended."""
        return self.fitness if self.ended else -math.inf

    def affords(self, steps: float, length: float | None = None) -> int:
        """Episodes that so many steps are enough for; `length` is what is known of them by now."""
        return int(min(steps / max(self.length if length is None else length, 1.0), 10**9))
