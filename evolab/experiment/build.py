"""Assembly: the parts of a run, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evolab.algorithms.options import search_space_of
from evolab.core import checks
from evolab.core.device import device_named
from evolab.core.plain import to_plain
from evolab.data.buffers.token_buffer import TokenBuffer
from evolab.evaluation.episodes import Evaluator
from evolab.evaluation.fitness import Fitness, Given, Returns
from evolab.evaluation.fqe.fqe import FQE
from evolab.evaluation.language import LanguageReturns
from evolab.evolution.hall_of_fame import HallOfFame
from evolab.experiment.language import Maker
from evolab.population.population import Population
from evolab.training.state import TrainingOptions, TrainingState

if TYPE_CHECKING:
    from evolab.data.buffers.replay import ReplayBuffer
    from evolab.data.buffers.rollout import RolloutBuffer
    from evolab.evolution.mutation.mutations import Mutations
    from evolab.evolution.selection.base import Selection


def assemble(
    options: Mapping[str, Any],
    seed: int,
    selection: Selection,
    mutations: Mutations,
    buffer: ReplayBuffer | RolloutBuffer,
) -> TrainingState:
    """The parts of a run. Offline without an environment the population waits for the data's spaces.

    Args:
        options: of an `Experiment`, by name.
        seed: of the run.
        selection: who survives.
        mutations: what changes in the newborn.
        buffer: where experience is kept.

    Raises:
        ValueError: the algorithm needs an environment, or the measure of fitness does not fit.
    """
    algorithm, environment, envs = options["algorithm"], options["environment"], None
    if algorithm.reads_tokens:
        environment, given = Maker(environment), options["buffer"]
        buffer = TokenBuffer(None if given is None else given.capacity)
    if environment is not None:
        from evolab.envs import make

        envs = make(
            environment,
            population=options["population"],
            num_envs=options["num_envs"],
            seed=seed,
            vectorization=options["vectorization"],
        )
    evaluator = None if envs is None else Evaluator(envs, options["eval_steps"])
    fitness, beside = _measures(options, seed, evaluator)
    population = None
    if envs is not None:
        population = populate(options, seed, envs.single_observation_space, envs.single_action_space)
    elif not algorithm.offline:
        raise ValueError(
            f"{algorithm.name} learns by acting, and no environment was given. "
            f"Pass one, or use an offline algorithm such as 'CQN' with data."
        )
    training = TrainingOptions(
        seed=seed,
        steps_per_generation=options["steps_per_generation"],
        update_ratio=float(options["update_ratio"]),
        overlap=_overlapped(options),
        evolving=options["evolving"],
    )
    return TrainingState(
        population,
        buffer,
        envs,
        selection,
        mutations,
        fitness,
        beside,
        evaluator,
        HallOfFame(options["revive"], options["confirmation"]),
        training,
    )


def _overlapped(options: Mapping[str, Any]) -> bool:
    """Whether environments step while agents learn, where that can be."""
    overlap, algorithm = bool(options["overlap"]), options["algorithm"]
    if overlap and (algorithm.on_policy or algorithm.offline or options["environment"] is None):
        raise ValueError(
            f"overlap=True: {algorithm.name} here does not learn while it acts. Leave overlap out."
        )
    if overlap and options["vectorization"] != "async":
        raise ValueError(
            "overlap=True needs vectorization='async': environments of this process would hold up the updates."
        )
    return overlap


def populate(options: Mapping[str, Any], seed: int, observation_space: Any, action_space: Any) -> Population:
    """The first population of a run, for these spaces; from trained weights where `load` names some."""
    network, agent = options["network"], None
    if options["load"] is not None:
        from evolab.population.warm_start import origin, start_from

        theirs, agent = origin(options["load"])
        network = theirs if network is None else network
    population = Population(
        options["algorithm"],
        observation_space,
        action_space,
        options["population"],
        network=network,
        seed=seed,
        **{name: options[name] for name in ("hyperparameters", "search_space", "draw")},
        **{name: options[name] for name in ("device", "dtype", "precision")},
    )
    if agent is not None:
        start_from(population, agent)
    return population


def take_data(run: TrainingState, options: Mapping[str, Any], seed: int, source: Any) -> None:
    """Recorded transitions as the buffer of a run; without an environment they say what the population acts in."""
    from evolab.data.buffers.offline import buffer_from

    given = options["buffer"]  # the user's own is a limit; without one the data set is kept whole
    limit = given.capacity if given is not None else None
    buffer, spaces = buffer_from(source, run.envs, limit, device_named(options["device"]))
    if not run.populated:
        run.populate(populate(options, seed, *spaces))
    run.learn_from(buffer)


def _measures(
    options: Mapping[str, Any], seed: int, evaluator: Evaluator | None
) -> tuple[Fitness, Fitness | None]:
    """What decides who is best, and what is recorded beside it."""
    fitness = _fitness(options, seed, evaluator)
    if evaluator is None or not fitness.beside_returns:
        return fitness, None
    return Returns(evaluator, options["eval_episodes"] or 1), fitness


def _fitness(options: Mapping[str, Any], seed: int, evaluator: Evaluator | None) -> Fitness:
    """The measure of fitness that was asked for."""
    fitness, algorithm = options["fitness"], options["algorithm"]
    if fitness in (None, "return"):
        if evaluator is None:
            raise ValueError(
                "without an environment there are no returns to compare. Pass fitness='fqe' to measure "
                "fitness from the data, or an environment."
            )
        if algorithm.reads_tokens:
            return LanguageReturns(options["environment"], options["eval_episodes"], seed)
        return Returns(evaluator, options["eval_episodes"] or 1)
    if algorithm.on_policy and (fitness == "fqe" or type(fitness).__name__ == "FQE"):
        raise ValueError("fitness='fqe' measures from stored data, which PPO keeps none of; use 'return'.")
    if algorithm.reads_tokens and (fitness == "fqe" or type(fitness).__name__ == "FQE"):
        raise ValueError(
            f"fitness='fqe' measures agents by transitions, and {algorithm.name} learns from episodes of tokens; "
            f"use 'return', the mean return of games with fixed starts."
        )
    if fitness == "fqe":
        return FQE()
    if isinstance(fitness, str):
        raise checks.unknown("fitness", fitness, ["return", "fqe"])
    return fitness if isinstance(fitness, Fitness) else Given(fitness, options["eval_episodes"])


def describe(options: Mapping[str, Any], run: TrainingState, own: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of an experiment as plain values, as the run has it today.

    Args:
        options: what the experiment was made with.
        run: as it is; selection and mutations may have changed since.
        own: options that neither of the two knows, by name.
    """
    hyperparameters, _ = search_space_of(
        options["algorithm"], options["hyperparameters"], options["search_space"]
    )
    today = {
        **{name: options[name] for name in ("environment", "algorithm", "population", "num_envs")},
        "network": run.population.network if run.populated else options["network"],
        "hyperparameters": hyperparameters,
        "search_space": run.population.search_space if run.populated else options["search_space"],
        **{name: getattr(run, name) for name in ("selection", "mutations")},
        "buffer": run.buffer.options,
        "steps_per_generation": run.options.steps_per_generation,
        "eval_episodes": run.fitness.episodes or options["eval_episodes"] or 1,
        "eval_steps": options["eval_steps"],
        "confirmation": run.hall.confirmation,
        "update_ratio": run.options.update_ratio,
        "evolving": run.options.evolving,
        "revive": run.hall.revives,
        "draw": options["draw"],
        "load": None if options["load"] is None else str(options["load"]),
        "fitness": options["fitness"],
        "device": str(options["device"]),
        "dtype": str(options["dtype"]).removeprefix("torch."),
        "precision": options["precision"],
        "vectorization": options["vectorization"],
        "overlap": run.options.overlap,
        **own,
    }
    return {name: to_plain(value) for name, value in today.items()}
