"""Recorded data as fitted Q evaluation takes them: rows to learn from, and episodes held out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evolab.core.trees import Tree, to_tensor
from evolab.data.buffers.replay import ReplayBuffer
from evolab.evaluation.fqe.ensemble import Scale
from evolab.networks.observations import encode, features
from evolab.population.population import Population

SEEN = 100_000
"""Rows at most from which means and ranges are taken."""

ENTRIES = 2**24
"""Entries of their observations at most: pictures of the data would fill the memory otherwise."""

STARTS = 512
"""First observations at most at which policies are valued."""

BLOCK = 100
"""Rows that are held out together where nothing says which episode they belong to."""


class EvaluationData:
    """A buffer as fitted Q evaluation sees it.

    Args:
        population: whose spaces and whose action converter are used.
        buffer: the data; `fields["episode"]` tells its episodes where it came from a data set.
        discount: of the values.
        held_out: share of the episodes that no critic learns from.
        generator: of the division.

    Raises:
        TypeError: the agents remember.
    """

    def __init__(
        self,
        population: Population,
        buffer: ReplayBuffer,
        discount: float,
        held_out: float,
        generator: torch.Generator,
    ) -> None:
        if population.network.remembers:
            raise TypeError(
                "fitted Q evaluation asks what agents would do in single transitions, and these remember what came before. "
                "Pass fitness='return' or 'acting'."
            )
        self.buffer, self.space, self.actions = buffer, population.observation_space, population.actions
        self.device, self.dtype = population.device, population.dtype
        self.discrete = not population.actions.continuous
        self.features, self.size = features(self.space), len(buffer)
        episode: Any = buffer.fields.get("episode")
        self.known = episode is not None
        if episode is None:
            episode = torch.arange(self.size) // BLOCK
        self.episode = episode[: self.size].cpu()
        _, self.episode = torch.unique_consecutive(self.episode, return_inverse=True)
        count = int(self.episode[-1]) + 1
        first = torch.ones(self.size, dtype=torch.bool)
        first[1:] = self.episode[1:] != self.episode[:-1]
        out = torch.zeros(count, dtype=torch.bool)
        out[torch.randperm(count, generator=generator)[: int(count * held_out)]] = True
        held = out[self.episode]
        self.training = torch.nonzero(~held).squeeze(-1)
        starts = torch.nonzero(first & held if self.known else held).squeeze(-1)
        if len(starts) < 32:  # too few to mean anything: the other episodes' first observations too
            starts = torch.nonzero(first).squeeze(-1)
        if len(starts) > STARTS:
            starts = starts[torch.randperm(len(starts), generator=generator)[:STARTS].sort().values]
        pool = torch.nonzero(held).squeeze(-1) if bool(held.any()) else self.training
        probes = pool[torch.randint(len(pool), (STARTS,), generator=generator)]
        seen = torch.arange(self.size)
        most = min(SEEN, max(1_000, ENTRIES // self.features))
        if self.size > most:
            seen = torch.randperm(self.size, generator=generator)[:most].sort().values
        rows = self.rows(seen)
        plain = self.encoded(rows["observation"])
        self.mean = plain.mean(0)  # [F]
        self.std = plain.std(0).clamp(min=1e-3)
        self.scale = Scale.of(rows["reward"], rows["terminated"], discount)
        self.starts = self.rows(starts)["observation"]
        self.probe_rows, self.probes = probes, self.rows(probes)["observation"]

    def rows(self, index: Tensor) -> dict[str, Any]:
        """Fields [B, ...] of given rows, on the population's device, actions as an algorithm sees them."""
        rows: dict[str, Any] = to_tensor(self.buffer.rows(index), self.device)
        rows["action"] = self.actions.to_unit(rows["action"], 1)
        rows["reward"] = rows["reward"].to(self.dtype)
        rows["terminated"] = rows["terminated"].to(self.dtype)
        return rows

    def encoded(self, observation: Tree) -> Tensor:
        """[B, F]: feature vectors."""
        return encode(self.space, observation, 1, self.dtype)

    def standard(self, observation: Tree) -> Tensor:
        """[B, F]: feature vectors of mean 0 and standard deviation 1 over the data."""
        return (self.encoded(observation) - self.mean) / self.std

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """`size` rows that are not held out."""
        return self.training[torch.randint(len(self.training), (size,), generator=generator)]
