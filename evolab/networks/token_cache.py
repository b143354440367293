"""What a transformer remembers of the tokens that it has read."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Cache:
    """Keys and values of the positions that were computed, so that the next token costs one position.

    Attributes:
        keys: per block [n_l * B, heads, T, D / heads], grown as decoding goes on.
        values: the same.
        length: positions that are in it.
        batch: B, sequences of each agent.
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    length: int = 0
    batch: int = 0

    def extended(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a block with those of the new positions behind them."""
        if block == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[block] = torch.cat([self.keys[block], key], 2)
            self.values[block] = torch.cat([self.values[block], value], 2)
        return self.keys[block], self.values[block]

    def advance(self, positions: int, batch: int) -> None:
        """So many positions of `batch` sequences of each agent have been computed for all blocks."""
        self.length, self.batch = self.length + positions, batch

    def reorder(self, places: Tensor) -> None:
        """Sequence b of agent p becomes what sequence `places[p, b]` [P, B] was: episodes ended, beams forked."""
        for store in (self.keys, self.values):
            for block, value in enumerate(store):
                agents = value.shape[0] // self.batch
                first = torch.arange(agents, device=value.device)[:, None] * self.batch
                store[block] = value.index_select(0, (places[:agents] + first).flatten())
        self.batch = places.shape[1]
