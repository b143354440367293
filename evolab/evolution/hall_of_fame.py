"""Renewal: evolution at the end of a generation, with the archived elite as a last resort."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from evolab.core import checks
from evolab.core.rng import numpy_stream, torch_stream
from evolab.evolution.evolve import evolve
from evolab.history.events import Birth
from evolab.training.state import TrainingState

RESTING = "resting"


def revival(asked: Any) -> bool | str:
    """What an experiment's `revive` asks for: False, True or "resting".

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(asked, str) and asked != RESTING:
        raise checks.unknown("revive", asked, [RESTING])
    if asked not in (False, True, RESTING):
        raise ValueError(f"revive is {asked!r}; False, True or {RESTING!r} is expected.")
    return asked


def renew(run: TrainingState, number: int, scores: np.ndarray) -> list[Birth]:
    """Evolve the population of a run; the records of birth of the next one, in the order of its rows."""
    probes = None
    if len(run.buffer) or run.population.algorithm.on_policy:
        stream = torch_stream(run.seed, number, "probes", device=run.buffer.device or "cpu")
        probes = run.buffer.observations(64, stream)
    reviving = run.revive and number > getattr(run.selection, "warmup", 0)  # until then nobody is replaced
    scores, revived = _revive(run, scores) if reviving else (scores, None)
    births = evolve(
        run.population,
        scores,
        run.selection,
        run.mutations,
        generation=number,
        buffer=run.buffer,
        probes=probes,
        generator=numpy_stream(run.seed, number, "evolution"),
    )
    if revived is None:
        return births
    assert run.elite is not None
    for individual in run.population.individuals:  # lineage leads to the archived agent, which was evaluated
        individual.parent = run.elite.id if individual.parent == revived else individual.parent
    return [_from_archive(birth, revived, run.elite.id, run.revive == RESTING) for birth in births]


def _revive(run: TrainingState, scores: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Let the archived elite take the place of the worst agent where nobody reaches its confirmed fitness.

    Deep reinforcement learning forgets: the best agent goes on learning and may never be that good
    again, and neither may one that is revived and goes on learning. At rest it keeps one place for
    as long as it is the elite: it acts, so that the others learn from what it does.
    Returns the scores, in the order of the rows, and the id of the revived agent.
    """
    population = run.population
    finite = np.isfinite(scores)
    if run.elite is None or len(population) == 1:
        return scores, None
    seats = [row for row, individual in enumerate(population.individuals) if individual.resting is not None]
    scores = scores.copy()
    if seats and population.individuals[seats[0]].resting == run.elite.id and finite[seats[0]]:
        scores[seats[0]] = run.elite_fitness  # known from more episodes than today's
        return scores, None
    if run.revive != RESTING and finite.any() and scores[finite].max() >= run.elite_fitness:
        return scores, None
    worst = seats[0] if seats else int(np.argmin(np.where(finite, scores, -np.inf)))
    members = [population.individual(row) for row in range(len(population))]
    archived = run.elite._population.individual(0)
    revived = archived.child(population.new_id())
    revived.fitness = [run.elite_fitness]
    revived.resting = run.elite.id if run.revive == RESTING else None
    revived.place = members[worst].place
    members[worst] = revived
    scores[worst] = run.elite_fitness
    order = population.rebuild(members)
    if hasattr(run.buffer, "gather"):
        run.buffer.gather(order)  # rows have moved, and experience of their own with them
    return scores[order], revived.id


def _from_archive(birth: Birth, revived: int, elite: int, resting: bool) -> Birth:
    """A record of birth in which the revived agent is a child of the archived one, as are its children."""
    if birth.agent == revived:
        how = "at rest" if resting else "unchanged"
        return replace(birth, parent=elite, kind="revived", detail=f"the archived elite {elite}, {how}")
    if birth.parent == revived:
        return replace(
            birth, parent=elite, detail=birth.detail.replace(f"copy of {revived}", f"copy of {elite}")
        )
    return birth
