"""The critics of fitted Q evaluation: an ensemble for each agent, all in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.networks.base import Layout, Role
from evolab.networks.batching.bucket import Forward
from evolab.networks.batching.group import AgentGroup
from evolab.networks.mlp.mlp import MLP


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


def drawn_rows(network: MLP, role: Role, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """[count, N]: first parameters of several networks, on the device and in the precision of `like`."""
    genes = network.genes(role.observation_space)
    drawn = [network.initialise(role, genes, generator) for _ in range(count)]
    names = Layout.of(network.axes(role, genes)).names
    return torch.stack([torch.cat([one[name].flatten() for name in names]) for one in drawn]).to(like)


class CriticEnsembles:
    """Ensembles of M action-value networks over feature vectors, one ensemble per agent.

    Args:
        features: F, length of an observation's feature vector.
        actions: A, number of discrete actions, or entries of a continuous one.
        discrete: True where an output per action is wanted; else the action is an input.
        members: M.
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
        self.role = Role(space, outputs, extra=extra, ensemble_size=members, rate="lr")
        self.network = MLP(hidden)
        self.genes = self.network.genes(space)
        self.rate, self.tau = rate, tau
        self.owners: list[int] = []
        self.table: dict[str, Tensor] = {}
        self.kept: tuple[int, dict[str, Tensor]] | None = None

    def assign(
        self, owners: Sequence[int], parents: Sequence[int | None], generator: torch.Generator, like: Tensor
    ) -> bool:
        """Give every agent its own critics, or its parent's; any others, where neither is known.

        Args:
            owners: [P], ids of the agents.
            parents: [P], ids of their parents; the agent that was kept may be one of them.
            generator: of the first weights; all agents start from the same.
            like: decides device and dtype.

        Returns:
            True where all critics are new.
        """
        rows = dict([self.kept] if self.kept else [])
        rows |= {owner: self.row(owner) for owner in self.owners}
        any_other = next(reversed(rows.values())) if rows else self._newborn(generator, like)
        chosen = [
            rows[owner] if owner in rows else rows.get(parent, any_other)  # type: ignore[arg-type]
            for owner, parent in zip(owners, parents, strict=True)
        ]
        self.table = {name: torch.stack([one[name] for one in chosen]) for name in any_other}
        self.owners = list(owners)
        count = len(owners)
        hyper = {"lr": like.new_full((count,), self.rate), "tau": like.new_full((count,), self.tau)}
        roles = {"value": self.role}
        self.group = AgentGroup(self.table, hyper, self.network, roles, 0, [self.genes] * count, [{}] * count)
        return not rows

    def row(self, owner: int) -> dict[str, Tensor]:
        """Everything of one agent's critics, by name; views."""
        index = self.owners.index(owner)
        return {name: value[index] for name, value in self.table.items()}

    def keep(self, owner: int) -> None:
        """Keep an agent's critics as they are now, although it may die: it may come back."""
        self.kept = (owner, {name: value.clone() for name, value in self.row(owner).items()})

    def _newborn(self, generator: torch.Generator, like: Tensor) -> dict[str, Tensor]:
        flat = drawn_rows(self.network, self.role, self.role.ensemble_size, generator, like)  # [M, N]
        zero = torch.zeros_like(flat)
        rows = {"value": flat, "value.target": flat, "value.mean": zero, "value.square": zero}
        return rows | {"value.count": like.new_zeros(())}

    def take_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a checkpoint keeps: ids, and tensors by name."""
        tensors = {name: value.detach().clone() for name, value in self.table.items()}
        if self.kept:
            tensors |= {f"kept/{name}": value for name, value in self.kept[1].items()}
        return {"owners": self.owners, "kept": self.kept[0] if self.kept else None}, tensors

    def put_state(self, state: dict[str, Any], tensors: dict[str, Tensor], like: Tensor) -> None:
        """Take rows from a checkpoint; the next `assign` lays them out."""
        tensors = {name: value.to(like) for name, value in tensors.items()}
        self.owners = list(state["owners"])
        self.table = {name: value for name, value in tensors.items() if not name.startswith("kept/")}
        if state["kept"] is not None:
            self.kept = (state["kept"], {n[5:]: v for n, v in tensors.items() if n.startswith("kept/")})

    def values(self, forward: Forward, features: Tensor, action: Tensor) -> Tensor:
        """[P, M, B]: plain outputs for observations [P, B, F] and actions [P, B] or [P, B, A]."""
        if self.discrete:
            out = forward(features)  # [P, M, B, A], [P, B, A] for one member
            out = out if out.dim() == 4 else out.unsqueeze(1)
            index = action[:, None, :, None].expand(-1, out.shape[1], -1, 1)
            return out.gather(-1, index).squeeze(-1)
        out = forward(features, action).squeeze(-1)
        return out if out.dim() == 3 else out.unsqueeze(1)
