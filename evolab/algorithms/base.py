"""The contract of an algorithm: one file that reads top to bottom.

An algorithm owns no tensors. It says which networks an agent has (`roles`), how they act
(`act`, `explore`) and how one update moves them (`update`). Everything is computed for a
group of agents at once, so its one new habit is: reduce over the last axis, never the first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

# Whoever writes an algorithm finds here what it needs.
from evolab.algorithms.hyperparameters import RATE as RATE
from evolab.algorithms.hyperparameters import SHARED as SHARED
from evolab.algorithms.hyperparameters import Hyperparameter as Hyperparameter
from evolab.algorithms.regime import OFF_POLICY, OFFLINE, ON_POLICY, Regime
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.trees import Tree
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.networks.base import Network, Role
from evolab.networks.batching.group import AgentGroup
from evolab.networks.batching.whole_rollouts import Rule

CHANGED = "algorithm=dataclasses.replace(exp.algorithm, {name}={value}), for another experiment"
"""How an option of an algorithm is changed; see `core.readonly.frozen_options`."""

CALLS = "ev.Experiment(env, algorithm={made}), ev.search_space('{kind}')"
"""What to call with an algorithm; see `core.shown.shows_calls`."""


class Algorithm(ABC):
    """A learning rule. A subclass is a frozen dataclass of its options.

    Class attributes:
        name: as the user writes it.
        hyperparameters: by name; each is a tensor [P] in the population.
        offline: True if it learns from a fixed dataset.
        on_policy: True if it learns from rollouts of its own policy, of which `minibatches` makes batches.
        reads_tokens: True if it learns from episodes of tokens, in language environments.
        learns_sequences: True if it learns from steps in their order, where a network remembers (`ev.Recurrent`): its update
            asks for what is remembered there, by `networks.sequences`, of stored steps after `burn_in.warmed_up`.
        recordable: True, said by the class itself, if what an update computes changes with nothing on the host but
            `agents.updates` modulo the values of `update_timing`, and never waits for the device: CUDA then has a graph.
        acting: names of the networks that actions depend on; None for all. They lie still in an agent at rest.
        update_timing: whole-number hyperparameters that decide when an agent updates: agents that
            differ in one are never computed together.
        action_spaces: kinds of action space it can take.
    """

    name: ClassVar[str] = ""
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]]
    offline: ClassVar[bool] = False
    on_policy: ClassVar[bool] = False
    reads_tokens: ClassVar[bool] = False
    learns_sequences: ClassVar[bool] = False
    recordable: ClassVar[bool] = False
    acting: ClassVar[tuple[str, ...] | None] = None
    update_timing: ClassVar[tuple[str, ...]] = ("learn_step", "policy_delay")
    action_spaces: ClassVar[tuple[type, ...]]

    def check(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        """Raise where the algorithm cannot act in these spaces.

        Raises:
            TypeError: names the spaces that fit.
        """
        binary = isinstance(action_space, spaces.MultiBinary) and spaces.MultiDiscrete in self.action_spaces
        if not (binary or isinstance(action_space, self.action_spaces)):
            fit = " or ".join(kind.__name__ for kind in self.action_spaces)
            raise TypeError(
                f"{self.name} needs {fit} actions; these are {action_space}. {_instead(action_space, self.regime)}"
            )

    @property
    def regime(self) -> Regime:
        """Where its experience comes from: what it says in `offline` and `on_policy`."""
        if self.offline:
            return OFFLINE
        return ON_POLICY if self.on_policy else OFF_POLICY

    @property
    def replays(self) -> bool:
        """True if it learns while it acts, from all that was stored."""
        return self.regime.replays

    @property
    def keeps_transitions(self) -> bool:
        """True if transitions that it has learned from stay, so that others can measure by them."""
        return self.takes_others_experience

    def buffer(self, asked: ReplayBuffer | RolloutBuffer | None) -> ReplayBuffer | RolloutBuffer:
        """Where experience lies: in what was asked for, or in a buffer of the kind that it learns from."""
        return self.regime.buffer() if asked is None else asked  # an empty one is false

    @property
    def takes_others_experience(self) -> bool:
        """True if it can learn from what others did, so that a buffer may be filled before training."""
        return self.regime.buffer is ReplayBuffer

    @property
    def factored(self) -> bool:
        """True where several choices at once are made apart; False for one choice among all their combinations."""
        return False

    def network(self) -> Network | None:
        """What a population has where no network was asked for; None for one that suits the observations."""
        return None

    def on_scaled_returns(self) -> Algorithm:
        """It itself, for returns with a deviation of 1; one that starts otherwise where it counts in units of reward."""
        return self

    @abstractmethod
    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The networks of an agent by name, the policy first."""

    @abstractmethod
    def act(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """Greedy actions [P, B, A] or [P, B], in the algorithm's own range."""

    def value(self, agents: AgentGroup, observation: Tree) -> Tensor | None:
        """[P, B]: the discounted return that is expected of acting from here on; None where it is not estimated."""
        return None

    def explore(
        self, agents: AgentGroup, action: Tensor, memory: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """Exploring actions from greedy ones; `memory` holds what `memory()` declared, cut to the group."""
        return action

    def sample(
        self, agents: AgentGroup, observation: Tree, memory: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """Actions to learn from, in the shape of `act`: what `explore` makes of the greedy ones.

        A stochastic policy, whose spread depends on the observation, draws its own here.
        """
        return self.explore(agents, self.act(agents, observation), memory, generator)

    @property
    def samples_apart(self) -> bool:
        """True if `sample` asks the networks itself; False where it is what `explore` makes of the greedy actions."""
        return type(self).sample not in (Algorithm.sample, MaskedAlgorithm.sample)

    def mode(self, out: Tensor, width: int) -> Tensor:
        """Greedy Box actions [..., A] in [-1, 1] from the policy's outputs [..., O], for exported policies."""
        return torch.tanh(out[..., :width])

    def preferences(self, out: Tensor) -> Tensor:
        """What each choice is picked by, [..., A], from the policy's outputs [..., O]; the outputs themselves, as a rule."""
        return out

    def choosing(self, settings: Mapping[str, float]) -> Callable[[Tensor], Tensor]:
        """`preferences` of an agent with these hyperparameters, for exported policies; one for all, as a rule."""
        return self.preferences

    def memory(self, agents: int, num_envs: int, actions: Actions) -> dict[str, tuple[int, ...]]:
        """Shapes of what exploration remembers per agent and environment, [P, E, ...]; zeroed at an episode's end."""
        return {}

    def draw(self, agents: AgentGroup, batch: Batch, generator: torch.Generator) -> Tensor | None:
        """The noise of one update, so that an update is a function of its arguments; of the batch only shapes count."""
        return None

    def whole(self) -> Rule | None:
        """What `update` is, where kernels know it: on a CPU they then make whole updates, with the same result.

        Only what the class itself says counts: a class that derives from it may update otherwise.
        """
        return None

    def least_experience(self, batch_size: int) -> int:
        """Transitions that must be there before an update with batches of this size.

        Recorded data stay as few as they are: a batch beyond them draws some twice. Experience will grow.
        """
        return batch_size if self.regime.acts else 1

    def samples(self, batch_size: int, stored: int) -> int:
        """Samples per update of an agent that wants `batch_size`, where so many transitions are stored.

        Experience that grows gives as many as it holds. Recorded data, and a rollout, of which
        `minibatches` makes the batches, are asked for all.
        """
        return min(batch_size, stored) if self.regime.replays else batch_size

    def minibatches(self, agents: AgentGroup, batch: Any, generator: torch.Generator) -> Iterator[Any]:
        """The batches of the updates that are made of one batch from a buffer: that one, as a rule."""
        yield batch

    @abstractmethod
    def update(self, agents: AgentGroup, batch: Any, noise: Tensor | None) -> dict[str, Tensor]:
        """One update of every agent in the group; gives losses by name, [P] each.

        Args:
            agents: of a group.
            batch: a `Batch`, `Episodes` for algorithms that read tokens, or what `minibatches` yields.
            noise: what `draw` gave.
        """


class MaskedAlgorithm(Algorithm):
    """A learning rule that obeys masks: `mask`, [P, B, A] bool, is False for outputs whose actions are forbidden now.

    It is None where the environment gives no masks. What an update learns from has them too: see `Batch`.
    """

    @abstractmethod
    def act(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """Greedy actions among those that are permitted; see `Algorithm.act`."""

    def value(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor | None:
        """What is expected of acting from here on, where not everything is permitted; see `Algorithm.value`."""
        return None

    def explore(
        self,
        agents: AgentGroup,
        action: Tensor,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Exploring actions among those that are permitted; see `Algorithm.explore`."""
        return action

    def sample(
        self,
        agents: AgentGroup,
        observation: Tree,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Actions to learn from among those that are permitted; see `Algorithm.sample`."""
        if mask is None:  # a class that derives from it need not know of masks
            return super().sample(agents, observation, memory, generator)
        return self.explore(agents, self.act(agents, observation, mask), memory, generator, mask)


def _instead(space: spaces.Space, regime: Regime) -> str:
    if isinstance(space, spaces.Box):
        return f"Use {regime.continuous} for it."
    if isinstance(space, spaces.Discrete):
        return f"Use {regime.discrete} for it."
    return "Wrap the environment so that its actions are Box or Discrete."
