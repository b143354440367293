"""Recorded data as the experience that a population learns from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from gymnasium import spaces

from evolab.core.experience import DRAWN, Batch, Transition
from evolab.core.sampling import Sampling
from evolab.core.trees import Tree, map_leaves
from evolab.data.buffers.n_step import alike
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.dataset import Dataset

Spaces = tuple[spaces.Space, spaces.Space]

BLOCK = 65_536
"""Transitions copied at a time."""


def buffer_from(
    source: object,
    fitting: Spaces | None = None,
    capacity: int | None = None,
    device: str | torch.device = "cpu",
) -> tuple[ReplayBuffer, Spaces]:
    """A buffer that holds a whole data set, and the spaces that its agents live in.

    Beside the fields of any buffer it has `episode`, the number of the episode that each row
    belongs to. Data that stay on disk (see `Dataset.max_memory`) are drawn from there.

    Args:
        source: a path, a Minari id, a `Dataset`, a dict of arrays or a DataFrame.
        fitting: spaces that the data must fit, as below; None to take them from the data.
        capacity: most transitions to keep; None for all. A warning says how many are dropped,
            which are the last ones.
        device: where the transitions are kept; those on disk stay there.

    Returns:
        the buffer and (observation space, action space) of a single environment.

    Raises:
        DatasetError: bad input, or data that do not fit the environment.
    """
    dataset = source if isinstance(source, Dataset) else None
    if fitting is None:
        dataset = dataset or Dataset(source)
    elif dataset is None:
        dataset = Dataset(source, observation_space=fitting[0], action_space=fitting[1])
    else:
        dataset.check(*fitting)
    found = (dataset.observation_space, dataset.action_space)
    size = len(dataset)
    if capacity is not None and capacity < size:
        warnings.warn(
            f"{dataset.name}: the buffer holds {capacity:,} transitions; the last {size - capacity:,} of "
            f"{size:,} are dropped. Pass buffer=ev.ReplayBuffer({size}), or none, to keep them all.",
            stacklevel=3,
        )
        size = capacity
    if dataset.on_disk:
        return StoredBuffer(dataset, size), found
    buffer, episode = ReplayBuffer(size, device), dataset.episode_of(np.arange(size))
    before: Tree | None = None
    for start in range(0, size, BLOCK):
        rows = np.arange(start, min(start + BLOCK, size))
        transitions = dataset.transitions(rows)
        buffer.add(transitions)
        successor = transitions.next_observation
        last = map_leaves(lambda leaf: leaf[-1:], successor)
        came_from = map_leaves(
            lambda end, leaf: np.concatenate([end, leaf[:-1]]), last if before is None else before, successor
        )
        goes_on = alike(came_from, transitions.observation, 1) & (episode[rows] == episode[rows - 1])
        followed = rows[goes_on & (rows > 0)] - 1
        buffer.link(torch.from_numpy(followed), torch.ones(len(followed)))
        before = last
    buffer.begin_generation()
    buffer.fields["episode"] = torch.from_numpy(episode).to(buffer.device)
    return buffer, found


class StoredBuffer(ReplayBuffer):
    """Transitions drawn from a data set that stays on disk.

    Args:
        dataset: where they are.
        size: how many of its transitions to draw from, the first ones.
    """

    def __init__(self, dataset: Dataset, size: int) -> None:
        super().__init__(size, device="cpu")
        self.dataset, self.source = dataset, str(dataset.name)
        self.length[:] = size
        self.fields = {"episode": torch.from_numpy(dataset.episode_of(np.arange(size)))}

    def add(self, transition: Transition) -> int:
        """Refused: the data are a file of the user's.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(
            f"{self.dataset.name}: data on disk can't be added to. Raise max_memory to hold them."
        )

    def rows(self, index: torch.Tensor) -> dict[str, Tree]:
        """The fields of given rows, [B, ...] each."""
        taken = self.dataset.transitions(index.numpy())
        return {name: map_leaves(torch.from_numpy, getattr(taken, name)) for name in DRAWN}

    def sample(self, rows: slice, size: int, generator: torch.Generator) -> Batch:
        """`size` transitions for each agent, read from disk."""
        count = rows.stop - rows.start
        index = torch.randint(len(self), (count * size,), generator=generator, device=generator.device)
        fields = self.rows(index.cpu())
        return Batch(
            **{name: map_leaves(lambda x: x.unflatten(0, (count, size)), fields[name]) for name in DRAWN}
        )

    def batches(
        self,
        rows: slice,
        size: int,
        updates: int,
        generator: torch.Generator,
        how: Sampling | None = None,
    ) -> Iterator[Batch]:
        """Transitions for one update after another."""
        if how is not None:
            told = {
                "n_step above 1": how.lookahead,
                "hindsight": how.hindsight,
                "priority": how.priority,
                "a network that remembers": how.sequences,
            }
            asked = next(name for name, value in told.items() if value is not None)
            raise DatasetError(
                f"{self.dataset.name}: {asked} needs data in memory; these stay on disk. Raise max_memory to hold them."
            )
        return (self.sample(rows, size, generator) for _ in range(updates))

    def observations(self, count: int, generator: torch.Generator) -> Tree:
        """Up to `count` stored observations, [B, ...] leaves."""
        index = torch.randint(
            len(self), (min(count, len(self)),), generator=generator, device=generator.device
        )
        return self.rows(index.cpu())["observation"]
