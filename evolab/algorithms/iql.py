"""IQL: values of the best actions in the data, learned without asking for any that is not there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED, Algorithm
from evolab.algorithms.clipped_gaussian import clipped_gaussian
from evolab.algorithms.hyperparameters import RATE, SHARED, Hyperparameter
from evolab.algorithms.losses import SquaredError
from evolab.core import checks
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.ranges import Float
from evolab.core.readonly import frozen_options
from evolab.core.trees import Tree
from evolab.networks.base import Role
from evolab.networks.batching.bucket import Forward
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference
from evolab.networks.loss import Loss
from evolab.networks.scalars import Scalars

LARGEST = 100.0
"""What a sample of the data counts at most in the policy's loss, as in the authors' code."""

NARROWEST = -5.0
"""Of the logarithms of the policy's deviations: a density of actions that are all alike has no end."""


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class IQL(Algorithm):
    """Implicit Q-learning, for bounded Box actions and a fixed dataset.

    A value V(s) follows an upper expectile of the target critics' values of the data's own actions: of the actions that
    the data took in states like s, about the best. Critics learn the reward plus the discounted V of the next state,
    so that nobody ever asks what an action is worth that is not in the data. The policy imitates the data, each action
    weighted by `exp(advantage_weight (Q(s, a) - V(s)))`, 100 at most: a Gaussian around tanh of its outputs, whose
    deviations are numbers of their own. Greedy actions are its means.

    The weight of advantages is per unit of return, so the best one depends on the scale of rewards: it evolves by factors.

    Args:
        start_spread: standard deviation that the policy starts from, of actions in [-1, 1].

    Source: Kostrikov et al. 2022, Offline Reinforcement Learning with Implicit Q-Learning (arXiv:2110.06169), eq. 5 to 7;
    actions at a bound by Fujita and Maeda 2018, Clipped Action Policy Gradient.
    """

    start_spread: float = 0.6

    name: ClassVar[str] = "IQL"
    recordable: ClassVar[bool] = True
    offline: ClassVar[bool] = True
    acting: ClassVar[tuple[str, ...]] = ("actor",)
    action_spaces: ClassVar[tuple[type, ...]] = (spaces.Box,)
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "lr_actor": Hyperparameter(3e-4, RATE, Float(1e-4, 1e-3, grow=2.0), "learning rate of the policy"),
        "lr_critic": Hyperparameter(1e-3, RATE, Float(3e-4, 3e-3, grow=2.0), "learning rate of the critics"),
        "lr_value": Hyperparameter(1e-3, RATE, Float(3e-4, 3e-3, grow=2.0), "learning rate of the value"),
        **SHARED,
        "expectile": Hyperparameter(
            0.7,
            Float(0.5, 0.999, log=False),
            None,
            "0.5 for the mean of the data's actions, towards 1 for the best",
        ),
        "advantage_weight": Hyperparameter(
            3.0,
            Float(0.0, 1e6, log=False),
            Float(0.1, 30.0),
            "weight of advantages in imitation, per unit of return; 0 imitates the data",
        ),
    }

    def __post_init__(self) -> None:
        checks.positive(f"{self.name}: start_spread", self.start_spread)

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """The policy "actor" with the logarithms "spread" [A], twin critics with targets, and the "value"."""
        width, start = actions.width, Scalars(math.log(self.start_spread))
        return {
            "actor": Role(observation_space, width, has_target=False, rate="lr_actor"),
            "spread": Role(observation_space, width, has_target=False, rate="lr_actor", network=start),
            "critic": Role(observation_space, 1, extra=width, ensemble_size=2, rate="lr_critic"),
            "value": Role(observation_space, 1, has_target=False, rate="lr_value"),
        }

    def act(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """[P, B, A] in [-1, 1]: the means."""
        return torch.tanh(agents.network("actor")(observation))

    def value(self, agents: AgentGroup, observation: Tree) -> Tensor:
        """[P, B]: the value network's."""
        return agents.network("value")(observation).squeeze(-1)

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it."""
        limits = NARROWEST, math.inf
        return TemporalDifference(
            "critic", policy="actor", states="value", deviations="spread", limits=limits
        )

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """The value follows the target critics; then the policy and the critics follow the value."""
        h, weight = agents.hyper, batch.weight
        with torch.no_grad():
            several = agents.network("critic", target=True)(batch.observation, batch.action)
            worth = several.squeeze(-1).amin(1)  # [P, B]
        expectile = ExpectileError(worth, weight, h["expectile"])
        losses = {"value": agents.gradient_step("value", expectile, batch.observation)}
        with torch.no_grad():
            advantage = worth - self.value(agents, batch.observation)
            counts = (h["advantage_weight"][:, None] * advantage).exp().clamp(max=LARGEST)  # [P, B]
            target = batch.reward + batch.future(h["discount"]) * self.value(agents, batch.next_observation)

        def policy_loss(actor: Forward, spread: Forward) -> Tensor:
            mean, deviation = torch.tanh(actor(batch.observation)), spread().unsqueeze(1)
            likelihood, _ = clipped_gaussian(mean, deviation.clamp(min=NARROWEST), batch.action, batch.grain)
            return -(weight * counts * likelihood).sum(-1)

        losses["actor"] = agents.minimise(("actor", "spread"), policy_loss)
        error = SquaredError(target, weight)
        losses["critic"] = agents.gradient_step("critic", error, batch.observation, batch.action)
        agents.polyak_update("critic")
        return losses


@dataclass(frozen=True, eq=False)
class ExpectileError(Loss):
    """Asymmetric squared error: values below their target weigh `expectile`, those above `1 - expectile`.

    At 0.5 it is half the squared error; towards 1 the values estimate the largest targets.

    Attributes:
        target: [P, B], in units of return.
        weight: [P, B], of each sample in its agent's loss.
        expectile: [P], one per agent, strictly between 0 and 1.

    Source: Kostrikov et al. 2022, eq. 5.

    >>> one = torch.ones(1, 2)
    >>> ExpectileError(one, one / 2, torch.tensor([0.75]))(torch.tensor([[[0.0], [3.0]]]))
    tensor([0.8750])
    """

    target: Tensor
    weight: Tensor
    expectile: Tensor

    def __call__(self, out: Tensor) -> Tensor:
        """[P], from outputs [P, B, 1]."""
        error, tilted = self._errors(out)
        return (tilted * error.square()).sum(-1)

    def gradient(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [P], and minus twice the weighted errors."""
        error, tilted = self._errors(out)
        slope = tilted * error
        return (slope * error).sum(-1), slope.mul_(-2).unsqueeze(-1)

    def _errors(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Targets less values, and what each counts, [P, B] both."""
        error = self.target - out.squeeze(-1)
        upper = self.expectile[:, None].to(error)
        return error, self.weight * torch.where(error > 0, upper, 1 - upper)
