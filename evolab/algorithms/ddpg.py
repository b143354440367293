"""DDPG: a deterministic policy that follows the gradient of its critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED, Algorithm
from evolab.algorithms.exploration import noise_persistence, ornstein_uhlenbeck, unit_noise
from evolab.algorithms.hyperparameters import ACTOR_CRITIC, Hyperparameter
from evolab.algorithms.losses import DeterministicPolicyGradient, SquaredError
from evolab.core import checks
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.ranges import Float, Integer
from evolab.core.readonly import frozen_options
from evolab.core.trees import Tree
from evolab.networks.base import Role
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class DDPG(Algorithm):
    """Deep deterministic policy gradient for bounded Box actions.

    Args:
        ou_noise: explore with an Ornstein-Uhlenbeck process instead; it is set
            back for an environment whose episode ended. `ou_theta` pulls it to zero at every
            step of length `ou_dt`, `exploration_noise` scales it, and `persistence` is not asked.
        spread: how differently the environments of an agent explore: the scale of their noise runs
            evenly from 1 - spread to 1 + spread times `exploration_noise`. At 1 the first
            environment follows the policy itself and the last one takes twice the noise, after
            the actors of Horgan et al. 2018, Distributed prioritized experience replay, section 4.

    Raises:
        ValueError: spread lies outside of 0 to 1.

    Source: Lillicrap et al. 2016, Continuous control with deep reinforcement learning, algorithm 1.
    """

    ou_noise: bool = False
    ou_theta: float = 0.15
    ou_dt: float = 0.01
    spread: float = 0.0

    name: ClassVar[str] = "DDPG"
    recordable: ClassVar[bool] = True
    acting: ClassVar[tuple[str, ...]] = ("actor",)
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Box,)
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **ACTOR_CRITIC,
        "policy_delay": Hyperparameter(1, Integer(1, 1000), None, "critic updates per policy update"),
        "exploration_noise": Hyperparameter(
            0.2, Float(0.0, 10.0, log=False), Float(0.2, 1.0), "scale of the noise on actions in [-1, 1]"
        ),
        "persistence": noise_persistence(Float(1.0, 4.0)),
    }

    def __post_init__(self) -> None:
        checks.finite(f"{self.name}: spread", self.spread, low=0.0, high=1.0)
        checks.finite(f"{self.name}: ou_theta", self.ou_theta, low=0.0)
        checks.positive(f"{self.name}: ou_dt", self.ou_dt)

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The policy "actor" and its "critic", both with targets."""
        return {
            "actor": Role(observation_space, actions.width, rate="lr_actor"),
            "critic": Role(observation_space, 1, extra=actions.width, rate="lr_critic"),
        }

    def act(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """[P, B, A] in [-1, 1]."""
        return torch.tanh(agents.network("actor")(observation))

    def value(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """[P, B]: the critic's value of the policy's action; of several critics the smallest."""
        found = agents.network("critic")(observation, self.act(agents, observation)).squeeze(-1)
        return found if found.dim() == 2 else found.amin(1)

    def memory(self, agents: int, num_envs: int, actions: Actions) -> dict[str, tuple[int, ...]]:
        """The noise of the step before."""
        return {"ou" if self.ou_noise else "noise": (agents, num_envs, actions.width)}

    def explore(
        self, agents: AgentGroup, action: Tensor, memory: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """Noise on the policy's action, clipped to [-1, 1]."""
        scale = agents.hyper["exploration_noise"][:, None, None]  # [P, 1, 1]
        if self.spread and action.shape[1] > 1:
            ladder = torch.linspace(1 - self.spread, 1 + self.spread, action.shape[1], device=action.device)
            scale = scale * ladder[:, None].to(scale.dtype)  # [P, E, 1]
        if self.ou_noise:
            noise = ornstein_uhlenbeck(memory["ou"], scale, self.ou_theta, self.ou_dt, generator)
        else:
            noise = unit_noise(agents, action, memory["noise"], generator) * scale
        return (action + noise).clamp(-1, 1)

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it."""
        return TemporalDifference("critic", policy="actor")

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """The critic learns the temporal-difference target, then the policy moves up the critic's value."""
        h, weight = agents.hyper, batch.weight
        with torch.no_grad():
            next_action = torch.tanh(agents.network("actor", target=True)(batch.next_observation))
            next_value = agents.network("critic", target=True)(batch.next_observation, next_action).squeeze(
                -1
            )
            target = batch.reward + batch.future(h["discount"]) * next_value  # [P, B]

        error = SquaredError(target, weight)
        inputs = batch.observation, batch.action
        losses = {"critic": agents.gradient_step("critic", error, *inputs, noted=batch.error)}
        if agents.updates % agents.policy_delay == 0:
            policy = DeterministicPolicyGradient(agents, "critic", batch.observation, weight)
            losses["actor"] = agents.gradient_step("actor", policy, batch.observation)
            agents.polyak_update("actor")
            agents.polyak_update("critic")
        return losses
