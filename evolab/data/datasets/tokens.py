"""Language as data: a tokenizer of whole names, and episodes as rows of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evolab.core.checks import finite, nearest
from evolab.data.datasets.columns import DatasetError
from evolab.history.display import count, number

SUFFIXES = (".json", ".h5", ".hdf5")


class Tokenizer:
    """A vocabulary of names, and text as the numbers of names.

    Text is cut into the longest names that fit, from left to right; white space stands between
    names where it is no name itself.

    Args:
        vocabulary: the names; a token is a name's place. No two are equal.
        pad: the name that fills rows up and is never said.
        separator: what `decode` writes between names.

    Raises:
        ValueError: a name is empty or stands twice, or `pad` is missing.

    >>> tokenizer = Tokenizer(["a", "b", "ab", "<pad>"])
    >>> tokenizer.encode("abba"), tokenizer.decode([2, 1, 0])
    ([2, 1, 0], 'abba')
    """

    def __init__(self, vocabulary: Sequence[str], pad: str = "<pad>", separator: str = "") -> None:
        self.vocabulary = tuple(vocabulary)
        self.separator = separator
        self._ids = {name: token for token, name in enumerate(self.vocabulary)}
        twice = [name for token, name in enumerate(self.vocabulary) if self._ids[name] != token]
        if twice or not all(isinstance(name, str) and name for name in self.vocabulary):
            raise ValueError(
                f"The vocabulary has the name {(twice or [''])[0]!r} twice or empty; leave it out."
            )
        if pad not in self._ids:
            raise ValueError(f"The vocabulary has no {pad!r}, which fills rows up; add it to the names.")
        self.pad = self._ids[pad]
        longest_first = sorted(self.vocabulary, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(name) for name in longest_first))

    @property
    def size(self) -> int:
        """V, the number of names."""
        return len(self.vocabulary)

    def id(self, name: str) -> int:
        """The token of a name.

        Raises:
            ValueError: there is no such name.
        """
        if name not in self._ids:
            hint = nearest(name, self.vocabulary)
            raise ValueError(
                f"{name!r} is not in the vocabulary of {self.size} names{'; ' + hint if hint else '.'}"
            )
        return self._ids[name]

    def encode(self, text: str) -> list[int]:
        """Text as tokens.

        Raises:
            ValueError: some of the text is no name.
        """
        tokens, at = [], 0
        while at < len(text):
            match = self._pattern.match(text, at)
            if match is not None:
                tokens.append(self._ids[match.group()])
                at = match.end()
            elif text[at].isspace():
                at += 1
            else:
                raise ValueError(
                    f"{text!r}: no name of the vocabulary begins at {text[at : at + 12]!r}. "
                    f"Names are such as {', '.join(map(repr, self.vocabulary[:5]))}."
                )
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """Tokens as text, pad left out."""
        return self.separator.join(self.vocabulary[int(t)] for t in tokens if int(t) != self.pad)

    def __eq__(self, other: object) -> bool:
        """True where both give the same tokens for the same text."""
        return isinstance(other, Tokenizer) and (self.vocabulary, self.pad) == (other.vocabulary, other.pad)

    def __hash__(self) -> int:
        """By the vocabulary."""
        return hash((self.vocabulary, self.pad))

    def __repr__(self) -> str:
        """The size and the first names."""
        return f"Tokenizer({self.size} names: {' '.join(self.vocabulary[:8])} ...)"


@dataclass
class TokenEpisode:
    """One episode while it grows.

    Attributes:
        start: its starting point, anything that JSON can hold, or None.
        tokens: everything said so far.
        chosen: for each token, whether the agent chose it.
        rewards: for each token, what came after it.
        terminated: True where the task itself ended, so that nothing follows.
    """

    start: Any = None
    tokens: list[int] = field(default_factory=list)
    chosen: list[bool] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False

    def hear(self, tokens: Iterable[int]) -> None:
        """Append what the environment said."""
        for token in tokens:
            self._append(token, False, 0.0)

    def say(self, token: int, reward: float = 0.0) -> None:
        """Append a token that the agent chose, and the reward that came after it."""
        self._append(token, True, reward)

    def _append(self, token: int, chosen: bool, reward: float) -> None:
        self.tokens.append(int(token))
        self.chosen.append(chosen)
        self.rewards.append(float(reward))


@dataclass(frozen=True, eq=False, repr=False)
class TokenDataset:
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

    tokens: Tensor
    action_mask: Tensor
    rewards: Tensor
    terminated: Tensor
    length: Tensor
    starts: tuple[Any, ...]
    vocabulary: tuple[str, ...]
    pad: int
    environment: str = ""

    @classmethod
    def of(
        cls, episodes: Sequence[TokenEpisode], tokenizer: Tokenizer, environment: str = ""
    ) -> TokenDataset:
        """The data set of finished episodes."""
        lengths = [len(episode.tokens) for episode in episodes]
        shape = (len(lengths), max(lengths, default=0))
        tokens = torch.full(shape, tokenizer.pad, dtype=torch.int64)
        chosen = torch.zeros(shape, dtype=torch.bool)
        rewards = torch.zeros(shape, dtype=torch.float32)
        filled = torch.arange(shape[1]) < torch.tensor(lengths, dtype=torch.int64)[:, None]
        tokens[filled] = torch.tensor([t for e in episodes for t in e.tokens], dtype=torch.int64)
        chosen[filled] = torch.tensor([c for e in episodes for c in e.chosen], dtype=torch.bool)
        rewards[filled] = torch.tensor([r for e in episodes for r in e.rewards], dtype=torch.float32)
        return cls(
            tokens=tokens,
            action_mask=chosen,
            rewards=rewards,
            terminated=torch.tensor([e.terminated for e in episodes], dtype=torch.bool),
            length=torch.tensor(lengths, dtype=torch.int64),
            starts=tuple(e.start for e in episodes),
            vocabulary=tokenizer.vocabulary,
            pad=tokenizer.pad,
            environment=environment,
        )

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
        from evolab.data.datasets import token_files

        return token_files.read(Path(path))

    def save(self, path: str | PathLike[str]) -> Path:
        """Write all episodes: ".json" for people, ".h5" for many; an old file is replaced at once.

        Raises:
            ValueError: for another suffix.
        """
        from evolab.data.datasets import token_files

        path = Path(path)
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path.name}: tokens are saved as {', '.join(SUFFIXES)}.")
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

    @property
    def block(self) -> int:
        """T, the length of the rows."""
        return int(self.tokens.shape[1])

    def split(self, share: float, seed: int = 0) -> tuple[TokenDataset, TokenDataset]:
        """Two data sets, `share` of the episodes (0..1) and the rest, drawn at random."""
        share = finite("share", share, 0.0, 1.0)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        cut = round(share * len(self))
        return self[order[:cut]], self[order[cut:]]

    def checked(self, name: str = "the data set") -> TokenDataset:
        """Itself, if every field has the right type and shape and the fields agree.

        Raises:
            DatasetError: what is wrong, with the first episode where it shows.
        """
        self._check_fields(name)
        places = torch.arange(self.block)[None, :]
        outside = places >= self.length[:, None]
        wrong = {
            f"a token outside 0..{len(self.vocabulary) - 1}": (self.tokens < 0)
            | (self.tokens >= len(self.vocabulary)),
            f"pad ({self.pad}) inside an episode": (self.tokens == self.pad) & ~outside,
            f"something other than pad ({self.pad}) after its end": (self.tokens != self.pad) & outside,
            "a choice after its end": self.action_mask & outside,
            "a reward that is not finite": ~torch.isfinite(self.rewards),
            "a reward where the agent chose nothing": (self.rewards != 0) & ~self.action_mask,
        }
        for what, where in wrong.items():
            if bool(where.any()):
                row = int(where.any(1).nonzero()[0])
                raise DatasetError(f"{name}: episode {row} has {what}.")
        return self

    def _check_fields(self, name: str) -> None:
        rows, width = len(self.length), self.block if self.tokens.ndim == 2 else -1
        expected = {
            "tokens": (torch.int64, (rows, width)),
            "action_mask": (torch.bool, (rows, width)),
            "rewards": (torch.float32, (rows, width)),
            "terminated": (torch.bool, (rows,)),
            "length": (torch.int64, (rows,)),
        }
        for key, (dtype, shape) in expected.items():
            value = getattr(self, key)
            if value.dtype != dtype or tuple(value.shape) != shape:
                raise DatasetError(
                    f"{name}: {key!r} is {value.dtype} of shape {tuple(value.shape)}; expected {dtype} of "
                    f"{shape}, for {rows} episodes."
                )
        if len(self.starts) != rows or not 0 <= self.pad < len(self.vocabulary):
            raise DatasetError(
                f"{name}: {len(self.starts)} starts and pad {self.pad} do not fit {rows} episodes."
            )
        if rows and not 0 < int(self.length.min()) <= int(self.length.max()) <= width:
            raise DatasetError(
                f"{name}: lengths {int(self.length.min())}..{int(self.length.max())} in rows of {width}."
            )

    def __len__(self) -> int:
        """B, the number of episodes."""
        return len(self.length)

    def __getitem__(self, index: Any) -> TokenDataset:
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
        """The episodes, each a data set of one."""
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
        """A few lines about what it holds."""
        body = "\n".join(f"  {what:<12} {value}" for what, value in self.lines())
        return f"TokenDataset({self.environment or 'tokens'})\n{body}"

    def _repr_html_(self) -> str:
        cell = "padding:1px 12px 1px 0;border:none;text-align:left;vertical-align:top"
        rows = "".join(
            f'<tr><th style="{cell};font-weight:500">{escape(what)}</th><td style="{cell}">{escape(value)}</td></tr>'
            for what, value in self.lines()
        )
        return (
            f'<div style="font-weight:600">{escape(self.environment or "tokens")}</div>'
            f'<table style="border:none;border-collapse:collapse">{rows}</table>'
        )
