"""What of an experiment can be set between two generations; everything else refuses to be set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from evolab.core import checks
from evolab.core.readonly import ReadOnly, write_as_dicts
from evolab.data.buffers.replay import ReplayBuffer
from evolab.envs.goals import require_goals
from evolab.experiment.build import change
from evolab.experiment.composition import ExperimentParts
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.memory_needs import check_environments
from evolab.population.agent import Agent
from evolab.population.population import RANGES
from evolab.training.set_hyperparameters import set_agent


class Setting:
    """An option of an experiment that can be set between two generations, and holds from the next one on."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = f"{doc} Set another value, and it holds from the next generation on."

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, experiment: Settings | None, owner: type) -> Any:
        if experiment is None:
            return self
        value = getattr(experiment._config, self.name)
        return ReadOnly(value, "ranges", RANGES) if isinstance(value, dict) else value

    def __set__(self, experiment: Settings, value: object) -> None:
        experiment._change(self.name, value)


class Settings(ExperimentParts):
    """The settings of a run, each of which holds from the next generation on."""

    target = Setting("Mean return at which `run` stops; None for none.")
    selection = Setting("Who survives.")
    mutations = Setting("What changes in the newborn.")
    search_space = Setting("Ranges of the hyperparameters that mutate, by name.")
    steps_per_generation = Setting("Environment steps of each agent; updates of each agent offline.")
    update_ratio = Setting("Updates of each agent per transition that is stored, at a learn step of 1.")
    evaluation_share = Setting("Share of all environment steps that greedy episodes may take.")
    eval_episodes = Setting("Whole episodes behind each agent's fitness; None for the default.")
    eval_steps = Setting("Longest evaluation episode; None for the environment's own limit.")
    confirmation = Setting("Fresh episodes that confirm a record.")
    evolving = Setting("False keeps the population as it is.")
    revive = Setting('Whether the archived elite returns: True, False or "resting".')

    def _change(self, name: str, value: object) -> None:
        config = self._config.changed(name, value)
        check_environments(config)  # episodes of evaluation may be too many for the machine
        if name == "search_space" and "hindsight" in config.search_space and self._state.envs is not None:
            require_goals(self._state.envs, self._state.population.network)
        with self._runner.lock:
            change(self._state, config, name)
        self._config = config
        self._runner.changed()

    def set(self, agent: Agent | int, **values: object) -> None:
        """Give one agent other values of its hyperparameters: `exp.set(3, lr_actor=1e-4)`.

        While a background thread trains, this waits for the end of its generation. The history has it as a
        mutation of kind "by hand"; the agent keeps its id, its weights and its past.

        Args:
            agent: one of the population, or its id.
            values: by name; outside the search space they may lie, inside the algorithm's limits they must.

        Raises:
            LookupError: the agent has died.
            RuntimeError: the run rests in the middle of a generation.
            ValueError: an unknown name, or a value outside its limits.
            TypeError: a value of the wrong type.
        """
        self._runner.raise_past_error()
        buffer = self._state.buffer
        if isinstance(buffer, ReplayBuffer) and "batch_size" in values and self._config.algorithm.replays:
            high = checks.positive_integer("batch_size", values["batch_size"])
            if high > buffer.capacity:
                raise ValueError(
                    f"batch_size is {high}; the buffer holds {buffer.capacity} transitions. Set fewer."
                )
        work = partial(set_agent, self._state, agent, values)
        if not self._runner.between_generations(work):
            work()  # which says what stands in the way
        self._runner.changed()

    def __getattr__(self, name: str) -> object:
        raise checks.no_method(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        settings = [*setting_names(), "folder"]
        if name.startswith("_") or name in settings:
            object.__setattr__(self, name, value)
            return
        if name in ExperimentConfig.names():
            raise AttributeError(
                f"{name} is the same for a whole run. Make another one: "
                f"Experiment.from_config(exp.config | {{{name!r}: {value!r}}}). Can be set: {', '.join(settings)}."
            )
        if name in dir(type(self)):
            raise AttributeError(f"{name} can be read only. Can be set: {', '.join(settings)}.")
        if name in self._config.algorithm.hyperparameters:
            raise AttributeError(
                f"{name} is each agent's own: exp.set(agent, {name}={value!r}) sets one agent's, "
                "exp.search_space = {...} says in which ranges values evolve, Experiment(hyperparameters={...}) "
                "where they start."
            )
        if name in checks.ELSEWHERE:
            raise AttributeError(
                f"Unknown setting of Experiment {name!r}. In evolab that is {checks.ELSEWHERE[name]}."
            )
        raise AttributeError(str(checks.unknown("setting of Experiment", name, settings)))


def read_only(config: Mapping[str, object]) -> ReadOnly:
    """A configuration to look at; whoever tries to set an option in it is told what to do."""
    write_as_dicts()
    advice = (
        f"Assign to the experiment: exp.target = 200.0 sets one of {', '.join(setting_names())}; for the others make "
        "another run, Experiment.from_config(exp.config | {name: value})."
    )
    return ReadOnly(config, "a run's configuration", advice)


def setting_names() -> list[str]:
    """The options that can be set."""
    return [name for name, value in vars(Settings).items() if isinstance(value, Setting)]
