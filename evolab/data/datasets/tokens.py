"""Language as data: the episodes of a language environment as rows of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from evolab.core import checks
from evolab.core.checks import finite
from evolab.data.datasets import token_files
from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.token_arrays import TokenArrays
from evolab.history.display import count, html_facts, number


class TokenDataset(TokenArrays):
    """Episodes of a language environment, one a row.

    Where `action_mask[b, t]`, the agent saw `tokens[b, :t]`, chose `tokens[b, t]` and received
    `rewards[b, t]`; its next choice stands at the next True of the row.

    Attributes:
        tokens: int64 [B, T], filled up with `pad` on the right.
        action_mask: bool [B, T], True where the agent chose the token.
        rewards: float32 [B, T], 0 where it did not.
        terminated: bool [B]; False where the episode was cut, so that the return bootstraps.
        length: int64 [B], tokens of each episode.
        starts: starting point of each episode (a secret word, a node, a seed), or None.
        vocabulary: the names of the tokens.
        pad: the token that fills up.
        environment: name of the environment that they come from.
    """

    @classmethod
    def concatenate(cls, parts: Sequence[TokenDataset]) -> TokenDataset:
        """The episodes of several data sets, in that order.

        Raises:
            DatasetError: they have different vocabularies, or there is none.
        """
        if not parts:
            raise DatasetError("There is no data set to concatenate; give at least one.")
        first, width = parts[0], max(part.block for part in parts)
        if any((part.vocabulary, part.pad) != (first.vocabulary, first.pad) for part in parts):
            raise DatasetError("The data sets have different vocabularies; they speak of different tokens.")

        def joined(name: str, fill: float) -> Tensor:
            rows = (getattr(part, name) for part in parts)
            pad = torch.nn.functional.pad
            return torch.cat([pad(row, (0, width - row.shape[1]), value=fill) for row in rows])

        return replace(
            first,
            tokens=joined("tokens", first.pad),
            action_mask=joined("action_mask", False),
            rewards=joined("rewards", 0.0),
            terminated=torch.cat([part.terminated for part in parts]),
            length=torch.cat([part.length for part in parts]),
            starts=tuple(start for part in parts for start in part.starts),
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> TokenDataset:
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            FileNotFoundError: there is no such file.
            DatasetError: it is damaged, or not a file of tokens.
        """
        return token_files.read(cls, checks.path("path", path))

    def save(self, path: str | PathLike[str]) -> Path:
        """Write all episodes: ".json" for people, ".h5" for many; an old file is replaced at once.

        Raises:
            ValueError: for another suffix.
        """
        path = checks.path("path", path)
        if path.suffix.lower() not in token_files.SUFFIXES:
            raise ValueError(f"{path.name}: tokens are saved as {', '.join(token_files.SUFFIXES)}.")
        token_files.write(self, path)
        return path

    @property
    def returns(self) -> Tensor:
        """[B], float32, undiscounted."""
        return self.rewards.sum(1)

    @property
    def mean_return(self) -> float:
        """Of an episode; NaN where there is none."""
        return float(self.returns.mean())

    def split(self, share: float, seed: int = 0) -> tuple[TokenDataset, TokenDataset]:
        """Two data sets, `share` of the episodes (0..1) and the rest, drawn at random."""
        share = finite("share", share, 0.0, 1.0)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        cut = round(share * len(self))
        return self[order[:cut]], self[order[cut:]]

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> TokenDataset:
        """Some of the episodes: one, a slice, a list, or a tensor of places or of booleans."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"episode {index} of {len(self)}")
            index = [index % len(self)]
        if not isinstance(index, Tensor):
            chosen = range(len(self))[index] if isinstance(index, slice) else index
            index = torch.as_tensor(list(chosen), dtype=None if len(chosen) else torch.int64)
        places = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        return replace(
            self,
            tokens=self.tokens[places],
            action_mask=self.action_mask[places],
            rewards=self.rewards[places],
            terminated=self.terminated[places],
            length=self.length[places],
            starts=tuple(self.starts[place] for place in places.tolist()),
        )

    def __iter__(self) -> Iterator[TokenDataset]:
        return (self[row] for row in range(len(self)))

    def text(self, row: int, separator: str = " ") -> str:
        """The tokens of an episode as names."""
        return separator.join(self.vocabulary[t] for t in self.tokens[row, : int(self.length[row])].tolist())

    def lines(self) -> list[tuple[str, str]]:
        """What it holds as (what, value)."""
        if not len(self):
            return [("episodes", "none")]
        quantiles = torch.quantile(self.returns, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])).tolist()
        names = ("min", "25%", "median", "75%", "max")
        return [
            ("episodes", f"{count(len(self))}, {int(self.terminated.sum())} terminated"),
            ("mean return", f"{self.mean_return:.3f}"),
            ("returns", ", ".join(f"{name} {number(q)}" for name, q in zip(names, quantiles, strict=True))),
            ("tokens", f"{count(int(self.length.sum()))}, {int(self.action_mask.sum())} of them chosen"),
            ("longest", f"{int(self.length.max())} tokens"),
            ("vocabulary", f"{len(self.vocabulary)} names"),
            ("first", self.text(0)),
        ]

    def __repr__(self) -> str:
        body = "\n".join(f"  {what:<12} {value}" for what, value in self.lines())
        return f"TokenDataset({self.environment or 'tokens'})\n{body}"

    def _repr_html_(self) -> str:
        return html_facts(self.environment or "tokens", self.lines())
