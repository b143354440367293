"""Which stored transition follows which, so that a return can be summed over several steps.

A transition follows another one where an environment went on from it: it is the next one of that environment, no
episode ended in between, and its observation is the other's successor. That is known by the observations, not by
the order of rows: environments may have been started anew, and rows that are no transition are not stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evolab.core.experience import Transition
from evolab.core.flags import all_of, as_flags
from evolab.core.machine_memory import zeros
from evolab.core.sampling import Lookahead
from evolab.core.trees import Tree, leaves
from evolab.data.buffers.base import as_kept
from evolab.data.buffers.plain_rows import SharedArrays

ONWARD = "onward"
"""The field of a buffer that tells, for each row, how many rows on the next step of its episode lies; 0 for none."""


class Places(NamedTuple):
    """Where the rows of pools lie that have just been written.

    Attributes:
        cursor: [pools], where the next row of each is written.
        length: [pools], rows that are stored.
        capacity: rows that a pool keeps.
        apart: rows from one pool's first to that of the next.
    """

    cursor: np.ndarray
    length: np.ndarray
    capacity: int
    apart: int

    def back(self, pool: np.ndarray, rows: np.ndarray) -> Tensor:
        """Places of the rows that many before the next ones."""
        return torch.from_numpy(pool * self.apart + (self.cursor[pool] - rows) % self.capacity)


class Met(NamedTuple):
    """One step of the N environments of each pool, [pools, N] each.

    Attributes:
        back: rows from each to the step that it goes on with; 0 for none.
        taken: True where it is a transition.
        ended: True where its episode is over, terminated or truncated.
    """

    back: np.ndarray
    taken: np.ndarray
    ended: np.ndarray

    @property
    def follows(self) -> np.ndarray:
        """True where it goes on with the step before."""
        return self.back > 0


class Following:
    """The newest transition of every environment, and what its episode goes on with."""

    def __init__(self) -> None:
        self._newest: np.ndarray | None = (
            None  # [pools, N], their numbers, -1 for none; N environments of a pool
        )
        self._open: np.ndarray | None = None  # [N], instead: where the newest N rows go on
        self._written = np.zeros(0, np.int64)  # [pools], rows since numbers count
        self._successor: Tree = ()
        self._arrays = SharedArrays()

    def cut(self) -> None:
        """Whatever comes next follows nothing."""
        self._newest = self._open = None
        self._successor = ()

    def met(self, transition: Transition, store: Tensor, places: Places) -> Met:
        """Note one step [P, E] or [B] that has just been written: what it follows is told so in `store`."""
        ended = _ended(transition)
        valid = None if transition.valid is None else as_flags(transition.valid)
        whole, pools = valid is None or all_of(valid), len(places.cursor)
        taken = np.broadcast_to(True if valid is None else valid, ended.shape).reshape(pools, -1)
        going_on = self._open
        if self.went_on(transition, store, int(places.cursor[0])):
            assert going_on is not None
            back = np.where(going_on, going_on.size, 0)
        else:
            back = self._link(transition, ended, taken, store, places)
            self._note(transition, ended, whole and pools == 1)
        return Met(back.reshape(taken.shape), taken, ended.reshape(taken.shape))

    def went_on(self, transition: Transition, store: Tensor, cursor: int) -> bool:
        """Note the usual step: all environments of one pool go on, and their rows lie side by side after those before.

        Args:
            transition: [P, E] or [B], which has just been written.
            store: of what follows what.
            cursor: where the next row is written.

        Returns:
            False for every other step, which is not noted.
        """
        before, valid = self._open, transition.valid
        if before is None or not one_memory(self._successor, transition.observation):
            return False
        ended = _ended(transition)
        count = ended.size
        start = cursor - 2 * count
        if before.size != count or start < 0 or not (valid is None or all_of(as_flags(valid))):
            return False
        links = np.zeros(2 * count, np.int32)
        links[:count][before] = count
        array = self._arrays.of(ONWARD, store)
        if array is None:
            store[start : start + 2 * count].copy_(torch.from_numpy(links))
        else:
            array[start : start + 2 * count] = links
        self._written[0] += count
        self._note(transition, ended, True)
        return True

    def _note(self, transition: Transition, ended: np.ndarray, whole: bool) -> None:
        successor = transition.reset_observation  # the very array that is acted on next
        self._successor = transition.next_observation if successor is None else successor
        self._open = None
        if whole:
            self._open, self._newest = ~ended.reshape(-1), None

    def _link(
        self, transition: Transition, ended: np.ndarray, taken: np.ndarray, store: Tensor, places: Places
    ) -> np.ndarray:
        """[pools, N], rows back to what each goes on with, 0 for none; told the other way round in `store`."""
        newest = self._newest
        if self._open is not None:
            last = self._written[0] - self._open.size + np.arange(self._open.size)
            newest = np.where(self._open, last, -1)[None]
        if newest is None or newest.shape != taken.shape:
            newest, self._written = np.full(taken.shape, -1, np.int64), np.zeros(len(taken), np.int64)
        numbers = self._written[:, None] + taken.cumsum(1) - 1
        self._written = self._written + taken.sum(1)
        follows = (newest >= 0) & taken
        if follows.any():
            follows &= alike(self._successor, transition.observation, ended.ndim).reshape(follows.shape)
        pool, at = np.nonzero(taken)
        fresh = self._written[pool] - numbers[pool, at]
        store[places.back(pool, fresh)[fresh <= places.capacity].to(store.device)] = 0
        pool, at = np.nonzero(follows)
        back, distance = self._written[pool] - newest[pool, at], (numbers - newest)[pool, at]
        kept = back <= places.length[pool]  # others were overwritten
        linked = torch.from_numpy(distance[kept].astype(np.int32))
        store[places.back(pool[kept], back[kept]).to(store.device)] = linked.to(store.device)
        self._newest = np.where(taken & ~ended.reshape(taken.shape), numbers, -1)
        return np.where(follows, numbers - newest, 0)


class Preceding:
    """Which stored transition each one goes on with.

    Args:
        back: [pools * allotted], int32, rows back to it; 0 for none. It may have been overwritten since.
    """

    def __init__(self, back: Tensor) -> None:
        self.back = back

    @classmethod
    def of(cls, onward: Tensor, allotted: int) -> Preceding:
        """The inverse of what follows what.

        Args:
            onward: [pools * allotted], rows from each transition on to the next one of its episode; 0 for none.
            allotted: rows of a pool.
        """
        found = zeros((len(onward),), torch.int32, onward.device)
        rows = (onward > 0).nonzero().flatten()
        base = rows - rows % allotted
        distance = onward[rows]
        found[base + (rows - base + distance) % allotted] = distance
        return cls(found)

    def met(self, step: Met, places: Places) -> None:
        """Note a step that has just been written."""
        pool, at = step.taken.nonzero()
        fresh = (step.taken.sum(1, keepdims=True) - step.taken.cumsum(1) + 1)[
            pool, at
        ]  # rows before the next ones
        kept = fresh <= places.capacity
        rows = places.back(pool[kept], fresh[kept]).to(self.back.device)
        self.back[rows] = torch.from_numpy(step.back[pool, at][kept]).to(self.back.device, torch.int32)


def one_memory(one: Tree, other: Tree) -> bool:
    """True where two batches of observations are views of the same memory, of one shape."""
    if one is other:
        return True
    pairs = list(zip(leaves(one), leaves(other), strict=False))
    return bool(pairs) and all(
        a.shape == b.shape and a.strides == b.strides and a.ctypes.data == b.ctypes.data
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        else a is b
        for a, b in pairs
    )


def alike(one: Tree, other: Tree, leading: int) -> np.ndarray:
    """[...] booleans, True where two batches of observations with so many axes in front are the same."""
    same = None
    for a, b in zip(leaves(one), leaves(other), strict=True):
        first, second = as_kept(a), as_kept(b)
        if first.shape != second.shape:
            return np.zeros(first.shape[:leading], bool)
        parts = (first == second.to(first.device)).flatten(leading - 1)
        equal = parts.unflatten(leading - 1, (first.shape[leading - 1], -1)).all(-1).cpu().numpy()
        same = equal if same is None else same & equal
    assert same is not None
    return same


def summed_ahead(
    index: Tensor,
    ahead: Lookahead,
    reward_of: Callable[[Tensor], Tensor],
    next_of: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns over several steps, from some transitions on, as far as their episodes are stored.

    Args:
        index: [U, P, B], rows of the first transitions.
        ahead: how far, for each agent.
        reward_of: of rows, in their shape.
        next_of: the rows that follow rows; the same row where none does.

    Returns:
        the rows of the last transitions, the discounted sums of rewards, and what the values of the last successors
        are discounted by; [U, P, B] each.
    """
    steps, discount = (value.to(index.device)[:, None] for value in (ahead.steps, ahead.discount))  # [P, 1]
    at, total = index, reward_of(index).to(discount.dtype)
    factor = discount.expand_as(total)
    for step in range(1, ahead.most):
        following = next_of(at)
        goes_on = (following != at) & (step < steps)
        at = torch.where(goes_on, following, at)
        total = torch.where(goes_on, total + factor * reward_of(at), total)
        factor = torch.where(goes_on, factor * discount, factor)
    return at, total, factor


def _ended(transition: Transition) -> np.ndarray:
    """Where an episode is over, terminated or truncated."""
    ended = as_flags(transition.terminated)
    return ended if transition.truncated is None else ended | as_flags(transition.truncated)
