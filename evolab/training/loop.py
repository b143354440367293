"""The only training loop: a generator of events.

A generation is a transaction: its environments and random streams start from seeds derived from (run seed,
generation, purpose). To pause is to stop pulling; nothing is half done between two events.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolab.core import checks
from evolab.core.layers import plain
from evolab.core.rng import numpy_stream, seed_of
from evolab.evaluation.episodes import healthy
from evolab.evaluation.fitness import Fitness
from evolab.evolution.evolve import evolve
from evolab.evolution.immigration import admit
from evolab.evolution.revival import Revival, revive
from evolab.history.columns import own_name
from evolab.history.events import Birth, Evaluation, Fault, Finished, Generation, Progress
from evolab.population.population import Population
from evolab.training.act_and_learn import Learned, Watch, fill, learn
from evolab.training.advice import advise, nothing_begins
from evolab.training.budget import Budget
from evolab.training.confirmation import confirm
from evolab.training.state import TrainingState


def train(
    state: TrainingState,
    generations: int | None = None,
    max_steps: int | None = None,
    target: float | None = None,
    minutes: float | None = None,
    warm_up: int = 0,
) -> Iterator[Progress | Generation | Finished]:
    """Train until one of the goals is met; without a goal, for ever.

    Args:
        state: is changed as it goes; a generation that was interrupted is gone on with.
        generations: finish this many more generations.
        max_steps: stop where training and evaluation together have taken so many steps: the last generation, and a
            confirmation under way, are cut to what is left. Where every agent plays episodes for its fitness, as
            many steps are kept for the last generation's as the one before took (for the first as many as they may
            take, half of all at most); episodes that take more are cut, and count by what they earned.
        target: stop when the best agent averages this return over the fresh episodes of a confirmation.
        minutes: stop after so much time. The last generation's learning ends early enough that it can be
            evaluated as the ones before; one whose evaluation takes longer rests under way.
        warm_up: random steps of all agents to begin with.

    Yields:
        `Progress` some times a second, a `Generation` at each end, `Finished` at last.
    """
    finished = 0
    state.seek(target, Budget(max_steps, None if minutes is None else 60 * minutes))
    if state.spent and not state.under_way and state.history.generations:
        nothing_begins(state, state.spent)
        yield _finished(state, state.spent)
        return
    if warm_up:
        before = state.total_steps
        yield from fill(state, warm_up, budgeted=True)
        if state.budget.over:
            checks.notice(
                f"{minutes:g} minutes are over while agents act at random, {state.total_steps - before:,} of "
                f"{warm_up:,} steps before the first generation: the next call goes on there."
            )
            yield _finished(state, "minutes")
            return
    while True:
        event = state.advance(one_generation)
        yield event
        if not isinstance(event, Generation):
            if state.budget.over:
                checks.notice(
                    f"{minutes:g} minutes are over in the middle of generation {state.generation + 1}: the next call "
                    "goes on there, and ends it."
                )
                yield _finished(state, "minutes")
                return
            continue
        finished += 1
        reason = spent = state.spent
        if state.solved:
            reason, spent = "target", None
        elif generations is not None and finished >= generations:
            reason = "generations"
        # Who asks for generations one by one knows what is left of a budget that began before.
        advise(state, spent, short=finished == 1 and (state.generation == 1 or generations is None))
        if reason:
            yield _finished(state, reason)
            return


def affords(state: TrainingState, max_steps: int | None, minutes: float | None) -> bool:
    """False where a budget leaves no room for a further generation; one that rests under way is always ended."""
    state.seek(state.target, Budget(max_steps, None if minutes is None else 60 * minutes))
    return state.under_way or not state.history.generations or state.spent is None


def _finished(state: TrainingState, reason: str) -> Finished:
    ended = state.history.generations
    return Finished(reason, state.generation, state.total_steps, ended[-1].fitness if ended else float("nan"))


def one_generation(state: TrainingState) -> Iterator[Progress | Generation]:
    """Learn, evaluate, confirm, evolve, record."""
    number = state.generation + 1
    _refuse_diverged(state.population)
    state.population.reseed(number)
    clock, faults = [time.perf_counter()], list[Fault]()
    learned = yield from learn(state, number, faults)
    clock.append(time.perf_counter())
    found = yield from _evaluate(state, number, faults)
    confirmed = yield from confirm(state, number, found.order, found.fitness, found.length)
    _note_faults(state, number, faults)
    clock.append(time.perf_counter())
    evaluations = [_evaluation(state, number, found, learned, row) for row in found.order]
    weights, births = state.mutations.weights, list[Birth]()
    if state.options.evolving:
        births = evolved(state, number, found.scores)
        state.fit_environments()
        elites = {birth.agent for birth in births if birth.kind == "elite"}  # none without elitism
        evaluations = [replace(one, is_elite=one.agent in elites) for one in evaluations]
    clock.append(time.perf_counter())
    event = Generation(
        number=number,
        total_steps=state.total_steps,
        evaluation_steps=state.evaluation_steps,
        seconds=dict(zip(("train", "evaluate", "evolve"), np.diff(clock).tolist(), strict=True)),
        evaluations=tuple(evaluations),
        births=tuple(births),
        faults=tuple(faults + _divergences(evaluations)),
        losses=learned.losses,
        mutation_weights=weights,
        confirmed=confirmed,
        changes=state.changes.take(),
    )
    state.end(event)
    yield event


def _refuse_diverged(population: Population) -> None:
    if not healthy(population).any():
        raise RuntimeError(
            f"all {len(population)} agents have diverged: their weights are not finite, and nothing can be learned "
            f"from here. Go back to an earlier generation with Experiment.load(folder, generation=...), or start "
            f"again with lower learning rates."
        )


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


def _evaluate(state: TrainingState, number: int, faults: list[Fault]) -> Generator[Progress, None, _Found]:
    population, decisive = state.population, state.fitness
    if state.beside is not None:
        yield from _measured(state, state.beside, number)
    fitness = yield from _measured(state, decisive, number)
    _note_faults(state, number, faults)
    episodes, length = np.zeros(len(population), dtype=np.int64), np.zeros(len(population))
    if decisive.lengths is not None:
        episodes = (decisive.lengths > 0).sum(1)
        length = decisive.lengths.sum(1) / np.maximum(episodes, 1)
    for row, agent in enumerate(population):
        agent.evaluated(float(fitness[row]))
        whole = decisive.returns if decisive.by_returns and not decisive.by_acting else None
        if whole is not None and state.hall.holds(population.individuals[row]):
            state.hall.add(whole[row])
    scores = np.array([state.selection.score(individual.fitness) for individual in population.individuals])
    # Of equals the elite at rest is first, of others the one in the lower slot, as for the selections.
    slots = np.array([individual.slot for individual in population.individuals])
    awake = np.array([individual.resting is None for individual in population.individuals])
    order = np.lexsort((slots, awake, np.where(np.isfinite(scores), -scores, np.inf)))
    measures = {**decisive.measures, **(state.beside.measures if state.beside is not None else {})}
    return _Found(fitness, scores, order.tolist(), episodes, length, measures)


def _measured(state: TrainingState, fitness: Fitness, number: int) -> Generator[Progress, None, np.ndarray]:
    """[P]: what a measure of fitness finds."""
    seed = seed_of(state.options.seed, number, "evaluation" if fitness.by_returns else "fitness")
    watch = Watch(state)
    if state.evaluator is not None:
        state.evaluator.allow(state.left)
    for event in fitness.estimate(state.population, state.buffer, seed):
        if isinstance(event, np.ndarray):
            return event
        if not fitness.by_returns or watch.due():
            yield Progress("evaluate", number, *event, state.total_steps)
    raise AssertionError("an estimate ends with an array")


def evolved(state: TrainingState, number: int, scores: np.ndarray) -> list[Birth]:
    """Evolve the population; the records of birth of the next one, in the order of its rows."""
    population = state.population
    # No agent is replaced where the selection rests, not by the archived elite either.
    revival = (
        Revival(scores)
        if state.selection.rests(number)
        else revive(state.hall, population, scores, state.buffer)
    )
    known = {one.id: float(score) for one, score in zip(population.individuals, revival.scores, strict=True)}
    births = evolve(
        population,
        revival.scores,
        state.selection,
        state.mutations,
        generation=number,
        buffer=state.buffer,
        generator=numpy_stream(state.options.seed, number, "evolution"),
    )
    births = admit(state.take_immigrants(), population, births, known, state.buffer)
    return revival.credited(births, population.individuals)


def _evaluation(state: TrainingState, number: int, found: _Found, learned: Learned, row: int) -> Evaluation:
    """What one agent was when it earned its fitness."""
    ended = state.episodes.discounted[row] if state.learns_by_acting else ()
    individual = state.population.individuals[row]
    genes = state.population.network.to_json(individual.genes)
    layers = state.population.network.diagram(individual.genes)
    return Evaluation(
        generation=number,
        agent=individual.id,
        parent=individual.parent,
        fitness=float(found.fitness[row]),
        episodes=int(found.episodes[row]),
        length=float(found.length[row]),
        steps=individual.steps,
        total_steps=state.total_steps,
        updates=individual.updates,
        hyperparameters=state.population.table.spec.told(individual),
        hidden=tuple(individual.genes.hidden),
        activation=tuple(individual.genes.activation),
        network_size=state.population.table.network_size(row),
        is_elite=row == found.order[0],
        extra={own_name(name): float(values[row]) for name, values in found.measures.items()},
        genes={} if set(genes) <= {"hidden", "activation"} else genes,
        layers=() if plain(layers) else layers,
        losses=learned.of(row),
        value=math.nan if learned.values is None else float(learned.values[row]),
        discounted=float(np.mean(ended)) if ended else math.nan,
    )


def _divergences(evaluations: Sequence[Evaluation]) -> list[Fault]:
    told = "fitness is not finite; it cannot win a tournament"
    return [
        Fault(one.generation, one.agent, "diverged", told)
        for one in evaluations
        if not np.isfinite(one.fitness)
    ]


def _note_faults(state: TrainingState, number: int, faults: list[Fault]) -> None:
    if state.evaluator is not None:
        for agent, fault in state.evaluator.take_faults():
            faults.append(Fault(number, agent, fault.kind, fault.message))
