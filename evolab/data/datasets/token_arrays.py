"""Episodes of tokens as arrays: what a file holds, and the check that the fields agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.tokenizer import Tokenizer

Arrays = TypeVar("Arrays", bound="TokenArrays")


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
class TokenArrays:
    """The fields of a `TokenDataset`, which says what each of them holds."""

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
        cls: type[Arrays], episodes: Sequence[TokenEpisode], tokenizer: Tokenizer, environment: str = ""
    ) -> Arrays:
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

    @property
    def block(self) -> int:
        """T, the length of the rows."""
        return int(self.tokens.shape[1])

    def checked(self: Arrays, name: str = "the data set") -> Arrays:
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
        return len(self.length)
