"""Recorded episodes of a language environment as the experience that a population learns from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from evolab.core.experience import EPISODE_FIELDS, Episodes, Transition
from evolab.core.sampling import Sampling
from evolab.core.trees import Tree
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.tokens import TokenDataset


class TokenBuffer(ReplayBuffer):
    """Whole episodes, drawn with replacement.

    Args:
        capacity: most episodes kept, the first ones; None for all that it is given.
        device: where they are kept; None for the population's device, decided at the first use.
    """

    def __init__(
        self, capacity: int | None = None, device: str | torch.device | None = None, shared: bool = True
    ) -> None:
        super().__init__(capacity or 2**31, device, shared=True)
        self.limit = capacity
        self.fields: dict[str, Tensor] = {}  # type: ignore[assignment]  # tokens are never nested

    def __repr__(self) -> str:
        return f"TokenBuffer({len(self):,} episodes)"

    def put(self, data: TokenDataset, block: int) -> None:
        """Hold these episodes in place of those held before.

        Args:
            data: checked against the environment.
            block: T, the longest episode that the environment makes.

        Raises:
            DatasetError: there is no episode in it.
        """
        data = data[: min(len(data), self.capacity)]
        if not len(data):
            raise DatasetError(f"the data set of {data.environment or 'tokens'} has no episodes.")
        width = min(data.block, block)
        self.place_on(torch.device("cpu"))
        kept = {
            "tokens": data.tokens[:, :width], "action_mask": data.action_mask[:, :width],
            "reward": data.rewards[:, :width], "terminated": data.terminated, "length": data.length,
        }  # fmt: skip
        self.fields = {name: value.to(self.device).contiguous() for name, value in kept.items()}
        self.pad = data.pad
        self._capacity = len(data)  # there will be no others
        self.length[:], self.cursor[:] = len(data), 0
        self.added += len(data)

    def add(self, transition: Transition) -> int:
        """Refused: episodes are put, not added step by step.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(
            "a TokenBuffer holds whole episodes: exp.fill(TokenDataset(...)), or buffer.put(data, block)."
        )

    def sample(self, rows: slice, size: int, generator: torch.Generator) -> Episodes:
        """`size` episodes for each agent of `rows`, as long as the longest of them."""
        if len(self) == 0:
            raise ValueError("the buffer of episodes is empty. Call exp.fill(data) first.")
        count = rows.stop - rows.start
        index = self._draw(0, count * size, generator)
        length = self.fields["length"].index_select(0, index)
        longest = int(length.max()) if length.device.type != "meta" else self.fields["tokens"].shape[1]

        def take(name: str) -> Tensor:
            value = self.fields[name]
            value = value[:, :longest] if value.dim() == 2 else value
            return value.index_select(0, index).unflatten(0, (count, size))

        return Episodes(**{name: take(name) for name in EPISODE_FIELDS})

    def batches(
        self,
        rows: slice,
        size: int,
        updates: int,
        generator: torch.Generator,
        how: Sampling | None = None,
    ) -> Iterator[Episodes]:
        """Episodes for one update after another, each batch as long as its longest."""
        return (self.sample(rows, size, generator) for _ in range(updates))

    def rows(self, index: Tensor) -> dict[str, Tree]:
        """The fields of given episodes."""
        index = index.to(self.device)
        return {name: self.fields[name].index_select(0, index) for name in EPISODE_FIELDS}

    def observations(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Up to `count` stored episodes' tokens, [B, T]."""
        if len(self) == 0:
            return None
        index = self._draw(0, min(count, len(self)), generator)
        return self.fields["tokens"].index_select(0, index)
