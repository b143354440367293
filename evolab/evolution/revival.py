"""Revival: the archived elite comes back into the population, or rests in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolab.data.buffers.base import Buffer
from evolab.evolution.hall_of_fame import RESTING, HallOfFame
from evolab.history.events import Birth
from evolab.population.individual import Individual
from evolab.population.population import Population


@dataclass(frozen=True)
class Revival:
    """What `revive` did.

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
            return replace(birth, parent=elite)
        return birth


def revive(hall: HallOfFame, population: Population, scores: np.ndarray, buffer: Buffer) -> Revival:
    """Let the elite take the place of the worst agent, where no agent reaches its fitness; or keep it at rest.

    Args:
        hall: that owns the elite.
        population: of P agents; a row changes, and rows may move.
        scores: [P], by which agents will be selected; NaN where one diverged.
        buffer: experience that moves with the rows, where it is not shared.
    """
    finite = np.isfinite(scores)
    if not hall.revives or hall.elite is None or len(population) == 1:
        return Revival(scores)
    if not np.isfinite(hall.fitness):  # proposed, and not tried yet
        return Revival(scores)
    resting = [row for row, one in enumerate(population.individuals) if one.resting is not None]
    scores = scores.copy()
    if resting and hall.holds(population.individuals[resting[0]]) and finite[resting[0]]:
        scores[resting[0]] = hall.fitness - hall.offset  # known from more episodes than this generation's
        return Revival(scores)
    if hall.revives != RESTING and finite.any() and scores[finite].max() + hall.offset >= hall.fitness:
        return Revival(scores)
    worst = resting[0] if resting else int(np.argmin(np.where(finite, scores, -np.inf)))
    individuals = [population.individual(row) for row in range(len(population))]
    revived = replace(
        hall.elite.individual().child(population.table.new_id()),
        fitness=[hall.fitness],
        resting=hall.elite.id if hall.revives == RESTING else None,
        slot=individuals[worst].slot,
    )
    individuals[worst] = revived
    scores[worst] = hall.fitness - hall.offset
    order = population.rebuild(individuals)
    buffer.follow(order)  # experience of their own moves with the rows
    return Revival(scores[order], revived.id, hall.elite.id, hall.revives == RESTING)
