"""QR-DQN: DQN that learns the distribution of returns, as quantiles of each action's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED
from evolab.algorithms.dqn import DQN, apart, chooser_of, given
from evolab.algorithms.losses import QuantileError
from evolab.core import checks
from evolab.core.experience import Batch
from evolab.core.masks import masked
from evolab.core.readonly import frozen_options
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference
from evolab.networks.loss import Loss
from evolab.networks.sequences import seen_next


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class QRDQN(DQN):
    """Quantile regression DQN, for the actions that `DQN` takes; with its hyperparameters and its exploration.

    The network gives `quantiles` numbers for each action, which become the quantiles of the return's distribution;
    their mean is the action's value. What a transition teaches is as many samples: the reward plus the discounted
    quantiles of the next state's best action.

    Args:
        quantiles: how many there are of each action.
        huber: distance between a sample and a quantile, in units of return, beyond which it counts linearly.

    Source: Dabney et al. 2017, Distributional Reinforcement Learning with Quantile Regression (arXiv:1710.10044),
    algorithm 1; with `double` (the default) the online network chooses the next action, as in `DQN`.
    """

    huber: float = 1.0
    quantiles: int = 50

    name: ClassVar[str] = "QRDQN"
    recordable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(f"{self.name}: huber", self.huber)
        checks.positive_integer(f"{self.name}: quantiles", self.quantiles)

    def outputs_per_action(self) -> int:
        """The quantiles."""
        return self.quantiles

    def preferences(self, out: Tensor) -> Tensor:
        """[..., A]: the means of each action's quantiles."""
        return self.of_actions(out).unflatten(-1, (-1, self.quantiles)).mean(-1)

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it; None with parts that they do not know."""
        if self.dueling or self.noisy:
            return None
        return TemporalDifference("q", double=self.double, huber=self.huber, quantiles=self.quantiles)

    def error(self, agents: AgentGroup, batch: Batch, noise: Tensor | None = None) -> Loss:
        """How far the quantiles of the actions taken are from those of the target: the quantile Huber loss."""
        return QuantileError(
            self.target(agents, batch, *given(noise)), batch.weight, self.huber, batch.action, self.quantiles
        )

    def target(self, agents: AgentGroup, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """[P, B, N]: reward plus the discounted quantiles of the next state's best action."""
        with torch.no_grad():
            mask, (_, valuing, choosing) = batch.next_action_mask, apart(noise)
            out = self.outputs(agents, seen_next(batch, "q.target"), target=True, noise=valuing)  # [P, B, O]
            chooser = out
            if self.double:
                chooser = self.outputs(agents, seen_next(batch, chooser_of(noise)), noise=choosing)
            best = masked(self.preferences(chooser), mask).argmax(-1)  # [P, B]
            index = best[..., None, None].expand(*best.shape, 1, self.quantiles)
            quantiles = self.of_actions(out).unflatten(-1, (-1, self.quantiles))  # [P, B, A, N]
            following = quantiles.gather(-2, index).squeeze(-2)
            future = batch.future(agents.hyper["discount"]).unsqueeze(-1)
            return batch.reward.unsqueeze(-1) + future * following
