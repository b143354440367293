"""TD3+BC: TD3 that learns from data alone, its policy tied to the data's actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED
from evolab.algorithms.hyperparameters import Hyperparameter, of_data
from evolab.algorithms.td3 import TD3
from evolab.core.experience import Batch
from evolab.core.ranges import Float
from evolab.core.readonly import frozen_options
from evolab.networks.batching.bucket import Forward
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class TD3BC(TD3):
    """TD3 with behaviour cloning, for bounded Box actions and a fixed dataset.

    The policy minimises `-bc_alpha Q(s, pi(s)) / mean |Q| + (pi(s) - a)^2`, actions in [-1, 1] and
    the square meaned over their entries. Dividing by the mean size of Q makes the two terms
    comparable whatever the reward's unit. A `bc_alpha` of 0 is behaviour cloning, a large one is
    TD3. It does not explore: it learns from data alone.

    Source: Fujimoto and Gu 2021, A Minimalist Approach to Offline RL, eq. 3 to 5.
    """

    name: ClassVar[str] = "TD3BC"
    recordable: ClassVar[bool] = True
    offline: ClassVar[bool] = True
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **of_data(TD3.hyperparameters, "exploration_noise"),
        "bc_alpha": Hyperparameter(
            2.5, Float(0.0, 1e6, log=False), Float(0.5, 20.0), "weight of the critic beside behaviour cloning"
        ),
    }

    def explore(
        self, agents: AgentGroup, action: Tensor, memory: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """The policy's action itself."""
        return action

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it."""
        return TemporalDifference("critic", policy="actor", smoothed=True, cloning="bc_alpha")

    def improve(self, agents: AgentGroup, batch: Batch) -> Tensor:
        """One step on both terms."""
        return agents.minimise("actor", lambda actor: self.policy_loss(agents, actor, batch))

    def policy_loss(self, agents: AgentGroup, actor: Forward, batch: Batch) -> Tensor:
        """[P]: minus the scaled value of the policy's actions, plus their distance from the data's."""
        action = torch.tanh(actor(batch.observation))  # [P, B, A]
        value = agents.network("critic")(batch.observation, action, member=0).squeeze(-1)  # [P, B]
        size = (batch.weight * value.detach().abs()).sum(-1)  # [P]
        cloning = (batch.weight * (action - batch.action).square().mean(-1)).sum(-1)
        scale = agents.hyper["bc_alpha"] / size.clamp(min=1e-6)
        return cloning - scale * (batch.weight * value).sum(-1)
