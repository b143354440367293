"""The contract of every environment that agents learn in: [P, E] of them behind one `step`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.experience import Transition
from evolab.core.goals import Goals
from evolab.core.trees import Tree

if TYPE_CHECKING:
    import gymnasium


class EnvironmentFault(RuntimeError):
    """An environment failed so often in a row that going on is pointless."""


@dataclass(frozen=True)
class StepFault:
    """One failure of one environment that was survived: its episode was dropped and it was reset.

    Attributes:
        index: (p, e), the agent's place in the population and the environment's under it;
            None where it cannot be told.
        kind: "raise" (an exception), "nan" (a NaN or infinite observation or reward),
            "shape" (an observation of another shape), "action" (the agent sent a NaN; nothing
            was reset), "hang" (no answer in time) or "crash" (a dead process).
        message: the original message.
        detail: in which step, with which action, and the traceback; empty where there is none.
    """

    index: tuple[int, int] | None
    kind: str
    message: str
    detail: str = field(default="", compare=False)


@runtime_checkable
class Actor(Protocol):
    """Whatever chooses actions by `act`: an agent of evolab's, or an object of the user's own."""

    def act(self, observation: Tree) -> Any:
        """Actions for a batch of observations, or one action for one."""


class Environments(ABC):
    """P agents with E environments each, stepped together.

    Attributes:
        population: P, the number of agents.
        num_envs: E, environments of each agent.
        name: the environment's id, or the name of the callable that makes it.
        single_observation_space: the space of one environment's observation.
        single_action_space: the space of one environment's action.
        max_episode_steps: the environment's own time limit; None where it has none.
        faults: what went wrong and was survived, oldest first.
        action_mask: [P, E, W] bool, what every environment permits now, for `population.act(..., action_mask=...)`;
            None where they give no masks. The entries are those of `core.masks`.
        goals: what the environment says of other goals than its own; None where it says nothing.
    """

    population: int
    num_envs: int
    name: str
    single_observation_space: gymnasium.Space
    single_action_space: gymnasium.Space
    max_episode_steps: int | None
    faults: list[StepFault]
    action_mask: np.ndarray | None = None
    goals: Goals | None = None

    @abstractmethod
    def reset(self, seed: int | np.ndarray | None = None) -> Any:
        """Start a new episode in every environment.

        Args:
            seed: an int is spread over the environments; an int array [P, E] gives each its own,
                so that equal seeds give equal episodes; None goes on with the generators
                the environments have (the first time, with the seed of `make`).

        Returns:
            [P, E, ...], the first observations.
        """

    @abstractmethod
    def step(self, action: ArrayLike | Tensor, autoreset: bool = True) -> Transition:
        """Act once in every environment.

        Args:
            action: [P, E, ...], numpy or tensor, in the environment's own range.
            autoreset: start a new episode where one ended. Where False, an environment that ended
                rests until `reset`: its rows are invalid, its last observation is repeated,
                its reward is 0, and its environment is not stepped.

        Returns:
            The transition, [P, E] in front.

        Raises:
            ValueError: if the action has the wrong shape or lies outside the action space.
            EnvironmentFault: if an environment failed too often in a row.
        """

    @abstractmethod
    def evaluator(self, episodes: int, population: int | None = None) -> Environments:
        """Another set of the same environments with `episodes` environments per agent.

        Args:
            episodes: E of the new set.
            population: P of the new set; None for as many agents as here.
        """

    @abstractmethod
    def render_env(self) -> gymnasium.Env:
        """One single environment of the same kind with `render_mode="rgb_array"`."""

    @abstractmethod
    def close(self) -> None:
        """Free what the environments hold; never hangs, and may be called twice."""

    def take_faults(self) -> list[StepFault]:
        """The faults since the last call, which are then forgotten."""
        taken, self.faults = self.faults, []
        return taken

    def __enter__(self) -> Environments:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, population={self.population}, num_envs={self.num_envs}, "
            f"observation={self.single_observation_space}, action={self.single_action_space}, "
            f"max_episode_steps={self.max_episode_steps}): .reset(), .step(action)"
        )
