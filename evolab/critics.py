"""The critics of fitted Q evaluation: an ensemble for each agent, all in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.chunk import Chunk
from evolab.networks.mlp import MLP
from evolab.networks.network import Layout, Role

KINDS = ("", ".target", ".mean", ".square")


@dataclass(frozen=True)
class Scale:
    """How a critic's plain output becomes a value: `centre + unit * output`, kept within [low, high].

    Attributes:
        low: least value that the rewards allow.
        high: largest value that the rewards allow.
        centre: where an untrained critic stands.
        unit: value of an output of 1.
    """

    low: float
    high: float
    centre: float
    unit: float

    @staticmethod
    def of(reward: Tensor, terminated: Tensor, discount: float) -> Scale:
        """The range [r_min, r_max] / (1 - discount), with 0 in it where episodes terminate.

        The centre is the mean reward for ever, as though nothing ever ended: bad policies end
        soon, so that their critics have few steps to learn it over.
        """
        least, most = float(reward.min()), float(reward.max())
        if bool(terminated.any()):
            least, most = min(least, 0.0), max(most, 0.0)
        horizon = 1 / (1 - discount)
        width = max((most - least) * horizon, 1e-6)
        return Scale(least * horizon, most * horizon, float(reward.mean()) * horizon, width / 10)


class Critics:
    """Ensembles of K action-value networks over feature vectors, one ensemble per agent.

    Args:
        features: F, length of an observation's feature vector.
        actions: A, number of discrete actions, or entries of a continuous one.
        discrete: True where an output per action is wanted; else the action is an input.
        members: K.
        hidden: widths of the hidden layers.
        rate: Adam's learning rate.
        tau: share of a critic that its target takes over at each update.
    """

    def __init__(
        self,
        features: int,
        actions: int,
        discrete: bool,
        members: int,
        hidden: Sequence[int],
        rate: float,
        tau: float,
    ) -> None:
        space = spaces.Box(-float("inf"), float("inf"), (features,))
        outputs, extra = (actions, 0) if discrete else (1, actions)
        self.discrete = discrete
        self.role = Role(space, outputs, extra=extra, members=members, rate="lr")
        self.network = MLP(hidden)
        self.genes = self.network.genes(space)
        self.layout = Layout.of(self.network.axes(self.role, self.genes))
        self.rate, self.tau = rate, tau
        self.owners: list[int] = []
        self.table: dict[str, Tensor] = {}

    def assign(
        self, owners: Sequence[int], parents: Sequence[int | None], generator: torch.Generator, like: Tensor
    ) -> list[bool]:
        """Give every agent its own critics, its parent's, or new ones.

        Args:
            owners: [P], ids of the agents.
            parents: [P], ids of their parents.
            generator: of the first weights; all agents start from the same.
            like: decides device and dtype.

        Returns:
            [P], True where the critics are new.
        """
        rows = {owner: row for row, owner in enumerate(self.owners)}
        found = [rows.get(owner, rows.get(parent)) for owner, parent in zip(owners, parents, strict=True)]  # type: ignore[arg-type]
        fresh: Tensor | None = None
        if any(row is None for row in found):
            drawn = [
                self.network.initialise(self.role, self.genes, generator) for _ in range(self.role.members)
            ]
            fresh = torch.stack(
                [torch.cat([one[name].flatten() for name in self.layout.names]) for one in drawn]
            )
            fresh = fresh.to(device=like.device, dtype=like.dtype)  # [K, N]
        old, self.table = self.table, {}
        for kind in KINDS:
            start = fresh if kind in ("", ".target") else None
            parts = [
                old["value" + kind][row]
                if row is not None
                else (start if start is not None else torch.zeros_like(fresh))  # type: ignore[arg-type]
                for row in found
            ]
            self.table["value" + kind] = torch.stack(parts)
        counts = [old["value.count"][row] if row is not None else like.new_zeros(()) for row in found]
        self.table["value.count"] = torch.stack(counts)
        self.owners = list(owners)
        settings = [{} for _ in owners]
        hyper = {
            "lr": like.new_full((len(owners),), self.rate),
            "tau": like.new_full((len(owners),), self.tau),
        }
        self.chunk = Chunk(
            self.table, hyper, self.network, {"value": self.role}, 0, [self.genes] * len(owners), settings
        )
        return [row is None for row in found]

    def values(self, forward: Any, features: Tensor, action: Tensor) -> Tensor:
        """[P, K, B]: plain outputs for observations [P, B, F] and actions [P, B] or [P, B, A]."""
        if self.discrete:
            out = forward(features)  # [P, K, B, A], [P, B, A] for one member
            out = out if out.dim() == 4 else out.unsqueeze(1)
            index = action[:, None, :, None].expand(-1, out.shape[1], -1, 1)
            return out.gather(-1, index).squeeze(-1)
        out = forward(features, action).squeeze(-1)
        return out if out.dim() == 3 else out.unsqueeze(1)
