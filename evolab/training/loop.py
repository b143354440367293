"""The only training loop: a generator of events.

A generation is a transaction: its environments and random streams start from seeds derived from (run seed,
generation, purpose). To pause is to stop pulling; nothing is half done between two events.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from evolab.core.rng import numpy_stream, seed_of
from evolab.evaluation.episodes import Evaluated, healthy
from evolab.evaluation.fitness import Fitness
from evolab.evolution.evolve import evolve
from evolab.evolution.hall_of_fame import Revival
from evolab.history.events import Birth, Evaluation, Fault, Finished, Generation, Progress
from evolab.population.population import Population
from evolab.training.learning import Watch, learn
from evolab.training.state import TrainingState


def train(
    run: TrainingState,
    generations: int | None = None,
    max_steps: int | None = None,
    target: float | None = None,
) -> Iterator[Progress | Generation | Finished]:
    """Train until one of the goals is met; without a goal, for ever.

    Args:
        run: is changed as it goes; a generation that was interrupted is gone on with.
        generations: finish this many more generations.
        max_steps: stop where `total_steps` reaches this: the last generation is cut to what is left.
        target: stop when the best agent averages this return over the fresh episodes of a confirmation.

    Yields:
        `Progress` some times a second, a `Generation` at each end, `Finished` at last.
    """
    finished = 0
    run.seek(target, max_steps)
    if run.spent and not run.under_way and run.history.generations:
        yield Finished("max_steps", run.generation, run.total_steps, run.history.generations[-1].fitness)
        return
    while True:
        event = run.advance(one_generation)
        yield event
        if not isinstance(event, Generation):
            continue
        finished += 1
        reason = None
        if target is not None and event.confirmed is not None and event.confirmed >= target:
            reason = "target"
        elif generations is not None and finished >= generations:
            reason = "generations"
        elif run.spent:
            reason = "max_steps"
        if reason:
            yield Finished(reason, run.generation, run.total_steps, event.fitness)
            return


def one_generation(run: TrainingState) -> Iterator[Progress | Generation]:
    """Learn, evaluate, confirm, evolve, record."""
    number, population = run.generation + 1, run.population
    if not healthy(population).any():
        raise RuntimeError(
            f"all {len(population)} agents have diverged: their weights are not finite, and nothing can be learned "
            f"from here. Go back to an earlier generation with Experiment.load(folder, generation=...), or start "
            f"again with lower learning rates."
        )
    population.reseed(number)
    clock, faults = [time.perf_counter()], list[Fault]()
    losses = yield from learn(run, number, faults)
    clock.append(time.perf_counter())
    found = yield from _evaluate(run, number, faults)
    run.keep(population[found.order[0]].copy())
    confirmed = yield from _confirm(run, number, found, faults)
    clock.append(time.perf_counter())
    evaluations = [_record(run, number, found, row) for row in found.order]
    weights, births = run.mutations.weights, list[Birth]()
    if run.options.evolving:
        births = evolved(run, number, found.scores)
        elites = {birth.agent for birth in births if birth.kind == "elite"}  # none without elitism
        evaluations = [replace(one, is_elite=one.agent in elites) for one in evaluations]
    for one in evaluations:
        if not np.isfinite(one.fitness):
            told = "fitness is not finite; it cannot win a tournament"
            faults.append(Fault(number, one.agent, "diverged", told))
    clock.append(time.perf_counter())
    event = Generation(
        number=number,
        total_steps=run.total_steps,
        evaluation_steps=run.evaluation_steps,
        seconds=dict(zip(("train", "evaluate", "evolve"), np.diff(clock).tolist(), strict=True)),
        evaluations=tuple(evaluations),
        births=tuple(births),
        faults=tuple(faults),
        losses={name: float(np.mean(values)) for name, values in losses.items() if values},
        mutation_weights=weights,
        confirmed=confirmed,
    )
    run.end(event)
    yield event


@dataclass(frozen=True)
class _Found:
    """What the evaluation of a generation found, by rows.

    Attributes:
        fitness: [P], of this generation.
        scores: [P], over the selection's window; what agents are selected by.
        order: [P], rows, the best first.
        episodes: [P], played.
        length: [P], their mean length.
        measures: further figures by name, [P] each.
    """

    fitness: np.ndarray
    scores: np.ndarray
    order: list[int]
    episodes: np.ndarray
    length: np.ndarray
    measures: Mapping[str, np.ndarray]


def _evaluate(run: TrainingState, number: int, faults: list[Fault]) -> Generator[Progress, None, _Found]:
    population, decisive = run.population, run.fitness
    if run.beside is not None:
        yield from _measured(run, run.beside, number)
    fitness = yield from _measured(run, decisive, number)
    _note_faults(run, number, faults)
    episodes, length = np.zeros(len(population), dtype=np.int64), np.zeros(len(population))
    if decisive.lengths is not None:
        episodes = (decisive.lengths > 0).sum(1)
        length = decisive.lengths.sum(1) / np.maximum(episodes, 1)
    for row, agent in enumerate(population):
        agent.evaluated(float(fitness[row]))
        if decisive.fresh and run.hall.holds(population.individuals[row]):
            run.hall.observe(float(fitness[row]), int(episodes[row]))
    scores = np.array([run.selection.score(individual.fitness) for individual in population.individuals])
    # Of equals the elite at rest is first, of others the one in the lower slot, as for the selections.
    slots = np.array([individual.slot for individual in population.individuals])
    awake = np.array([individual.resting is None for individual in population.individuals])
    order = np.lexsort((slots, awake, np.where(np.isfinite(scores), -scores, np.inf)))
    measures = {**decisive.measures, **(run.beside.measures if run.beside is not None else {})}
    return _Found(fitness, scores, order.tolist(), episodes, length, measures)


def _measured(run: TrainingState, fitness: Fitness, number: int) -> Generator[Progress, None, np.ndarray]:
    """[P]: what a measure of fitness finds."""
    seed = seed_of(run.options.seed, number, "evaluation" if fitness.fresh else "fitness")
    watch = Watch(run)
    for event in fitness.estimate(run.population, run.buffer, seed):
        if isinstance(event, np.ndarray):
            return event
        if not fitness.fresh or watch.due():
            yield Progress("evaluate", number, *event, run.total_steps)
    raise ValueError(f"{type(fitness).__name__}.estimate ended without an array of fitness.")


def _confirm(
    run: TrainingState, number: int, found: _Found, faults: list[Fault]
) -> Generator[Progress, None, float | None]:
    """Mean return of the best agent over fresh episodes, where it promises a record."""
    best, evaluator = found.order[0], run.evaluator
    fitness = float(found.fitness[best])
    if not run.fitness.fresh or evaluator is None:
        if np.isfinite(fitness):
            run.hall.archive(run.population[best], fitness)
        return None

    def play(copies: Population, episodes: int, stage: int) -> Generator[Progress, None, Evaluated]:
        seed, watch = seed_of(run.options.seed, number, "confirmation", stage), Watch(run)
        for event in evaluator.play(copies, episodes, seed, paired=False):
            if isinstance(event, Evaluated):
                return event
            if watch.due():
                yield Progress("evaluate", number, event, episodes * len(copies), run.total_steps)
        raise AssertionError("an evaluation ends with its result")

    confirmed = yield from run.hall.confirm(run.population, best, fitness, run.target, play)
    _note_faults(run, number, faults)
    return confirmed


def evolved(run: TrainingState, number: int, scores: np.ndarray) -> list[Birth]:
    """Evolve the population; the records of birth of the next one, in the order of its rows."""
    population = run.population
    # No agent is replaced before the selection has warmed up, not by the archived elite either.
    waiting = number <= run.selection.warmup
    revival = Revival(scores) if waiting else run.hall.revive(population, scores, run.buffer)
    births = evolve(
        population,
        revival.scores,
        run.selection,
        run.mutations,
        generation=number,
        buffer=run.buffer,
        generator=numpy_stream(run.options.seed, number, "evolution"),
    )
    return revival.credited(births, population.individuals)


def _record(run: TrainingState, number: int, found: _Found, row: int) -> Evaluation:
    """What one agent was when it earned its fitness."""
    individual = run.population.individuals[row]
    genes = run.population.network.to_json(individual.genes)
    return Evaluation(
        generation=number,
        agent=individual.id,
        parent=individual.parent,
        fitness=float(found.fitness[row]),
        episodes=int(found.episodes[row]),
        length=float(found.length[row]),
        steps=individual.steps,
        total_steps=run.total_steps,
        updates=individual.updates,
        hyperparameters=dict(individual.hyperparameters),
        hidden=tuple(individual.genes.hidden),
        activation=tuple(individual.genes.activation),
        parameters=run.population.table.parameters(row),
        is_elite=row == found.order[0],
        extra={name: float(values[row]) for name, values in found.measures.items()},
        genes={} if set(genes) <= {"hidden", "activation"} else genes,
    )


def _note_faults(run: TrainingState, number: int, faults: list[Fault]) -> None:
    if run.evaluator is not None:
        for agent, fault in run.evaluator.take_faults():
            faults.append(Fault(number, agent, fault.kind, fault.message))
