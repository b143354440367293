"""Immigration: agents of other runs enter a population, each in the place of a newborn with the worst parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolab.data.buffers.base import Buffer
from evolab.history.events import Birth
from evolab.population.individual import Individual
from evolab.population.population import Population


@dataclass(frozen=True)
class Immigrant:
    """An agent of another run.

    Attributes:
        individual: the agent, with its moments and targets.
        fitness: that it had there, in units of return.
        origin: who it was, in words.
        weights_alone: it takes the hyperparameters of the best agent of the population that it enters.
    """

    individual: Individual
    fitness: float
    origin: str
    weights_alone: bool = False


def admit(
    immigrants: Sequence[Immigrant],
    population: Population,
    births: Sequence[Birth],
    scores: Mapping[int, float],
    buffer: Buffer,
) -> list[Birth]:
    """Let agents of other runs take the places of those newborn that have the worst parents, where they are better.

    They live for a generation before they are selected. The elite and an agent at rest keep their places.

    Args:
        immigrants: those that ask; one whose fitness is not finite never enters.
        population: of P agents that were just selected and mutated; rows change, and may move.
        births: their records, in the order of the rows.
        scores: by which their parents were selected, by id; NaN where one diverged.
        buffer: experience that moves with the rows, where it is not shared.

    Returns:
        the records in the order of the rows, those of kind "migrated" among them.
    """
    listed = list(births)
    for one in immigrants:
        known = [scores.get(birth.parent, -np.inf) for birth in listed]
        free = [
            row
            for row, individual in enumerate(population.individuals)
            if individual.resting is None and listed[row].kind not in ("elite", "migrated")
        ]
        if not free or not np.isfinite(one.fitness):
            continue
        worst = min(free, key=lambda row: _finite(known[row]))
        if np.isfinite(known[worst]) and known[worst] >= one.fitness:
            continue
        individuals = [population.individual(row) for row in range(len(population))]
        arrived = replace(
            one.individual.child(population.table.new_id()),
            fitness=[one.fitness],
            resting=None,
            slot=individuals[worst].slot,
        )
        arrived.parent = arrived.id  # who it was there is nobody here
        told = one.origin
        if one.weights_alone:
            best = max(range(len(known)), key=lambda row: (_finite(known[row]), listed[row].kind == "elite"))
            arrived.hyperparameters = dict(individuals[best].hyperparameters)
            told += f", hyperparameters of {listed[best].agent}"
        individuals[worst] = arrived
        listed[worst] = Birth(listed[worst].generation, arrived.id, arrived.id, "migrated", told)
        order = population.rebuild(individuals)
        buffer.follow(order)
        listed = [listed[row] for row in order]
    return listed


def _finite(score: float) -> float:
    return score if np.isfinite(score) else -np.inf
