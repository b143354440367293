"""DQN: deep Q-learning with experience replay, double or plain."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED, MaskedAlgorithm
from evolab.algorithms.burn_in import Reader, warmed_up
from evolab.algorithms.dueling import DuelingError, action_values
from evolab.algorithms.exploration import LASTING, persists
from evolab.algorithms.hyperparameters import ONLINE, RATE, Hyperparameter
from evolab.algorithms.losses import SquaredError
from evolab.core import checks
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.masks import masked
from evolab.core.ranges import Float, Integer
from evolab.core.readonly import frozen_options
from evolab.core.trees import Tree
from evolab.networks.base import Role
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference
from evolab.networks.loss import Loss
from evolab.networks.noisy.noise import disturbed, drawn
from evolab.networks.noisy.noisy import NoisyLayers
from evolab.networks.sequences import seen, seen_next

LEARNING_RATE = Float(5e-4, 5e-3, grow=2.0)
"""Where the learning rate evolves by default.

Slow agents seem steadier, are selected early, and stay behind. Four agents that did not evolve earned 218, 183, 190 and
261 in the mean on CartPole-v1 after 5 000, 10 000, 20 000 and 30 000 steps with 3e-4; 396, 184, 388 and 326 with 1e-3;
370, 369, 418 and 331 with 2e-3 (seed 200). The published settings of rl-baselines3-zoo lie between 6.3e-4 and 4e-3.
"""


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class DQN(MaskedAlgorithm):
    """Deep Q-network for Discrete (and small MultiDiscrete) actions.

    Args:
        double: the online network chooses the next action and the target network values it.
        spread: in [0, 1]; the environments of one agent explore at 1 - spread to 1 + spread times its
            epsilon, so that with 1 the first of them never does.
        huber: size of a temporal-difference error, in units of return, beyond which the loss grows linearly
            instead of quadratically: rare large errors, a crash's say, then weigh no more than others. None
            for the square throughout, which follows large values faster.
        dueling: the network's outputs are the value of the state and the advantages of its actions; both read the
            last hidden layer.
        noisy: weights of the fully connected layers have noise, of a size that is learned, and agents explore by it
            instead of by epsilon. Greedy actions are those of the means.

    Epsilon, the share of steps with a random action, falls linearly from `epsilon_start` to
    `epsilon_end` over the agent's first `epsilon_steps` environment steps; every environment tosses
    its own coin. A random action is held for a stretch of steps, `persistence` in the mean, and
    not beyond an episode's end. Single random actions average out; stretches of them lead to states
    that are many steps away. Their lengths are geometric: over agents that each have a mean of their
    own, drawn by factors, they are as heavy-tailed as those of the source.

    A target sums the rewards of `n_step` steps, or of as many as there are to the end of an episode, before the
    value of the state that they led to. Transitions are drawn evenly, or by `priority`, the exponent of the sizes of
    their temporal-difference errors; see `data.buffers.priorities`.

    With `noisy` an agent draws noise at every step, one for all of its environments, and at every update three: for the
    network that learns, for its target, and for the one that chooses the next action. `weight_noise` multiplies it.

    Where the network remembers, an update learns from sequences that are drawn; see `algorithms.burn_in`.

    Source: Mnih et al. 2015, Human-level control, algorithm 1, whose clipped error is `huber=1`; van
    Hasselt et al. 2016, Double Q-learning, eq. 4; Dabney et al. 2021, Temporally-extended
    epsilon-greedy exploration (arXiv:2006.01782), for `persistence`; Sutton and Barto 2018, Reinforcement
    Learning, section 7.1, for `n_step`; Wang et al. 2016, Dueling Network Architectures, eq. 9, for `dueling`;
    Fortunato et al. 2018, Noisy Networks for Exploration, section 3.1, for `noisy`; Kapturowski et al. 2019, Recurrent
    Experience Replay, section 3, for networks that remember. Targets follow by Polyak averaging.
    """

    double: bool = True
    spread: float = 0.0
    huber: float | None = None
    dueling: bool = False
    noisy: bool = False

    name: ClassVar[str] = "DQN"
    recordable: ClassVar[bool] = True
    learns_sequences: ClassVar[bool] = True
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Discrete, spaces.MultiDiscrete)
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "lr": Hyperparameter(1e-3, RATE, LEARNING_RATE, "learning rate of Adam"),
        **ONLINE,
        "tau": replace(ONLINE["tau"], default=0.02),
        "epsilon_start": Hyperparameter(
            1.0, Float(0.0, 1.0, log=False), None, "first share of random actions"
        ),
        "epsilon_end": Hyperparameter(0.05, Float(0.0, 1.0, log=False), None, "last share of random actions"),
        "epsilon_steps": Hyperparameter(10_000, Integer(1, 10**9), None, "agent's steps until epsilon_end"),
        "persistence": Hyperparameter(
            1.0,
            LASTING,
            Float(1.0, 32.0),
            "steps that a random action is held for, in the mean; 1 for one draw a step",
            absent=1.0,
        ),
        "weight_noise": Hyperparameter(
            1.0,
            Float(0.0, 100.0, log=False),
            None,
            "factor of the noise in the weights of noisy layers; 0 for none",
            absent=1.0,
            off=1.0,
        ),
    }

    def __post_init__(self) -> None:
        checks.flag(f"{self.name}: dueling", self.dueling)
        checks.flag(f"{self.name}: noisy", self.noisy)
        checks.finite(f"{self.name}: spread", self.spread, low=0.0, high=1.0)
        if self.huber is not None and checks.finite(f"{self.name}: huber", self.huber, low=0.0) == 0.0:
            raise ValueError(
                f"{self.name}: huber is 0.0; expected a number above 0, or None for the squared error."
            )

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """One network, "q", with an output per action, with `dueling` one more, and its target."""
        outputs = (actions.width + self.dueling) * self.outputs_per_action()
        around = NoisyLayers if self.noisy else None
        return {"q": Role(observation_space, outputs, rate="lr", around=around)}

    def outputs_per_action(self) -> int:
        """How many outputs of the network `preferences` makes the value of one action of."""
        return 1

    def of_actions(self, out: Tensor) -> Tensor:
        """[..., A N], what the network's outputs say of each action."""
        return action_values(out, self.outputs_per_action()) if self.dueling else out

    def preferences(self, out: Tensor) -> Tensor:
        """[..., A]: the value of each action."""
        return self.of_actions(out)

    def outputs(
        self, agents: AgentGroup, observation: Tree, target: bool = False, noise: Tensor | None = None
    ) -> Tensor:
        """[P, B, O], with noise [P, N] in the weights where there is some."""
        with self.disturbed(agents, noise):
            return agents.network("q", target)(observation)

    def disturbed(self, agents: AgentGroup, noise: Tensor | None) -> AbstractContextManager[None]:
        """Inside, the network computes with noise [P, N] in its weights where there is some."""
        return nullcontext() if noise is None else disturbed(agents, "q", noise, agents.hyper["weight_noise"])

    def values(
        self, agents: AgentGroup, observation: Tree, target: bool = False, noise: Tensor | None = None
    ) -> Tensor:
        """[P, B, A], the values of all actions."""
        return self.preferences(self.outputs(agents, observation, target, noise))

    def act(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """The action of the highest value, [P, B]."""
        return masked(self.values(agents, observation), mask).argmax(-1)

    def value(self, agents: AgentGroup, observation: Tree, mask: Tensor | None = None) -> Tensor:
        """[P, B]: the highest value of any action."""
        return masked(self.values(agents, observation), mask).amax(-1)

    def memory(self, agents: int, num_envs: int, actions: Actions) -> dict[str, tuple[int, ...]]:
        """The random action that is being held, counted from 1; 0 for none."""
        return {"held": (agents, num_envs)}

    @property
    def samples_apart(self) -> bool:
        """True with noise in the weights."""
        return self.noisy or type(self).sample is not DQN.sample

    def sample(
        self,
        agents: AgentGroup,
        observation: Tree,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Epsilon-greedy, or the best action by weights with noise."""
        if not self.noisy:
            return super().sample(agents, observation, memory, generator, mask)
        noise = drawn(agents, "q", 1, generator)[:, 0]
        return masked(self.values(agents, observation, noise=noise), mask).argmax(-1)

    def explore(
        self,
        agents: AgentGroup,
        action: Tensor,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Epsilon-greedy, one coin per agent and environment. A held action that is forbidden now is let go."""
        h = agents.hyper
        progress = (h["steps"] / h["epsilon_steps"]).clamp(max=1.0)
        epsilon = (h["epsilon_start"] + (h["epsilon_end"] - h["epsilon_start"]) * progress)[:, None]  # [P, 1]
        if self.spread and action.shape[1] > 1:
            ladder = torch.linspace(1 - self.spread, 1 + self.spread, action.shape[1], device=action.device)
            epsilon = epsilon * ladder.to(epsilon.dtype)  # [P, E]
        count = agents.roles["q"].outputs // self.outputs_per_action() - self.dueling
        device = generator.device
        coin = torch.rand(action.shape, generator=generator, device=device).to(action.device)
        if mask is None:
            guess = torch.randint(count, action.shape, generator=generator, device=device).to(action.device)
        else:
            chance = torch.rand(mask.shape, generator=generator, device=device).to(action.device)
            guess = chance.masked_fill(~mask, -1.0).argmax(-1)
        if not persists(agents):
            return torch.where(coin < epsilon, guess, action)
        held, epsilon = memory["held"], epsilon.clamp(max=1.0)
        if mask is not None:
            held.mul_(mask.gather(-1, (held.long() - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1))
        longer = h["persistence"][:, None] - 1  # [P, 1], beyond the first step
        # One coin says whether a stretch goes on and, if it does not, whether another one starts.
        goes_on = (held > 0) * (longer / (longer + 1))
        starts = epsilon / (1 + longer * (1 - epsilon))  # stretches are then a share epsilon of all steps
        another = torch.where(coin < goes_on + (1 - goes_on) * starts, guess + 1, 0).to(held.dtype)
        held.copy_(torch.where(coin < goes_on, held, another))
        return torch.where(held > 0, held.to(action.dtype) - 1, action)

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it; None with parts that they do not know."""
        if self.dueling or self.noisy:
            return None
        return TemporalDifference("q", double=self.double, huber=self.huber)

    def draw(self, agents: AgentGroup, batch: Batch, generator: torch.Generator) -> Tensor | None:
        """[P, 3, N], noise in the weights of what learns, of its target and of what chooses; None without `noisy`."""
        return drawn(agents, "q", 3, generator) if self.noisy else None

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """One step on the mean squared (or Huber) temporal-difference error, then the target follows."""
        if batch.in_sequences:
            batch = warmed_up(batch, self.readers(agents, noise))
        loss = self.error(agents, batch, *given(noise))
        loss = DuelingError(loss, self.outputs_per_action()) if self.dueling else loss
        with self.disturbed(agents, apart(noise)[0]):
            observation = seen(batch.remembered, "q", batch.observation)
            losses = agents.gradient_step("q", loss, observation, noted=batch.error)
        agents.polyak_update("q")
        return {"q": losses}

    def readers(self, agents: AgentGroup, noise: Tensor | None) -> dict[str, Reader]:
        """The networks that go through sequences: what learns, its target, and what chooses where its noise is its own."""
        learning, valuing, choosing = apart(noise)
        found: dict[str, Reader] = {
            "q": lambda observation: self.outputs(agents, observation, noise=learning),
            "q.target": lambda observation: self.outputs(agents, observation, True, valuing),
        }
        if self.double and noise is not None:
            found["q.chooser"] = lambda observation: self.outputs(agents, observation, noise=choosing)
        return found

    def error(self, agents: AgentGroup, batch: Batch, noise: Tensor | None = None) -> Loss:
        """What the network brings down, of the values of all actions."""
        return SquaredError(self.target(agents, batch, *given(noise)), batch.weight, batch.action, self.huber)

    def target(self, agents: AgentGroup, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """[P, B]: reward plus the discounted value of the next state."""
        with torch.no_grad():
            mask, (_, valuing, choosing) = batch.next_action_mask, apart(noise)
            next_values = self.values(agents, seen_next(batch, "q.target"), target=True, noise=valuing)
            next_values = masked(next_values, mask)  # [P, B, A]
            if self.double:
                chooser = self.values(agents, seen_next(batch, chooser_of(noise)), noise=choosing)
                best = masked(chooser, mask).argmax(-1, keepdim=True)
                next_value = next_values.gather(-1, best).squeeze(-1)
            else:
                next_value = next_values.amax(-1)
            return batch.reward + batch.future(agents.hyper["discount"]) * next_value


def given(noise: Tensor | None) -> tuple[Tensor, ...]:
    """An argument where there is noise: who derives from DQN without it need not know of it."""
    return () if noise is None else (noise,)


def chooser_of(noise: Tensor | None) -> str:
    """The reader that chooses the next action: without noise that is what learns."""
    return "q" if noise is None else "q.chooser"


def apart(noise: Tensor | None) -> tuple[Tensor | None, ...]:
    """The three noises [P, N] of an update, or none of them."""
    return (None, None, None) if noise is None else noise.unbind(1)
