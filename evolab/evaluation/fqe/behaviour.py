"""The behaviour policy of recorded data: where do actions go that the data show?"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from evolab.evaluation.fqe.data import EvaluationData
from evolab.evaluation.fqe.ensemble import CriticEnsembles
from evolab.networks.batching.bucket import Forward

UPDATES = 400
"""Of the classifier, of 256 rows each."""

COMPARED = 4096
"""Rows of continuous actions that others are compared with."""


class BehaviourPolicy(Protocol):
    """What the data do."""

    def support(self, features: Tensor, action: Tensor) -> Tensor:
        """[P]: share of the observations [B, F] at which an agent's action is such as the data show there.

        Args:
            features: [B, F], standardised.
            action: [P, B] where actions are discrete, else [P, B, A].
        """


class DiscreteBehaviour:
    """Which discrete actions the data show where: a classifier.

    Args:
        data: recorded; only rows that are not held out are learnt from.
        width: number of actions.
        generator: of the first weights and the batches.
    """

    def __init__(self, data: EvaluationData, width: int, generator: torch.Generator) -> None:
        self.model = model = CriticEnsembles(data.features, width, True, 1, (64, 64), rate=2e-3, tau=0.0)
        model.assign([0], [None], generator, data.mean)
        for _ in range(UPDATES):
            rows = data.rows(data.draw(256, generator))
            x = data.standard(rows["observation"]).unsqueeze(0)
            model.group.minimise("value", partial(_surprise, x, rows["action"]))

    def support(self, features: Tensor, action: Tensor) -> Tensor:
        """[P]: an action counts as shown where its probability is at least a tenth of the likeliest one's."""
        out = self.model.group.network("value")(features.unsqueeze(0))[0]  # [B, A]
        odds = (out - out.amax(-1, keepdim=True)).exp().expand(len(action), -1, -1)
        return (odds.gather(-1, action.unsqueeze(-1)).squeeze(-1) >= 0.1).to(features.dtype).mean(-1)


class ContinuousBehaviour:
    """Where in the data continuous actions lie, which a policy may spread over several regions: nearest neighbours.

    Args:
        data: recorded; only rows that are not held out are compared with.
        generator: of the choice of rows.
    """

    def __init__(self, data: EvaluationData, generator: torch.Generator) -> None:
        rows = data.rows(data.draw(COMPARED, generator))
        self.unit = rows["action"].std(0).clamp(min=1e-3)
        self.pairs = self._pair(data.standard(rows["observation"]), rows["action"])
        others = data.rows(data.probe_rows)
        nearest = self._nearest(self._pair(data.standard(others["observation"]), others["action"]))
        self.reach = nearest.quantile(0.95)

    def support(self, features: Tensor, action: Tensor) -> Tensor:
        """[P]: an action counts as shown where it is no further from recorded ones than 95% of the held-out ones."""
        near = [self._nearest(self._pair(features, one)) <= self.reach for one in action]
        return torch.stack(near).to(features.dtype).mean(-1)

    def _pair(self, features: Tensor, action: Tensor) -> Tensor:
        return torch.cat([features, action / self.unit], -1)

    def _nearest(self, pairs: Tensor) -> Tensor:
        return torch.cdist(pairs, self.pairs).amin(-1)


def _surprise(x: Tensor, action: Tensor, forward: Forward) -> Tensor:
    """[1]: minus the log-likelihood of the data's actions, meaned."""
    return -forward(x).log_softmax(-1).gather(-1, action[None, :, None]).mean((1, 2))
