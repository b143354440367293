"""ExperimentConfig: the options of an experiment, checked, resolved, written and read.

Only parts that the registry knows are made from a file; what is the user's own (a callable
environment, an algorithm or a network of theirs) is named there and has to be passed in again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from evolab.algorithms.search_space import search_space_of
from evolab.core import checks, registry
from evolab.core.device import device_named, precision_named
from evolab.core.plain_values import from_plain, to_plain
from evolab.core.processors import same_everywhere
from evolab.core.rng import fresh_seed
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.envs.factory import VectorMaker, called
from evolab.envs.faults import FaultPolicy
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evolution.hall_of_fame import HallOfFame
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selection
from evolab.experiment.config.consistency import check_together
from evolab.experiment.config.conversions import (
    batches_within,
    buffer_of,
    check_kinds,
    dtype_named,
    interval,
    mutations_of,
    plain_buffer,
    positive_or_none,
    read,
    source_of,
)
from evolab.experiment.config.defaults import (
    drawn_names,
    fitness_for,
    is_data,
    learner_for,
    normalise_for,
    selection_for,
    sized,
    steps_ahead_for,
)
from evolab.experiment.config.file_schema import check_config
from evolab.experiment.config.options import Options
from evolab.networks.base import Network
from evolab.networks.default import network_for
from evolab.population.normalisation import words_of
from evolab.population.serialisation import naming
from evolab.population.spec import Spec

PARTS = ("algorithm", "selection", "mutations", "fitness", "buffer")
"""Options that hold a part of the registry, or one of the user's own."""

Source: TypeAlias = "Mapping[str, Any] | str | PathLike[str]"
"""Plain values by name, or the path of a file that holds them."""


