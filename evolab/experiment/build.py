"""The parts of a run, made from a configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

from gymnasium import spaces

from evolab.core.device import device_named
from evolab.core.plain_values import to_plain
from evolab.core.rng import seed_of
from evolab.data.buffers.offline import buffer_from
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.token_buffer import TokenBuffer
from evolab.data.datasets.dataset import Dataset
from evolab.envs import make
from evolab.envs.goals import require_goals
from evolab.evaluation.evaluator import Evaluator
from evolab.evaluation.fitness import Fitness, Given, Returns, fitness_named
from evolab.evaluation.language_returns import LanguageReturns
from evolab.evaluation.training_fitness import Acting, TrainingEpisodes
from evolab.evolution.hall_of_fame import HallOfFame
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.conversions import plain_buffer
from evolab.experiment.config.memory_needs import check_all, check_environments
from evolab.experiment.language import Maker, episodes_from
from evolab.population.population import Composed, Population
from evolab.population.table import Table
from evolab.population.warm_start import origin, start_from
from evolab.training.options import TrainingOptions
from evolab.training.state import TrainingState


def build(config: ExperimentConfig) -> TrainingState:
    """Everything that a run is made of. Offline without an environment the population waits for the data's spaces."""
    language, envs = config.language, None
    environment = config.environment if language is None else Maker(language)
    if environment is not None:
        check_environments(config)
        envs = make(
            environment,  # type: ignore[arg-type]  # a language environment's maker is a callable by now
            population=config.population,
            num_envs=config.num_envs,
            seed=config.seed,
            vectorization=config.vectorization,
            on_fault=config.on_fault,
            examine=partial(check_all, config),
            frame_stack=config.frame_stack,
            **config.env_kwargs,
        )
    evaluator = None if envs is None else Evaluator(envs, config.eval_steps)
    episodes = TrainingEpisodes()
    fitness, beside = fitness_of(config, evaluator, episodes), None
    if evaluator is not None and fitness.beside_returns:
        fitness, beside = Returns(evaluator, config.eval_episodes or 1), fitness
    population = None
    if envs is not None:
        population = populate(config, envs.single_observation_space, envs.single_action_space)
        if config.has("hindsight"):
            try:
                require_goals(envs, population.network)
            except BaseException:
                envs.close()
                raise
    return TrainingState(
        population,
        config.algorithm.buffer(config.buffer),
        envs,
        config.selection,
        config.mutations,
        fitness,
        beside,
        evaluator,
        HallOfFame(config.revive, config.confirmation),
        TrainingOptions(
            seed=config.seed,
            steps_per_generation=config.steps_per_generation,
            update_ratio=config.update_ratio,
            overlap=config.overlap,
            evolving=config.evolving,
            evaluation_share=config.evaluation_share,
        ),
        episodes,
    )


def populate(
    config: ExperimentConfig, observation_space: spaces.Space, action_space: spaces.Space
) -> Population:
    """The first population of a run, for these spaces; from trained weights where `load` names some."""
    network, agent = (None, None) if config.load is None else origin(config.load)
    spec = config.spec(observation_space, action_space, network)
    population = Composed(
        Table(spec, spec.first_population(config.population, config.hyperparameters, config.draw))
    )
    if agent is not None:
        start_from(population, agent)
    return population


def take_data(state: TrainingState, config: ExperimentConfig, source: object) -> None:
    """Recorded experience as the buffer of a run; without an environment it says what the population acts in."""
    language = config.language
    if language is not None:
        tokens = TokenBuffer(_capacity(config), state.population.device)
        tokens.put(episodes_from(source, language, seed_of(config.seed, "fill")), language.block)
        state.learn_from(tokens)
        return
    envs, fitting = state.envs, None
    if envs is not None:
        fitting = envs.single_observation_space, envs.single_action_space
    elif state.populated:  # data again, for agents that there are
        fitting = state.population.observation_space, state.population.action_space
    if fitting is None and spaces.Box not in config.algorithm.action_spaces:
        source = with_choices(source)
    buffer, found = buffer_from(source, fitting, _capacity(config), device_named(config.device))
    if not state.populated:
        check_all(config, *found)
        state.populate(populate(config, *found))
    state.learn_from(buffer)


def with_choices(source: object) -> Dataset:
    """Recorded data whose actions are choices, also where they were stored as floats: for what decides on nothing else."""
    data = source if isinstance(source, Dataset) else Dataset(source)
    if (choices := data.report().choices) is not None:
        data.check(action_space=choices)
    return data


def _capacity(config: ExperimentConfig) -> int | None:
    """The user's own buffer is a limit; without one the data set is kept whole."""
    return config.buffer.capacity if isinstance(config.buffer, ReplayBuffer) else None


def fitness_of(config: ExperimentConfig, evaluator: Evaluator | None, episodes: TrainingEpisodes) -> Fitness:
    """The measure of fitness that was asked for."""
    if config.fitness == "acting":
        return Acting(episodes)
    if config.fitness == "return":
        if config.language is not None:
            return LanguageReturns(config.language, config.eval_episodes, config.seed)
        assert evaluator is not None
        return Returns(evaluator, config.eval_episodes or 1)
    fitness = fitness_named(config.fitness)
    return fitness if isinstance(fitness, Fitness) else Given(fitness, config.eval_episodes)


def change(state: TrainingState, config: ExperimentConfig, name: str) -> None:
    """Have a run go on with another value of an option.

    Args:
        state: of the run.
        config: with the new value.
        name: of the option.
    """
    if name in (
        "selection",
        "mutations",
        "steps_per_generation",
        "update_ratio",
        "evolving",
        "evaluation_share",
    ):
        state.change(**{name: getattr(config, name)})
    elif name in ("revive", "confirmation"):
        state.hall.change(config.revive, config.confirmation)
    elif name == "eval_steps" and state.evaluator is not None:
        state.evaluator.cut_at(config.eval_steps)
    elif name == "eval_episodes" and isinstance(state.fitness, (Returns, LanguageReturns)):
        state.change(fitness=fitness_of(config, state.evaluator, state.episodes))
    elif name == "search_space" and state.populated:
        state.population.evolve_within(config.search_space)
    state.changes.note(name, to_plain(getattr(config, name)))


def described(config: ExperimentConfig, state: TrainingState) -> dict[str, Any]:
    """Every option as plain values; what was left to evolab as it has turned out."""
    today: dict[str, Any] = {
        "buffer": plain_buffer(state.buffer),
        "eval_episodes": state.fitness.episodes or config.eval_episodes or 1,
        "steps_per_generation": state.options.steps_per_generation,
    }
    if state.populated:
        today |= {"network": state.population.network, "search_space": state.population.search_space}
    return config.to_plain(**today)
