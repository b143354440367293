"""CQN: double DQN that learns from data alone, conservatively."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED
from evolab.algorithms.dqn import DQN
from evolab.algorithms.dueling import DuelingError
from evolab.algorithms.hyperparameters import Hyperparameter, of_data
from evolab.core import checks
from evolab.core.experience import Batch
from evolab.core.ranges import Float
from evolab.core.readonly import frozen_options
from evolab.networks.batching.group import AgentGroup
from evolab.networks.loss import Loss


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class CQN(DQN):
    """Conservative Q-learning for Discrete (and small MultiDiscrete) actions.

    Its loss is `1/2 (Q(s, a) - target)^2 + cql_alpha (logsumexp Q(s, .) - Q(s, a))`, meaned over
    the batch, with `a` the action in the data. The second term, the gap, is minus the
    log-likelihood of the data's action under a softmax over Q: it lowers what was never
    tried. It is in units of Q, the first in units of Q squared; so a reward multiplied by k wants
    a `cql_alpha` multiplied by k. Its gradient with respect to Q lies within [-1, 1], that of the
    first term grows with the error: towards 0 CQN is double DQN, far above the errors' size it
    is behaviour cloning. The default of 1 suits rewards of about 1.

    It does not explore: it learns from data alone.

    Args:
        clip: largest norm of an agent's gradient; None for no clipping.

    Source: Kumar et al. 2020, Conservative Q-Learning, eq. 4 with H as the regulariser, in its
    discrete form.
    """

    clip: float | None = None

    name: ClassVar[str] = "CQN"
    recordable: ClassVar[bool] = True
    learns_sequences: ClassVar[bool] = False
    offline: ClassVar[bool] = True
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **of_data(DQN.hyperparameters, "epsilon_start", "epsilon_end", "epsilon_steps", "weight_noise"),
        "lr": replace(DQN.hyperparameters["lr"], default=5e-4),
        "cql_alpha": Hyperparameter(
            1.0,
            Float(0.0, 1e6, log=False),
            Float(0.1, 10.0),
            "weight of the gap beside half the squared error",
        ),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noisy:
            raise ValueError(
                f"{self.name}: noisy is True, but noise in the weights is there to explore, and it learns from data alone. "
                "Leave noisy out, or use ev.DQN(noisy=True) where agents act."
            )
        if self.clip is not None:
            checks.positive(f"{self.name}: clip", self.clip)

    def explore(
        self,
        agents: AgentGroup,
        action: Tensor,
        memory: dict[str, Tensor],
        generator: torch.Generator,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The greedy action itself."""
        return action

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """One step on both terms, then the target follows; "gap" is how far the data's actions are from certain."""
        loss = ConservativeError(
            self.target(agents, batch), batch.weight, batch.action, agents.hyper["cql_alpha"], self.huber
        )
        descended = DuelingError(loss, self.outputs_per_action()) if self.dueling else loss
        total = agents.gradient_step("q", descended, batch.observation, clip=self.clip)
        agents.polyak_update("q")
        return {"q": total, **loss.parts}


@dataclass(frozen=True, eq=False)
class ConservativeError(Loss):
    """`1/2 (Q(s, a) - target)^2 + alpha (logsumexp Q(s, .) - Q(s, a))`, meaned over the batch.

    Attributes:
        target: [P, B], in units of return.
        weight: [P, B], of each sample in its agent's mean.
        action: [P, B] int64, what was done in the data.
        alpha: [P], weight of the second term, the gap.
        huber: temporal-difference errors beyond it count linearly; None for no such limit.
        parts: "gap" [P], once the loss was computed.
    """

    target: Tensor
    weight: Tensor
    action: Tensor
    alpha: Tensor
    huber: float | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, values: Tensor) -> Tensor:
        """[P], from the values of all actions [P, B, A]."""
        return self._losses(values)[0]

    def gradient(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The losses, and `alpha softmax(Q)`, beside which the data's action has `error - alpha`, each weighted."""
        losses, likelihood, near = self._losses(values)
        alpha = self.alpha[:, None]
        slope = likelihood.exp() * (alpha * self.weight).unsqueeze(-1)
        own = (self.weight * (near - alpha)).unsqueeze(-1)
        return losses, slope.scatter_add_(-1, self.action.unsqueeze(-1), own)

    def _losses(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The losses [P], the log-softmax of the values [P, B, A] and the errors within `huber` [P, B]."""
        likelihood, index = values.log_softmax(-1), self.action.unsqueeze(-1)
        gap = -(self.weight * likelihood.gather(-1, index).squeeze(-1)).sum(-1)
        self.parts["gap"] = gap.detach()
        error = values.gather(-1, index).squeeze(-1) - self.target
        near = error if self.huber is None else error.clamp(-self.huber, self.huber)
        return (self.weight * near * (2 * error - near)).sum(-1) / 2 + self.alpha * gap, likelihood, near
