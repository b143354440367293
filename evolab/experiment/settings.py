"""What of an experiment can be set between two generations; everything else refuses to be set."""

from __future__ import annotations

from typing import Any

from evolab.core import checks
from evolab.experiment.build import change
from evolab.experiment.config import ExperimentConfig
from evolab.experiment.runner import Runner
from evolab.training.state import TrainingState


class Setting:
    """An option of an experiment that can be set between two generations, and holds from the next one on."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = f"{doc} Set another value, and it holds from the next generation on."

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, experiment: Settings | None, owner: type) -> Any:
        return self if experiment is None else getattr(experiment._config, self.name)

    def __set__(self, experiment: Settings, value: Any) -> None:
        experiment._change(self.name, value)


class Settings:
    """The settings of a run, each of which holds from the next generation on."""

    _config: ExperimentConfig
    _state: TrainingState
    _runner: Runner

    target = Setting("Mean return at which `run` stops; None for none.")
    selection = Setting("Who survives.")
    mutations = Setting("What changes in the newborn.")
    search_space = Setting("Ranges of the hyperparameters that mutate, by name.")
    steps_per_generation = Setting("Environment steps of each agent; updates of each agent offline.")
    update_ratio = Setting("Updates per agent and environment step of its own, at a learn step of 1.")
    eval_episodes = Setting("Whole episodes behind each agent's fitness; None for the default.")
    eval_steps = Setting("Longest evaluation episode; None for the environment's own limit.")
    confirmation = Setting("Fresh episodes that confirm a record.")
    evolving = Setting("False keeps the population as it is.")
    revive = Setting('Whether the archived elite returns: True, False or "resting".')

    def _change(self, name: str, value: Any) -> None:
        config = self._config.changed(name, value)
        with self._runner.lock:
            change(self._state, config, name)
        self._config = config
        self._runner.changed()

    def __setattr__(self, name: str, value: Any) -> None:
        known = getattr(type(self), name, None)
        if name.startswith("_") or isinstance(known, Setting) or name == "folder":
            object.__setattr__(self, name, value)
            return
        settings = [*setting_names(), "folder"]
        if name in ExperimentConfig.names():
            raise AttributeError(
                f"{name} is the same for a whole run. Make another one: "
                f"Experiment.from_config(exp.config | {{{name!r}: {value!r}}}). Can be set: {', '.join(settings)}."
            )
        if known is not None:
            raise AttributeError(f"{name} can be read only. Can be set: {', '.join(settings)}.")
        raise AttributeError(str(checks.unknown("setting of Experiment", name, settings)))


def setting_names() -> list[str]:
    """The options that can be set."""
    return [name for name, value in vars(Settings).items() if isinstance(value, Setting)]
