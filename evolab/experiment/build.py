"""Assembly: the parts of a run, made from the options of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evolab.algorithms.options import search_space_of
from evolab.core import checks
from evolab.core.device import device_named
from evolab.core.plain import to_plain
from evolab.population.population import Population
from evolab.training.state import TrainingState

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
        from evolab.evaluation.games import maker, token_buffer

        environment, buffer = maker(environment), token_buffer(options["buffer"])
    if environment is not None:
        from evolab.envs import make

        envs = make(
            environment,
            population=options["population"],
            num_envs=options["num_envs"],
            seed=seed,
            vectorization=options["vectorization"],
        )
    run = TrainingState(None, buffer, envs, selection, mutations, seed=seed)  # type: ignore[arg-type]
    run.fitness, run.overlap = _measure(options, seed), _overlapped(options)
    if envs is not None:
        run.population = populate(options, seed, envs.single_observation_space, envs.single_action_space)
    elif not algorithm.offline:
        raise ValueError(
            f"{algorithm.name} learns by acting, and no environment was given. "
            f"Pass one, or use an offline algorithm such as 'CQN' with data."
        )
    return run


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
    if run.population is None:
        run.population = populate(options, seed, *spaces)
    run.buffer = buffer


def _measure(options: Mapping[str, Any], seed: int) -> Any:
    """What measures fitness; None for plain episodes in the environment."""
    fitness, algorithm = options["fitness"], options["algorithm"]
    if fitness in (None, "return"):
        if options["environment"] is None:
            raise ValueError(
                "without an environment there are no returns to compare. Pass fitness='fqe' to measure "
                "fitness from the data, or an environment."
            )
        if algorithm.reads_tokens:
            from evolab.evaluation.games import Games

            return Games(options["environment"], options["eval_episodes"], seed)
        return None
    if algorithm.on_policy and (fitness == "fqe" or type(fitness).__name__ == "FQE"):
        raise ValueError("fitness='fqe' judges from stored data, which PPO keeps none of; use 'return'.")
    if algorithm.reads_tokens and (fitness == "fqe" or type(fitness).__name__ == "FQE"):
        raise ValueError(
            f"fitness='fqe' judges agents by transitions, and {algorithm.name} learns from episodes of tokens; "
            f"use 'return', the mean return of games with fixed starts."
        )
    if fitness == "fqe":
        from evolab.evaluation.fqe.fqe import FQE

        return FQE()
    if isinstance(fitness, str):
        raise checks.unknown("fitness", fitness, ["return", "fqe"])
    return fitness


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
        "network": run.population.network if run.population else options["network"],
        "hyperparameters": hyperparameters,
        "search_space": run.population.search_space if run.population else options["search_space"],
        **{name: getattr(run, name) for name in ("selection", "mutations")},
        "buffer": run.buffer.options,
        **{name: getattr(run, name) for name in ("steps_per_generation", "eval_episodes")},
        "racing": run.racing or False,
        **{name: getattr(run, name) for name in ("eval_steps", "update_ratio", "evolving", "revive")},
        "draw": options["draw"],
        "load": None if options["load"] is None else str(options["load"]),
        "fitness": options["fitness"],
        "device": str(options["device"]),
        "dtype": str(options["dtype"]).removeprefix("torch."),
        "precision": options["precision"],
        "vectorization": options["vectorization"],
        "overlap": run.overlap,
        **own,
    }
    return {name: to_plain(value) for name, value in today.items()}
