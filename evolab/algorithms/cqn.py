"""CQN: double DQN that learns from data alone, conservatively."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from evolab.algorithms.base import AgentGroup, Float, Hyperparameter
from evolab.algorithms.dqn import DQN
from evolab.core.experience import Batch


@dataclass(frozen=True)
class CQN(DQN):
    """Conservative Q-learning for Discrete (and small MultiDiscrete) actions.

    Its loss is `1/2 (Q(s, a) - target)^2 + cql_alpha (logsumexp Q(s, .) - Q(s, a))`, meaned over
    the batch, with `a` the action in the data. The second term, the gap, is minus the
    log-likelihood of the data's action under a softmax over Q: it pushes down what was never
    tried. It is in units of Q, the first in units of Q squared; so a reward multiplied by k wants
    a `cql_alpha` multiplied by k. Its gradient with respect to Q lies within [-1, 1], that of the
    first term grows with the error: towards 0 CQN is double DQN, far above the errors' size it
    is behaviour cloning. The default of 1 suits rewards of about 1.

    It has no exploration: there is nobody to explore for.

    Args:
        clip: largest norm of an agent's gradient; None for no clipping.

    Source: Kumar et al. 2020, Conservative Q-Learning, eq. 4 with H as the regulariser, in its
    discrete form.
    """

    clip: float | None = None

    name: ClassVar[str] = "CQN"
    recordable: ClassVar[bool] = True
    offline: ClassVar[bool] = True
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **{name: value for name, value in DQN.hyperparameters.items() if not name.startswith("epsilon")},
        "cql_alpha": Hyperparameter(
            1.0,
            Float(0.0, 1e6, log=False),
            Float(0.1, 10.0),
            "weight of the gap beside half the squared error",
        ),
    }

    def explore(
        self, agents: AgentGroup, action: Tensor, memory: dict[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """The greedy action itself."""
        return action

    def update(self, agents: AgentGroup, batch: Batch, noise: Tensor | None) -> dict[str, Tensor]:
        """One step on both terms, then the target follows; "gap" is how far the data's actions are from certain."""
        target, weight, choice = self.target(agents, batch), batch.weight, batch.action.unsqueeze(-1)
        alpha = agents.hyper["cql_alpha"][:, None]
        gap: list[Tensor] = []

        def judge(values: Tensor) -> tuple[Tensor, Tensor]:
            """Losses [C], and how they change with the values [C, B, A]."""
            likelihood = values.log_softmax(-1)
            gap[:] = [-(weight * likelihood.gather(-1, choice).squeeze(-1)).sum(-1)]
            error = values.gather(-1, choice).squeeze(-1) - target
            near = error if self.huber is None else error.clamp(-self.huber, self.huber)
            slope = likelihood.exp() * (alpha * weight).unsqueeze(-1)
            slope.scatter_add_(-1, choice, (weight * (near - alpha)).unsqueeze(-1))
            return (weight * near * (2 * error - near)).sum(-1) / 2 + alpha.squeeze(-1) * gap[0], slope

        total = agents.push("q", judge, batch.observation, clip=self.clip)
        agents.follow("q")
        return {"q": total, "gap": gap[0].detach()}