@dataclass(frozen=True, eq=False)
class ExperimentConfig(Options):
    """Options of an experiment, checked, with names and plain values resolved to objects."""

    def __post_init__(self) -> None:
        """Check every option, and resolve what stands for something else."""
        check_kinds(self)
        environment, data = self.environment, self.data
        if data is None and is_data(environment):
            environment, data = None, environment
        environment = source_of(environment, self.vector, self.env_kwargs)
        algorithm, size, num_envs, observed = sized(self, environment, data)
        fitness = fitness_for(algorithm, environment) if self.fitness is None else self.fitness
        selection = selection_for(size, fitness) if self.selection is None else self.selection
        values, ranges = search_space_of(algorithm, self.hyperparameters, self.search_space)
        own = {*(self.hyperparameters or {}), *(self.search_space or {})}
        every, buffer = self.checkpoint_every, buffer_of(self.buffer, algorithm.regime.buffer)
        if isinstance(buffer, ReplayBuffer) and algorithm.replays and "batch_size" in values:
            values, ranges = batches_within(buffer.capacity, values, ranges, told="batch_size" in own)
        ours = data is None and self.load is None and isinstance(buffer, ReplayBuffer | None)
        said = self.algorithm is not None or self.search_space is not None or "n_step" in own
        ahead = steps_ahead_for(algorithm, ours and not said and "n_step" in values)
        if ahead is not None:
            values["n_step"], ranges["n_step"] = ahead
        network, ratio = self.network, self.update_ratio
        if network is None and self.algorithm is None and ours:
            network, gentle = learner_for(algorithm, observed, size)
            ratio = gentle if ratio is None else ratio
        if "epsilon_steps" in values and "epsilon_steps" not in (self.hyperparameters or {}):
            shared = buffer is None or (isinstance(buffer, ReplayBuffer) and buffer.shared)
            values["epsilon_steps"] = max(1, values["epsilon_steps"] // (size if shared else 1))
        resolved = {
            "algorithm": algorithm,
            "population": size,
            "num_envs": num_envs,
            "env_kwargs": dict(self.env_kwargs or {}),
            "frame_stack": checks.positive_integer("frame_stack", self.frame_stack),
            "environment": environment,
            "data": data,
            "vector": None,  # it is the environment now
            "hyperparameters": values,
            "search_space": ranges,
            "selection": registry.resolve("selection", selection, Selection),
            "mutations": mutations_of(self.mutations),
            "buffer": buffer,
            "steps_per_generation": positive_or_none("steps_per_generation", self.steps_per_generation),
            "fitness": fitness,
            "draw": ()
            if self.draw is None and self.load is not None
            else drawn_names(
                self.draw, {*(self.hyperparameters or ())} - {*(self.search_space or ())}, ranges
            ),
            "revive": fitness == "acting" if self.revive is None else self.revive,
            "evaluation_share": checks.finite("evaluation_share", self.evaluation_share, low=0.0, high=1.0),
            "eval_episodes": positive_or_none("eval_episodes", self.eval_episodes),
            "eval_steps": positive_or_none("eval_steps", self.eval_steps),
            "network": network,
            "update_ratio": None if ratio is None else checks.finite("update_ratio", ratio, low=1e-6),
            "normalise": normalise_for(algorithm, observed, self.algorithm is not None, self.load)
            if self.normalise is None
            else words_of(self.normalise, algorithm),
            "dtype": dtype_named(self.dtype),
            "precision": precision_named(self.precision),
            "deterministic": same_everywhere(self.deterministic),
            "target": None if self.target is None else checks.finite("target", self.target),
            "seed": fresh_seed()
            if self.seed is None
            else checks.positive_integer("seed", self.seed, minimum=0),
            "folder": None if self.folder is None else Path(self.folder).expanduser(),
            "checkpoint_every": every if isinstance(every, (int, str)) else f"{interval(every)[1]:g} s",
            "keep": checks.positive_integer("keep", self.keep),
        }
        for name, value in resolved.items():
            object.__setattr__(self, name, value)
        self.selection.check(size)
        HallOfFame(self.revive, self.confirmation)
        FaultPolicy(self.on_fault)
        interval(self.checkpoint_every)
        check_together(self)

    def has(self, name: str) -> bool:
        """True where an agent may have a hyperparameter that is off as a rule, such as "hindsight"."""
        return self.hyperparameters.get(name, 0.0) > 0 or name in self.search_space

    @property
    def language(self) -> LanguageEnvironment | None:
        """Where agents over tokens live; None for all others."""
        environment = self.environment if self.algorithm.reads_tokens else None
        return environment if isinstance(environment, LanguageEnvironment) else None

    def spec(
        self, observation_space: spaces.Space, action_space: spaces.Space, network: Network | None = None
    ) -> Spec:
        """What the agents of a run have in common.

        Args:
            observation_space: of a single environment.
            action_space: of a single environment.
            network: of weights to begin with, where the configuration names none.
        """
        told = network if self.network is None else self.network
        return Spec(
            self.algorithm,
            observation_space,
            action_space,
            network_for(self.algorithm.network() if told is None else told, observation_space),
            dict(self.search_space),
            self.seed,
            device_named(self.device),
            self.dtype,
            self.precision,
            tuple(self.normalise),
        )

    # Made, written and read -------------------------------------------------------------------

    @classmethod
    def made(cls, options: Mapping[str, Any]) -> ExperimentConfig:
        """A configuration from options by name.

        Raises:
            ValueError: an unknown option; says which is near.
        """
        for name in options:
            if name not in cls.names():
                raise checks.unknown_option("Experiment", name, cls.names())
        return cls(options.get("environment"), **{k: v for k, v in options.items() if k != "environment"})

    def own(self, network: Network) -> dict[str, str]:
        """The parts that are the user's own, which a file cannot bring back: name and type of each.

        Args:
            network: of the population.
        """
        own: dict[str, str] = {}
        if to_plain(self.env_kwargs) != self.env_kwargs:  # objects
            own["env_kwargs"] = ", ".join(self.env_kwargs)
        environment = self.environment
        if not (environment is None or isinstance(environment, str) or registry.name_of(environment)):
            own["environment"] = called(environment)
        parts = {name: getattr(self, name) for name in PARTS}
        for name, part in {**parts, "network": network}.items():
            evolabs = part is None or isinstance(part, str) or registry.name_of(part) is not None
            if not evolabs or (isinstance(part, Mutations) and part.own):
                own[name] = type(part).__name__
        return own

    def changed(self, name: str, value: object) -> ExperimentConfig:
        """The same with another value of an option."""
        values: dict[str, Any] = {name: value}
        if name == "search_space" and isinstance(value, Mapping):
            # Where the run began may lie outside the ranges that it goes on in.
            values["hyperparameters"] = {k: v for k, v in self.hyperparameters.items() if k not in value}
        if name == "search_space":
            # What was drawn once, and evolves no more, does not stand in the way.
            values["draw"] = tuple(k for k in self.draw if k in (values[name] or self.search_space))
        return dataclasses.replace(self, **values)

    def to_plain(self, **today: object) -> dict[str, Any]:
        """Every option but `folder` and `progress` as plain values, which `from_plain` reads.

        Args:
            today: options by name as the run has them, where they were left to evolab.
        """
        values = self.options() | today
        del values["folder"], values["vector"], values["progress"]
        if values["data"] is not None:
            if isinstance(values["data"], str | PathLike):
                values["data"] = str(values["data"])
            else:
                del values["data"]
        if isinstance(values["environment"], (EnvSpec, VectorMaker)):
            values["environment"] = called(values["environment"])
        if isinstance(values["buffer"], (ReplayBuffer, RolloutBuffer)):
            values["buffer"] = plain_buffer(values["buffer"])
        trackers = values["trackers"]
        listed = (
            [trackers] if isinstance(trackers, str) else trackers if isinstance(trackers, Iterable) else []
        )
        values["trackers"] = [one for one in listed if isinstance(one, str)]
        values["dtype"] = str(values["dtype"]).removeprefix("torch.")
        values["device"] = str(values["device"])
        values["load"] = None if values["load"] is None else str(values["load"])
        return {name: to_plain(value) for name, value in values.items()}

    @classmethod
    def from_plain(cls, source: Source, **own: object) -> ExperimentConfig:
        """A configuration from plain values, or from a .yaml or .json file of them.

        Args:
            source: as `to_plain` gives, or as an earlier version has written.
            own: options in place of those that are there.

        Raises:
            ValueError: an unknown option or type, or a file that is not well formed.
        """
        values = read(source)
        with nullcontext() if isinstance(source, Mapping) else naming(str(source)):
            if not isinstance(source, Mapping):
                check_config(values)
            made = {name: from_plain(value, name) for name, value in values.items()}
        return cls.made(made | own)
