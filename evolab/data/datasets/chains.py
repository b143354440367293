"""Many stored episodes into one table: sizes are compared first, then every array is read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolab.core.trees import Tree, map_leaves, named_leaves
from evolab.data.datasets.columns import Allocator, DatasetError, Scratch
from evolab.data.datasets.layouts import enough
from evolab.data.datasets.mapped import HELD, release_pages


@dataclass(frozen=True)
class Episode:
    """One episode's stored arrays, not read yet.

    Attributes:
        observations: tree of datasets [T or T + 1, ...].
        actions: tree of datasets [T, ...].
        rewards: dataset [T] or [T, 1].
        key: how a column of this episode is called, such as "episode_3/{}".
    """

    observations: Tree
    actions: Tree
    rewards: Any
    key: str


@dataclass(frozen=True)
class EpisodeTable:
    """All episodes, one after the other."""

    observations: Tree
    actions: Tree
    rewards: np.ndarray
    lengths: np.ndarray
    followed: np.ndarray
    folder: Scratch | None


Decoder = Callable[[str, Any], tuple[tuple[int, ...], np.dtype, Callable[[], np.ndarray]] | None]


def assemble(
    episodes: list[Episode], name: str, max_memory: int, extra: int, decode: Decoder | None = None
) -> EpisodeTable:
    """Read every episode into one table.

    Args:
        episodes: what to read.
        name: what messages call the source.
        max_memory: bytes beyond which the table lies in temporary files.
        extra: 1 where an episode may store one observation more than rewards.
        decode: gives the decoded shape, dtype and reader of a leaf that is stored
            encoded (an image), or None where it is stored plainly.

    Raises:
        DatasetError: lengths, shapes, dtypes or structures differ between the columns
            or the episodes, or there are fewer than two rows.
    """
    lengths, followed = [], []
    for episode in episodes:
        steps = int(episode.rewards.size)
        key = episode.key.format("rewards")
        if episode.rewards.ndim not in (1, 2) or episode.rewards.shape[0] != steps or not steps:
            raise DatasetError(
                f"{name}: {key!r} has shape {episode.rewards.shape}; expected one number per step, at least "
                "one. Leave empty episodes out."
            )
        lengths.append(steps)
        followed.append(_follows(episode, steps, name, extra))
    enough(sum(lengths), name, episodes[0].key.format("rewards") if episodes else "episodes")
    columns = []
    for column in ("observations", "actions", "rewards"):
        trees = [getattr(episode, column) for episode in episodes]
        columns.append(_plan(trees, [e.key.format(column) for e in episodes], name, decode))
    room = Allocator(sum(part.size for plan in columns for _, part in named_leaves(plan, "")), max_memory)
    observations, actions, rewards = (map_leaves(lambda part: part.read(room), plan) for plan in columns)
    return EpisodeTable(
        observations,
        actions,
        rewards.reshape(-1),
        np.array(lengths, np.int64),
        np.array(followed, bool),
        room.folder,
    )


def _follows(episode: Episode, steps: int, name: str, extra: int) -> bool:
    """True where the final observation is stored too; every other length is refused."""
    for column, allowed in (("observations", {steps, steps + extra}), ("actions", {steps})):
        found = set()
        for path, leaf in named_leaves(getattr(episode, column), episode.key.format(column)):
            found.add(int(leaf.shape[0]) if leaf.shape else -1)
            if len(found) > 1 or not found <= allowed:
                wanted = " or ".join(map(str, sorted(allowed)))
                raise DatasetError(
                    f"{name}: {path!r} has shape {leaf.shape} beside {steps} rewards; expected {wanted} "
                    "entries. Record the episode again or leave it out."
                )
        if column == "observations":
            follows = found == {steps + extra} and extra > 0
    return follows


@dataclass(frozen=True)
class _Part:
    """One leaf over all episodes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    readers: list[Callable[[], np.ndarray]]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def read(self, room: Allocator) -> np.ndarray:
        out, start, written = room.empty(self.shape, self.dtype), 0, 0
        for reader in self.readers:
            block = reader()
            out[start : start + len(block)] = block
            start += len(block)
            written += block.nbytes
            if written > HELD:
                release_pages(out)
                written = 0
        return out


def _plan(trees: list[Tree], keys: list[str], name: str, decode: Decoder | None) -> Tree:
    """A tree of parts, one for each leaf that all episodes have."""
    rows = [dict(named_leaves(tree, "")) for tree in trees]
    for row, key in zip(rows, keys, strict=True):
        if row.keys() != rows[0].keys():
            raise DatasetError(
                f"{name}: {key!r} has other parts than {keys[0]!r}; expected the same in every episode."
            )

    def one(path: str) -> _Part:
        shapes, dtypes, readers = [], set(), []
        for row, key in zip(rows, keys, strict=True):
            leaf = row[path]
            special = decode(path, leaf) if decode else None
            shape, dtype, reader = special or (leaf.shape, leaf.dtype, _whole(leaf))
            shapes.append(shape)
            dtypes.add(dtype)
            readers.append(reader)
            if shape[1:] != shapes[0][1:]:
                raise DatasetError(
                    f"{name}: {key + path!r} has entries of shape {shape[1:]}, {keys[0] + path!r} of "
                    f"{shapes[0][1:]}; expected one shape for all episodes."
                )
        total = sum(shape[0] for shape in shapes)
        return _Part((total, *shapes[0][1:]), np.result_type(*dtypes), readers)

    paths = iter(list(dict(named_leaves(trees[0], ""))))
    return map_leaves(lambda _: one(next(paths)), trees[0])


def _whole(leaf: np.ndarray) -> Callable[[], np.ndarray]:
    def reader() -> np.ndarray:
        return np.asarray(leaf[()])

    return reader
