"""TD3: DDPG with twin critics, a delayed policy and smoothed targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED
from evolab.algorithms.ddpg import DDPG
from evolab.algorithms.hyperparameters import Hyperparameter
from evolab.algorithms.losses import DeterministicPolicyGradient, SquaredError
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.ranges import Float, Integer
from evolab.core.readonly import frozen_options
from evolab.networks.base import Role
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class TD3(DDPG):
    """Twin delayed deep deterministic policy gradient for bounded Box actions.

    Takes the options of `DDPG`. The lesser of two critics makes the target; the target policy's
    action is smoothed by clipped noise; the policy and all targets move once per
    `policy_delay` updates of the critics.

    Source: Fujimoto et al. 2018, Addressing function approximation error, algorithm 1.
    """

    name: ClassVar[str] = "TD3"
    recordable: ClassVar[bool] = True
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **DDPG.hyperparameters,
        "policy_delay": Hyperparameter(2, Integer(1, 1000), None, "critic updates per policy update"),
        "target_noise": Hyperparameter(
            0.2, Float(0.0, 10.0, log=False), None, "scale of the target's smoothing"
        ),
        "noise_clip": Hyperparameter(0.5, Float(0.0, 10.0, log=False), None, "largest smoothing, either way"),
    }

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The policy "actor" and twin critics as the two members of "critic", with targets."""
        return {
            "actor": Role(observation_space, actions.width, rate="lr_actor"),
            "critic": Role(observation_space, 1, extra=actions.width, ensemble_size=2, rate="lr_critic"),
        }

    def draw(self, agents: AgentGroup, batch: Batch, generator: torch.Generator) -> Tensor:
        """Standard normal noise in the shape of the actions, [P, B, A]."""
        action = batch.action
        drawn = torch.randn(action.shape, generator=generator, device=generator.device, dtype=action.dtype)
        return drawn.to(action.device)

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it."""
        return TemporalDifference("critic", policy="actor", smoothed=True)

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """Both critics learn the smoothed minimum target; every `policy_delay` updates the policy moves."""
        assert noise is not None
        h, weight = agents.hyper, batch.weight
        with torch.no_grad():
            limit = h["noise_clip"][:, None, None]
            smoothing = torch.clamp(noise * h["target_noise"][:, None, None], -limit, limit)  # [P, B, A]
            next_action = torch.tanh(agents.network("actor", target=True)(batch.next_observation))
            next_action = (next_action + smoothing).clamp_(-1, 1)
            next_values = agents.network("critic", target=True)(
                batch.next_observation, next_action
            )  # [P, 2, B, 1]
            next_value = next_values.squeeze(-1).amin(1)
            target = batch.reward + batch.future(h["discount"]) * next_value  # [P, B]

        error = SquaredError(target, weight)
        inputs = batch.observation, batch.action
        losses = {"critic": agents.gradient_step("critic", error, *inputs, noted=batch.error)}
        if agents.updates % agents.policy_delay == 0:
            losses["actor"] = self.improve(agents, batch)
            agents.polyak_update("actor")
            agents.polyak_update("critic")
        return losses

    def improve(self, agents: AgentGroup, batch: Batch) -> Tensor:
        """One step of the policy up the first critic's value; gives its losses [P]."""
        loss = DeterministicPolicyGradient(agents, "critic", batch.observation, batch.weight)
        return agents.gradient_step("actor", loss, batch.observation)
