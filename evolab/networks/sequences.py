"""Observations in the order of time, for networks that remember: see `Network.remembers`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from evolab.core.experience import Batch, Remembered
from evolab.core.trees import Tree, map_leaves


class Sequences(NamedTuple):
    """What a network that remembers reads: N sequences of T steps. A plain observation stands for sequences of one step.

    Attributes:
        observation: [P, T * N, ...] leaves, the sequences of a step side by side.
        memory: [P, N, C, H], what is remembered before the first step; see `Network.memory`.
        begins: [P, T * N], True where an episode begins: nothing is remembered there. () for nowhere.
        after: [P, T * N, C, H], written: what is remembered after each step. () where nobody asks.
    """

    observation: Tree
    memory: Tensor
    begins: Tensor | tuple[()] = ()
    after: Tensor | tuple[()] = ()

    def of(self, rows: slice) -> Sequences:
        """Of some of the agents; shares memory."""
        return Sequences(*map_leaves(lambda leaf: leaf[rows], tuple(self)))


def seen(remembered: Remembered | None, name: str, observation: Tree) -> Tree:
    """Observations of the steps of a batch as the network of a name reads them.

    Args:
        remembered: before and after the steps; None where no network remembers.
        name: of the network.
        observation: [P, T * N, ...] leaves.
    """
    if remembered is None:
        return observation
    after = remembered.after.get(name, ())
    return Sequences(observation, remembered.before[name], remembered.begins, after)


def seen_next(batch: Batch, name: str) -> Tree:
    """The true successors of a batch's steps as the network of a name reads them, each behind its step."""
    if batch.remembered is None:
        return batch.next_observation
    return Sequences(batch.next_observation, batch.remembered.after[name])


@contextmanager
def kept_where(flags: Tensor, observation: Tree) -> Iterator[None]:
    """Inside, another pass over a step leaves what is remembered after it as it was where flags [P, B] are True."""
    after = observation.after if isinstance(observation, Sequences) else ()
    if isinstance(after, tuple):
        yield
        return
    known = after.clone()
    yield
    after.copy_(torch.where(flags[..., None, None], known, after))
