"""Large observations, each stored once: a successor is the observation of the next step, a stack is made of frames.

What is alike shares its place, whoever met it: the successor and the observation that follows, the frames that two
stacks have in common, the first picture of every episode. Nothing is assumed about the order in which
observations come, so that interleaved environments, data sets and ends of episodes need no care.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from evolab.core.machine_memory import room

LARGE = 8192
"""Bytes of an observation from which on it is stored once. To find its place takes some microseconds and
a hundred bytes whatever its size, and it is drawn through an index. A draw of 1 024 observations takes a fifth
longer at 1 KiB, a tenth at 4 KiB and 2% at 8 KiB (measured): smaller vectors cost more time than they save memory."""

PICTURE = 1024
"""The same for pictures, whose networks take so long that draws do not matter."""

DEEPEST = 16
"""Frames of the largest stack that is looked for: a picture of 84 lines is no stack of 84 lines."""

FIRST = 16 * 2**20
"""Bytes of frames that there is room for at first; doubled as they fill."""


def stored_once(shape: Sequence[int], dtype: torch.dtype) -> bool:
    """True for observations that are large enough."""
    return prod(shape) * dtype.itemsize >= (PICTURE if len(shape) > 2 else LARGE)


def stacked_along(observation: Tensor, following: Tensor) -> int | None:
    """The axis, 0 or the last one, along which successors are observations that moved on; None for no stack.

    Where nothing moved in any row this cannot be told: then pictures of one colour or of three are taken whole.

    Args:
        observation: [B, ...] of some steps.
        following: [B, ...], their successors.

    >>> frames = torch.arange(5.0).view(1, 5, 1) * torch.ones(2)  # [1, 5, 2]
    >>> stacked_along(frames[:, :4], frames[:, 1:])
    0
    """
    shape = observation.shape[1:]
    for axis in dict.fromkeys((0, len(shape) - 1)):
        count = shape[axis] if len(shape) > 1 else 0
        if not 2 <= count <= DEEPEST or prod(shape) // count < 2:
            continue
        old, new = observation.movedim(1 + axis, 1).flatten(2), following.movedim(1 + axis, 1).flatten(2)
        moved = torch.zeros(len(old), dtype=torch.bool, device=old.device)
        for by in range(1, count // 2 + 1):
            moved |= (old[:, by:] == new[:, :-by]).flatten(1).all(1)
        told = count != 3 or not torch.equal(old, new)
        if told and 2 * int(moved.sum()) >= len(moved) > 0:
            return axis
    return None


def frames_for(
    leaf: Tensor, following: Tensor, device: torch.device, dtype: torch.dtype | None = None
) -> Frames | None:
    """Where a part of observations is stored once, with its successors; None where it is too small, or they differ.

    Args:
        leaf: [B, ...], the part of some observations.
        following: [B, ...], of their successors.
        device: where they are kept.
        dtype: in which; None for their own.
    """
    form = leaf.shape[1:], dtype or leaf.dtype
    if not stored_once(*form) or (leaf.shape, leaf.dtype) != (following.shape, following.dtype):
        return None
    return Frames(*form, stacked_along(leaf, following), device)


class Frames:
    """Parts of observations of one shape; a part is kept as long as something refers to it.

    Args:
        shape: of an observation.
        dtype: of its entries.
        axis: along which it is a stack of frames; None for a part that is a whole observation.
        device: where the parts lie.

    Attributes:
        count: parts of an observation.
        stored: [slots, ...], the parts.
        uses: [slots], how many places refer to each.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, axis: int | None, device: torch.device
    ) -> None:
        self.shape, self.axis = tuple(shape), axis
        self.count = 1 if axis is None else self.shape[axis]
        part = self.shape if axis is None else (*self.shape[:axis], *self.shape[axis + 1 :])
        self.stored = room((max(1, FIRST // (prod(part) * dtype.itemsize)), *part), dtype, device)
        self.uses = np.zeros(len(self.stored), np.int64)
        self._slots: dict[tuple[int, int], int] = {}
        self._keys: dict[int, tuple[int, int]] = {}
        self._free: list[int] = []
        self._next = 0  # the first slot that was never used

    def __len__(self) -> int:
        """Parts that are stored."""
        return len(self._slots)

    @property
    def part_bytes(self) -> int:
        """Of one part."""
        return prod(self.stored.shape[1:]) * self.stored.element_size()

    @property
    def row_bytes(self) -> int:
        """Of one observation."""
        return prod(self.shape) * self.stored.element_size()

    def put(self, rows: Tensor) -> Tensor:
        """Store observations [B, ...], and refer to their parts.

        Returns:
            [B, count], int32, where they lie.

        Raises:
            MemoryError: there is no room; nothing was stored then.
        """
        rows = rows.to(self.stored.dtype)
        parts = rows if self.axis is None else rows.movedim(1 + self.axis, 1).flatten(0, 1)
        memory = parts.cpu().contiguous().flatten(1).numpy()
        # Two checksums of 64 and 32 bits: that different frames share one is as likely as a fault of the memory.
        keys = [(hash(part), zlib.crc32(part)) for part in map(np.ndarray.tobytes, memory)]
        fresh = {key: at for at, key in enumerate(keys) if key not in self._slots}
        self._make_room(len(fresh))
        slots = []
        for key in fresh:
            slot = self._free.pop() if self._free else self._next
            self._next = max(self._next, slot + 1)
            self._slots[key], self._keys[slot] = slot, key
            slots.append(slot)
        if fresh:
            device = self.stored.device
            chosen = parts[torch.tensor(list(fresh.values()), device=parts.device)]
            self.stored[torch.tensor(slots, device=device)] = chosen.to(device)
        index = np.fromiter(map(self._slots.__getitem__, keys), np.int32, len(keys))
        np.add.at(self.uses, index, 1)
        return torch.from_numpy(index.reshape(len(rows), self.count)).to(self.stored.device)

    def take(self, index: Tensor) -> Tensor:
        """The observations [..., *shape] whose parts lie at `index` [..., count]."""
        places = index.flatten(
            0, -2
        ).long()  # 32 bits each to keep; drawn by 64 they cost a fifth less (measured)
        if self.axis is None or self.axis == 0:
            found = self.stored.index_select(0, places.flatten()).unflatten(0, places.shape)
            found = found if self.axis == 0 else found.squeeze(1)
        else:  # plane by plane: a permutation takes two and a half times as long (measured)
            found = torch.empty(len(places), *self.shape, dtype=self.stored.dtype, device=self.stored.device)
            for plane, at in zip(found.unbind(-1), places.unbind(1), strict=True):
                plane.copy_(self.stored.index_select(0, at))
        return found.unflatten(0, index.shape[:-1])

    def drop(self, index: Tensor) -> None:
        """Refer no more to the parts at `index`, once for every entry; what nothing refers to makes room."""
        slots, counts = np.unique(index.cpu().numpy(), return_counts=True)
        self.uses[slots] -= counts
        self._release(slots[self.uses[slots] == 0])

    def count_anew(self, indices: Sequence[Tensor]) -> None:
        """Keep what these refer to, and nothing else."""
        before = self.uses > 0
        self.uses[:] = 0
        for index in indices:
            self.uses += np.bincount(index.flatten().cpu().numpy(), minlength=len(self.uses))
        self._release(np.flatnonzero(before & (self.uses == 0)))

    def _release(self, slots: np.ndarray) -> None:
        for slot in slots.tolist():
            del self._slots[self._keys.pop(slot)]
            self._free.append(slot)

    def _make_room(self, more: int) -> None:
        """Room for so many more parts. On a CPU what is empty takes none; elsewhere twice as much is asked for."""
        needed = self._next + max(0, more - len(self._free))
        if needed <= len(self.stored):
            return
        new = room(
            (max(needed, 2 * len(self.stored)), *self.stored.shape[1:]), self.stored.dtype, self.stored.device
        )
        new[: self._next] = self.stored[: self._next]
        self.stored = new
        self.uses = np.concatenate([self.uses, np.zeros(len(new) - len(self.uses), np.int64)])
