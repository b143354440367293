"""ExperimentConfig: the one place where an option is declared, checked, resolved, written and read.

Only parts that the registry knows are made from a file; what is the user's own (a callable
environment, an algorithm or a network of theirs) is named there and has to be passed in again.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import torch
from gymnasium.envs.registration import EnvSpec

from evolab.algorithms.base import Algorithm
from evolab.algorithms.search_space import algorithm_named, search_space_of
from evolab.core import checks, registry
from evolab.core.device import precision_named
from evolab.core.plain import from_plain, to_plain
from evolab.core.ranges import Range
from evolab.core.rng import fresh_seed
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.data.datasets.dataset import Dataset
from evolab.envs.factory import VectorMaker, called
from evolab.envs.faults import FaultPolicy
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evaluation.fitness import Fitness, fitness_named
from evolab.evolution.hall_of_fame import CONFIRMATION, HallOfFame
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selection
from evolab.experiment.conversions import (
    batches_within,
    buffer_of,
    check_kinds,
    dtype_named,
    interval,
    mutations_of,
    positive_or_none,
    read,
    source_of,
    unknown_option,
)
from evolab.experiment.defaults import (
    algorithm_for,
    drawn_names,
    fitness_for,
    is_data,
    num_envs_for,
    population_for,
    selection_for,
    spaces_of,
)
from evolab.experiment.schema import check_config
from evolab.networks.base import Network
from evolab.population.agent import Agent
from evolab.population.serialisation import naming
from evolab.reporting.trackers.trackers import TrackerLike

Source: TypeAlias = "Mapping[str, Any] | str | PathLike[str]"
"""Plain values by name, or the path of a file that holds them."""

Environment: TypeAlias = "str | EnvSpec | VectorMaker | Callable[..., Any] | LanguageEnvironment | None"


@dataclass(frozen=True, eq=False)
class ExperimentConfig:
    """Every option of an experiment, checked, with names and plain values resolved to objects.

    Args:
        environment: where agents live, or recorded data in its place (see `data`): an id (or
            "my_envs:Warehouse-v0", to import a module first), an `EnvSpec`, a callable that makes a Gymnasium
            environment, a language environment such as `ev.envs.WordGame()`; None to learn from data alone.
        algorithm: a name such as "TD3", or an object such as `ev.TD3(ou_noise=True)`; None for the one that
            suits the action space: DQN or TD3, and for data CQN or TD3BC.
        population: P, the number of agents; None for 8, or 4 where an update is costly or learns from data.
        num_envs: environments of each agent; None for 2, and 8 for PPO.
        network: where the architecture starts; None for one that suits the observations.
        hyperparameters: starting values by name.
        search_space: ranges of the hyperparameters that mutate; None for the algorithm's own.
        selection: who survives; None for `Narrowing` to four agents where there are more and training episodes are the
            evidence, else for a tournament of two with elitism.
        mutations: what changes in the newborn; None for the defaults.
        buffer: where experience is kept; None for a shared one of 100 000 transitions, or of the data set's
            size, or for PPO for rollouts of 256 steps in each environment. A number sets these.
        steps_per_generation: environment steps of each agent; updates of each agent offline. None for 2 000 steps
            of all agents together, and twice as many where half of them end no episode in it; 1 000 updates offline.
        eval_episodes: with `fitness="return"` whole episodes behind each agent's fitness; None for one, and for
            every starting point of a language environment, which are then the same in all generations.
        eval_steps: longest evaluation episode; None for the environment's own limit.
        confirmation: fresh episodes that confirm the best agent where it promises a record; four times as many
            follow where they reach the target.
        evaluation_share: of all environment steps that greedy episodes may take, with `fitness="acting"`.
        update_ratio: updates of each agent per transition that is stored, at a learn step of 1; None for 2
            as long as there are 8 agents, and 4 where there are 4 or fewer, at the same cost.
        evolving: False keeps the population as it is: no selection, no mutation.
        revive: True to have the archived elite return in place of the worst agent when none reaches
            its confirmed fitness any more; "resting" to give it one slot for as long as none is
            confirmed to be better, where it acts and its policy doesn't change. Both after the
            selection's warm-up. None for True where training episodes are the evidence.
        draw: draw the first hyperparameters at random from the search space, each agent its own: True, False, or
            the names of some; None for all but those that `hyperparameters` gives.
        data: recorded experience to begin with, as `fill` takes it.
        load: start from an agent (or its folder), or from a folder with a GPT-2 in Hugging Face's form.
        fitness: "acting" (what agents earn while they learn, with greedy episodes for who promises a record),
            "return" (greedy episodes of every agent), "fqe", or an object such as `ev.FQE(...)`. None for
            "acting", where agents learn by acting; else "return", and "fqe" without an environment.
        device: "auto", "cpu" or "cuda".
        dtype: of the parameters.
        precision: of matrix products on CUDA, "float32" or the faster "tf32"; other devices ignore it.
        vectorization: "sync", or "async" for one process per environment.
        on_fault: what a failure of an environment does: "survive" drops its episode and shows the first of
            each kind, "raise" ends the training; None raises what an environment raises that has never
            worked, and survives everything else.
        overlap: let "async" environments step while the agents learn: they then act by the policies
            before the newest updates. It pays for slow environments.
        target: draw this return in the figures, and stop `run` there.
        env_kwargs: arguments of the environment by name, for `gymnasium.make` or the callable.
        vector: in place of `environment`, makes vector environments of any size, Gymnasium's, PufferLib's or
            EnvPool's: `lambda n, seed: gymnasium.make_vec("CartPole-v1", num_envs=n)`.
        seed: of everything; None for a fresh one.
        folder: write checkpoints there by itself; None for none but those of `save`.
        checkpoint_every: generations between two of them, or a time such as "10 min".
        keep: newest checkpoints to keep; the best one is kept as well.
        trackers: where else to write the run down: "csv", "jsonl", "tensorboard", "wandb", "mlflow",
            or objects with `start`, `log` and `finish`.
        progress: show a bar while it trains (a line a minute where there is no terminal and no notebook).

    Raises:
        ValueError: an unknown name or a value outside its range.
        TypeError: a value of the wrong type.
    """

    environment: Environment
    algorithm: Algorithm = None  # type: ignore[assignment]  # None and names are resolved below
    _: KW_ONLY
    population: int = None  # type: ignore[assignment]
    num_envs: int = None  # type: ignore[assignment]
    network: Network | Sequence[int] | None = None
    hyperparameters: Mapping[str, Any] = None  # type: ignore[assignment]
    search_space: Mapping[str, Range] = None  # type: ignore[assignment]
    selection: Selection = None  # type: ignore[assignment]
    mutations: Mutations = None  # type: ignore[assignment]
    buffer: ReplayBuffer | RolloutBuffer | None = None
    steps_per_generation: int | None = None
    eval_episodes: int | None = None
    eval_steps: int | None = None
    confirmation: int = CONFIRMATION
    evaluation_share: float = 0.2
    update_ratio: float | None = None
    evolving: bool = True
    revive: bool | str = None  # type: ignore[assignment]
    draw: Sequence[str] = None  # type: ignore[assignment]
    data: Any = None
    load: Agent | str | PathLike[str] | None = None
    fitness: Any = None
    device: str | torch.device = "auto"
    dtype: torch.dtype = torch.float32
    precision: str = "float32"
    env_kwargs: Mapping[str, Any] = None  # type: ignore[assignment]
    vector: Callable[[int, int], Any] | None = None
    vectorization: str = "sync"
    on_fault: str | None = None
    overlap: bool = False
    target: float | None = None
    seed: int = None  # type: ignore[assignment]
    folder: Path | None = None
    checkpoint_every: int | str = 1
    keep: int = 3
    trackers: TrackerLike | Iterable[TrackerLike] = ()
    progress: bool = True

    def __post_init__(self) -> None:
        """Check every option, and resolve what stands for something else."""
        check_kinds(vars(self))
        environment, data = self.environment, self.data
        if data is None and is_data(environment):
            environment, data = None, environment
        environment = source_of(environment, self.vector, self.env_kwargs)
        algorithm, size, num_envs = self._sized(environment, data)
        fitness = fitness_for(algorithm, environment) if self.fitness is None else self.fitness
        selection = selection_for(size, fitness) if self.selection is None else self.selection
        values, ranges = search_space_of(algorithm, self.hyperparameters, self.search_space)
        every, buffer = self.checkpoint_every, buffer_of(self.buffer, algorithm.on_policy)
        if isinstance(buffer, ReplayBuffer) and not algorithm.offline and "batch_size" in values:
            own = {*(self.hyperparameters or {}), *(self.search_space or {})}
            values, ranges = batches_within(buffer.capacity, values, ranges, told="batch_size" in own)
        if "epsilon_steps" in values and "epsilon_steps" not in (self.hyperparameters or {}):
            shared = buffer is None or (isinstance(buffer, ReplayBuffer) and buffer.shared)
            values["epsilon_steps"] = max(1, values["epsilon_steps"] // (size if shared else 1))
        resolved = {
            "algorithm": algorithm,
            "population": size,
            "num_envs": num_envs,
            "env_kwargs": dict(self.env_kwargs or {}),
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
            else drawn_names(self.draw, self.hyperparameters, self.search_space, ranges),
            "revive": fitness == "acting" if self.revive is None else self.revive,
            "evaluation_share": checks.finite("evaluation_share", self.evaluation_share, low=0.0, high=1.0),
            "eval_episodes": positive_or_none("eval_episodes", self.eval_episodes),
            "eval_steps": positive_or_none("eval_steps", self.eval_steps),
            "update_ratio": None
            if self.update_ratio is None
            else checks.finite("update_ratio", self.update_ratio, low=1e-6),
            "dtype": dtype_named(self.dtype),
            "precision": precision_named(self.precision),
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
        self._check_together()

    def _sized(self, environment: Any, data: Any) -> tuple[Algorithm, int, int]:
        """Algorithm, population and environments of each agent; what was left open by the spaces."""
        wanted, observed, acted = self.algorithm, None, None
        if wanted is None and environment is None and data is None:
            raise ValueError(
                "there is neither an environment nor data. Pass one: ev.Experiment('CartPole-v1'), or "
                "ev.Experiment(ev.Dataset('data.h5'))."
            )
        if environment is not None and not isinstance(environment, LanguageEnvironment):
            if None in (wanted, self.population, self.num_envs):
                observed, acted = spaces_of(environment, self.vectorization, self.env_kwargs)
        elif wanted is None and data is not None and environment is None:
            acted = (data if isinstance(data, Dataset) else Dataset(data)).action_space
        if wanted is None:
            wanted = algorithm_for(environment, acted, recorded=environment is None)
        algorithm = algorithm_named(wanted)
        size = population_for(algorithm, observed) if self.population is None else self.population
        size = checks.positive_integer("population", size)
        num_envs = num_envs_for(algorithm) if self.num_envs is None else self.num_envs
        return algorithm, size, checks.positive_integer("num_envs", num_envs)

    def _check_together(self) -> None:
        """Refuse options that do not go together."""
        algorithm = self.algorithm
        if algorithm.on_policy and self.update_ratio not in (None, 1):
            raise ValueError(f"{algorithm.name} has no update_ratio; set hyperparameters={{'epochs': ...}}.")
        if self.overlap and (algorithm.on_policy or algorithm.offline or self.environment is None):
            raise ValueError(
                f"overlap=True: {algorithm.name} here does not learn while it acts. Leave overlap out."
            )
        if self.overlap and self.vectorization != "async":
            raise ValueError(
                "overlap=True needs vectorization='async': environments of this process would hold up the updates."
            )
        if self.environment is None and self.fitness in ("return", "acting"):
            raise ValueError(
                "without an environment there are no returns to compare. Pass fitness='fqe' to measure "
                "fitness from the data, or an environment."
            )
        if self.fitness == "acting" and (algorithm.offline or algorithm.reads_tokens):
            raise ValueError(
                f"fitness='acting': {algorithm.name} does not learn by acting. Pass fitness='return' for episodes of "
                "every agent, or leave it out."
            )
        if self.environment is None and not algorithm.offline:
            raise ValueError(
                f"{algorithm.name} learns by acting, and no environment was given. "
                f"Pass one, or use an offline algorithm such as 'CQN' with data."
            )
        measure = fitness_named(self.fitness)
        if isinstance(measure, Fitness):
            measure.check(algorithm)

    # Made, written and read -------------------------------------------------------------------

    @classmethod
    def names(cls) -> list[str]:
        """Every option."""
        return [field.name for field in fields(cls)]

    @classmethod
    def made(cls, options: Mapping[str, Any]) -> ExperimentConfig:
        """A configuration from options by name.

        Raises:
            ValueError: an unknown option; says which is near.
        """
        for name in options:
            if name not in cls.names():
                raise unknown_option(name, cls.names())
        return cls(options.get("environment"), **{k: v for k, v in options.items() if k != "environment"})

    def options(self) -> dict[str, Any]:
        """Every option by name, as `made` takes them."""
        return {name: getattr(self, name) for name in self.names()}

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
        parts = {name: getattr(self, name) for name in ("algorithm", "selection", "mutations", "fitness")}
        for name, part in {**parts, "network": network}.items():
            evolabs = part is None or isinstance(part, str) or registry.name_of(part) is not None
            if not evolabs or (isinstance(part, Mutations) and part.own):
                own[name] = type(part).__name__
        return own

    def changed(self, name: str, value: Any) -> ExperimentConfig:
        """The same with another value of an option."""
        values = {name: value}
        if name == "search_space" and isinstance(value, Mapping):
            # Where the run began may lie outside the ranges that it goes on in.
            values["hyperparameters"] = {k: v for k, v in self.hyperparameters.items() if k not in value}
        if name == "search_space":
            # What was drawn once, and evolves no more, does not stand in the way.
            values["draw"] = tuple(k for k in self.draw if k in (value or self.search_space))
        return dataclasses.replace(self, **values)

    def to_plain(self, **today: Any) -> dict[str, Any]:
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
            values["buffer"] = values["buffer"].options
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
    def from_plain(cls, source: Source, **own: Any) -> ExperimentConfig:
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
            made = {name: from_plain(value) for name, value in values.items()}
        return cls.made(made | own)


def signature() -> inspect.Signature:
    """What `Experiment` takes, as an editor shows it."""
    return inspect.signature(ExperimentConfig).replace(return_annotation=inspect.Signature.empty)


def documented() -> str:
    """The options as a docstring lists them."""
    text = inspect.getdoc(ExperimentConfig) or ""
    return text[text.find("Args:") : text.find("\nRaises:")].rstrip()
