"""Options: what an experiment takes, declared and described."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import torch
from gymnasium.envs.registration import EnvSpec

from evolab.algorithms.base import Algorithm
from evolab.core.ranges import Range
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.envs.factory import VectorMaker
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evolution.hall_of_fame import CONFIRMATION
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selection
from evolab.experiment.config.island_options import IslandOptions
from evolab.networks.base import Network
from evolab.population.agent import Agent
from evolab.reporting.trackers.trackers import TrackerLike

Environment: TypeAlias = "str | EnvSpec | VectorMaker | Callable[..., Any] | LanguageEnvironment | None"


@dataclass(frozen=True, eq=False)
class Options:
    """Every option of an experiment, as it was given; `ExperimentConfig` checks them and resolves what is open.

    Args:
        environment: where agents live, or recorded data in its place (see `data`): an id (or
            "my_envs:Warehouse-v0", to import a module first), an `EnvSpec`, a callable that makes a Gymnasium
            environment, a language environment such as `ev.envs.WordGame()`; None to learn from data alone.
        algorithm: a name such as "TD3", or an object such as `ev.TD3(ou_noise=True)`; None for the one that
            suits the action space: DQN or SAC, and for data CQN or TD3BC.
        population: P, the number of agents; None for 8, or 4 where an update is costly or learns from data.
        num_envs: environments of each agent; None for 2, and 8 for PPO.
        network: where the architecture starts; None for one that suits the observations, and the actions where the
            algorithm is not named either.
        hyperparameters: starting values by name.
        search_space: ranges of the hyperparameters that may change; None for the algorithm's own.
        selection: which agents survive and have children; None for `Narrowing` to four agents
            where there are more and fitness is "acting", else for a tournament of two with elitism.
        mutations: how children differ from their parents; None for the defaults.
        buffer: where experience is kept; None for a shared one of 100 000 transitions, or of the data set's
            size, or for PPO for rollouts of 256 steps in each environment. A number sets these.
        steps_per_generation: environment steps of each agent; updates of each agent offline. None for 2 000 steps
            of all agents together, and twice as many where half of them end no episode in it; 1 000 updates offline.
        eval_episodes: with `fitness="return"` whole episodes behind each agent's fitness; None for one, and for
            every starting point of a language environment, which are then the same in all generations.
        eval_steps: longest evaluation episode; None for the environment's own limit.
        confirmation: fresh episodes that an agent plays to become the elite; four times as many follow where they
            reach the target. With `fitness="acting"` as many agents are tried as `evaluation_share` pays for, each for
            as long as it is better than the elite; else the best agent alone, where its fitness would be a record.
        evaluation_share: of all environment steps that fresh episodes may take, with `fitness="acting"`; a trial that was
            begun, and the proof of a target, may take more.
        update_ratio: updates of each agent per transition that is stored, at a learn step of 1; None for 2 with up
            to 8 agents, and 16 of all together with more; for 0.5 of wide networks that follow from actions that are
            choices.
        normalise: bring observations and returns to one scale by running statistics, which are part of each agent:
            "observations", "returns", both, or "auto" for those numbers of wide observations whose first samples lie
            far from 1; True for all that the algorithm can have. None for "observations" that are vectors where the
            algorithm is chosen as well, for nothing where it is named, and for what an agent in `load` has.
        evolving: False keeps the population as it is: no selection, no mutation.
        revive: True to have the archived elite return in place of the worst agent when none reaches
            its confirmed fitness any more; "resting" to give it one slot for as long as none is
            confirmed to be better, where it acts and its policy is not trained. Both after the
            selection's warm-up. None for True where fitness is "acting".
        draw: the first agents differ in their hyperparameters: one keeps the starting values, the others lie
            further and further on the way to a random draw from the search space. True, False, or the names of
            some; None for all but those that `hyperparameters` gives.
        data: recorded experience to begin with, as `fill` takes it.
        load: start from an agent (or its folder), or from a folder with a GPT-2 in Hugging Face's form.
        fitness: "acting" (what agents earn while they learn, with greedy episodes where that would be a record),
            "return" (greedy episodes of every agent), "fqe", or an object such as `ev.FQE(...)`. None for
            "acting", where agents learn by acting; else "return", and "fqe" without an environment.
        device: "auto", "cpu" or "cuda".
        dtype: of the parameters.
        precision: of matrix products on CUDA, "float32" or the faster "tf32"; other devices ignore it.
        deterministic: True for the same record on every x86 processor with AVX2, a few per cent slower; it holds for
            the whole process, and has to be said before torch computes anything.
        vectorization: "sync", "async" for one process per environment, or "ray" for batches of them in actors of Ray.
        on_fault: what a failure of an environment does: "survive" drops its episode and shows the first of
            each kind, "raise" ends the training; None raises what an environment raises that has never
            worked, and survives everything else.
        overlap: let "async" (or "ray") environments step while the agents learn: they then act by the policies
            before the newest updates. It pays for slow environments.
        target: draw this return in the figures, and stop `run` there.
        frame_stack: newest observations that an agent is shown as one, so that it sees what moves; see
            `ev.envs.FrameStack`. Above 1 Atari's games are preprocessed as well: every fourth frame, of 84 x 84 grey values.
        env_kwargs: arguments of the environment by name, for `gymnasium.make` or the callable.
        vector: in place of `environment`, makes vector environments of any size, Gymnasium's, PufferLib's, ones of tensors
            or EnvPool's: `lambda n, seed: gymnasium.make_vec("CartPole-v1", num_envs=n)`.
        seed: of everything; None for a fresh one.
        folder: write checkpoints there by itself; None for none but those of `save`.
        checkpoint_every: generations between two of them, or a time such as "10 min".
        keep: newest checkpoints to keep; the best one is kept as well.
        trackers: where else the run is recorded: "csv", "jsonl", "tensorboard", "wandb", "mlflow",
            or objects with `start`, `log` and `finish`.
        progress: show a bar while it trains (a line a minute where there is no terminal and no notebook).

    Raises:
        ValueError: an unknown name or a value outside its range.
        TypeError: a value of the wrong type.
    """

    environment: Environment
    algorithm: Algorithm = None  # type: ignore[assignment]  # None and names are resolved
    _: KW_ONLY
    population: int = None  # type: ignore[assignment]
    num_envs: int = None  # type: ignore[assignment]
    network: Network | Sequence[int] | str | None = None
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
    normalise: Sequence[str] = None  # type: ignore[assignment]
    evolving: bool = True
    revive: bool | str = None  # type: ignore[assignment]
    draw: Sequence[str] = None  # type: ignore[assignment]
    data: Any = None
    load: Agent | str | PathLike[str] | None = None
    fitness: Any = None
    device: str | torch.device = "auto"
    dtype: torch.dtype = torch.float32
    precision: str = "float32"
    deterministic: bool = False
    frame_stack: int = 1
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

    @classmethod
    def names(cls) -> list[str]:
        """Every option."""
        return [field.name for field in fields(cls)]

    def options(self) -> dict[str, Any]:
        """Every option by name."""
        return {name: getattr(self, name) for name in self.names()}


def signature() -> inspect.Signature:
    """What `Experiment` takes, as an editor shows it."""
    islands = inspect.signature(IslandOptions).parameters.values()
    apart = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in islands]
    own = inspect.signature(Options).parameters.values()
    return inspect.Signature([*own, *apart])


def documented() -> str:
    """The options as a docstring lists them, indented as in the class that takes them over."""
    texts = [inspect.getdoc(Options) or "", inspect.getdoc(IslandOptions) or ""]
    own, apart = (text[text.find("Args:") :].partition("\nRaises:")[0].rstrip() for text in texts)
    return (own + apart.removeprefix("Args:")).replace("\n", "\n    ")
