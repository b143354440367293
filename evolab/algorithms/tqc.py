"""TQC: SAC whose critics learn the distribution of returns, of which targets leave out the highest quantiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import CALLS, CHANGED
from evolab.algorithms.hyperparameters import Hyperparameter
from evolab.algorithms.losses import QuantileError
from evolab.algorithms.sac import LEAST, MOST, SAC
from evolab.core import checks
from evolab.core.actions import Actions
from evolab.core.experience import Batch
from evolab.core.ranges import Float
from evolab.core.readonly import frozen_options
from evolab.networks.base import Role
from evolab.networks.batching.group import AgentGroup
from evolab.networks.kernels.td_updates import TemporalDifference
from evolab.networks.loss import Loss


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class TQC(SAC):
    """Truncated quantile critics, for bounded Box actions: `SAC` with values that are distributions.

    Each critic gives `quantiles` numbers, which become the quantiles of the return's distribution. For a target those of
    all critics are pooled, and the highest, a share `dropped`, are left out: critics overrate what they know least, and
    how much of it is taken off is a number that evolves. The policy follows the mean of all quantiles.

    Args:
        quantiles: of each critic.
        critics: how many there are.
        huber: distance between a sample and a quantile, in units of return, beyond which it counts linearly.

    Source: Kuznetsov et al. 2020, Controlling Overestimation Bias with Truncated Mixture of Continuous Distributional
    Quantile Critics (arXiv:2005.04269), eq. 9 to 15; five critics there.
    """

    quantiles: int = 25
    critics: int = 2
    huber: float = 1.0

    name: ClassVar[str] = "TQC"
    recordable: ClassVar[bool] = True
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **SAC.hyperparameters,
        "dropped": Hyperparameter(
            0.08,
            Float(0.0, 0.99, log=False),
            Float(0.02, 0.3),
            "share of all critics' quantiles, the highest, that targets leave out; 0.08 is 2 of each critic's 25",
        ),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_integer(f"{self.name}: quantiles", self.quantiles)
        checks.positive_integer(f"{self.name}: critics", self.critics)
        checks.positive(f"{self.name}: huber", self.huber)

    def roles(self, observation_space: spaces.Space, actions: Actions) -> dict[str, Role]:
        """As SAC's, with critics that give quantiles [N]."""
        width, rate = actions.width, "lr_critic"
        critic = Role(observation_space, self.quantiles, extra=width, ensemble_size=self.critics, rate=rate)
        return {**super().roles(observation_space, actions), "critic": critic}

    def whole(self) -> TemporalDifference | None:
        """`update`, as the kernels know it."""
        return TemporalDifference(
            "critic",
            policy="actor",
            temperature="temperature",
            limits=(LEAST, MOST),
            huber=self.huber,
            quantiles=self.quantiles,
            dropped="dropped",
        )

    def worth(self, out: Tensor) -> Tensor:
        """[P, B]: the mean of all quantiles of all critics, from their outputs [P, (M,) B, N]."""
        return out.mean(-1) if out.dim() == 3 else out.mean((1, -1))

    def error(self, agents: AgentGroup, batch: Batch, out: Tensor, cost: Tensor) -> Loss:
        """How far each critic's quantiles are from those of the target, the lowest of all critics'."""
        pooled = (out if out.dim() == 3 else out.transpose(1, 2).flatten(2)).sort(-1).values  # [P, B, M N]
        future = batch.future(agents.hyper["discount"]).unsqueeze(-1)
        target = batch.reward.unsqueeze(-1) + future * (pooled - cost.unsqueeze(-1))
        count = target.shape[-1]
        kept = count - (count * agents.hyper["dropped"]).round().clamp(max=count - 1)  # [P]
        return QuantileError(target, batch.weight, self.huber, kept=kept)
