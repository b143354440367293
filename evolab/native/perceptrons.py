"""Rows of perceptrons, ready to be computed by the compiled kernels."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from evolab.native.build import library

if TYPE_CHECKING:
    from evolab.networks.network import Layout

ACTIVATIONS = ("identity", "relu", "leaky_relu", "elu", "gelu", "tanh", "silu")
"""In the order of the kernels' own enumeration."""

GRAIN = 4_000_000
"""Multiply-adds that are worth a thread of their own (measured: waking one takes some 30 us)."""

_INTEGER, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Plan(ctypes.Structure):
    _fields_ = [
        *((name, _INTEGER) for name in ("layers", "features", "extra", "outputs")),
        ("shape", _POINTER),
    ]


@dataclass
class Kept:
    """What a forward pass leaves for its backward pass."""

    by: Perceptrons
    rows: Tensor
    memory: Tensor
    batch: int
    counts: np.ndarray | None

    def backward(self, grad: Tensor, to_rows: bool, to_extra: bool) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of the rows [R, N] and of the extra inputs [R, B, E] from that of the outputs [R, B, O]."""
        return self.by.backward(self, grad, to_rows, to_extra)


class Perceptrons:
    """The passes of R rows, one network each.

    Args:
        dtype: of the rows.
        layouts: of each row.
        shapes: per row the widths and the activations of its hidden layers.
        features, extra, outputs: widths of the inputs and of the output.

    Raises:
        RuntimeError: there are no kernels for this precision.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        layouts: Sequence[Layout],
        shapes: Sequence[tuple[Sequence[int], Sequence[str]]],
        features: int,
        extra: int,
        outputs: int,
    ) -> None:
        kernels = library(dtype)
        if kernels is None:
            raise RuntimeError(f"there are no compiled kernels for {dtype} on this machine.")
        _declare(kernels)
        self._made = dtype, layouts, shapes, features, extra, outputs
        self.kernels, self.size = kernels, max(layout.size for layout in layouts)
        self.features, self.extra, self.outputs = features, extra, outputs
        depth = max(len(widths) for widths, _ in shapes)
        self._shape = np.zeros((len(shapes), 3 + 6 * depth), dtype=np.int64)  # the plan points into it
        self.work = []
        for row, layout, (widths, kinds) in zip(self._shape, layouts, shapes, strict=True):
            at = dict(zip(layout.names, layout.offsets, strict=True))
            row[:3] = len(widths), at["output.weight"], at["output.bias"]
            for index, (width, kind) in enumerate(zip(widths, kinds, strict=True)):
                own = [at.get(f"hidden.{index}.{part}", -1) for part in ("weight", "bias", "scale", "shift")]
                row[3 + 6 * index : 9 + 6 * index] = width, ACTIVATIONS.index(kind), *own
            sides = (features + extra, *widths, outputs)
            self.work.append(sum(a * b for a, b in zip(sides, sides[1:], strict=False)))
        self._plan = _Plan(depth, features, extra, outputs, self._shape.ctypes.data)
        self._at = ctypes.addressof(self._plan)
        self._room: dict[int, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Perceptrons, self._made

    def forward(
        self,
        rows: Tensor,
        x: Tensor,
        extra: Tensor | None,
        keep: bool,
        counts: np.ndarray | None = None,
    ) -> tuple[Tensor, Kept | None]:
        """Outputs [R, B, O].

        Args:
            rows: [R, N], entries of a row next to each other.
            x: [A, B, F], each read by R / A rows in turn.
            extra: [A, B, E], further inputs; None where E is 0.
            keep: True where a gradient is wanted.
            counts: [R] int64, how many samples are a row's own, the others giving zeros; None for all.

        Raises:
            ValueError: inputs of another shape or precision.
        """
        agents, batch = x.shape[:2]
        self._check(rows, x, extra)
        x = x if x.stride(-1) == 1 else x.contiguous()
        out = rows.new_empty(rows.shape[0], batch, self.outputs)
        room = self._room.get(batch)
        if room is None:
            room = self._room[batch] = self.kernels.kept(self._at, rows.shape[0], batch)
        memory = rows.new_empty(room) if keep else None
        beside: tuple[int | None, int, int] = (None, 0, 0)
        if extra is not None:
            extra = extra if extra.stride(-1) == 1 else extra.contiguous()
            beside = extra.data_ptr(), extra.stride(0), extra.stride(1)
        about = (
            batch,
            None if counts is None else counts.ctypes.data,
            rows.shape[0] // agents,
            rows.data_ptr(),
            rows.stride(0),
            x.data_ptr(),
            x.stride(0),
            x.stride(1),
            *beside,
            out.data_ptr(),
            None if memory is None else memory.data_ptr(),
        )
        self._run(lambda first, last: self.kernels.forward(self._at, first, last, *about), batch)
        return out, None if memory is None else Kept(self, rows, memory, batch, counts)

    def backward(
        self, kept: Kept, grad: Tensor, to_rows: bool, to_extra: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of the rows [R, N] and of `extra` [R, B, E], where they are asked for."""
        rows, count = kept.rows, kept.rows.shape[0]
        grad = grad.contiguous()
        gradient = rows.new_empty(count, self.size) if to_rows else None
        flowing = rows.new_empty(count, kept.batch, self.extra) if to_extra else None
        about = (
            kept.batch,
            None if kept.counts is None else kept.counts.ctypes.data,
            rows.data_ptr(),
            rows.stride(0),
            kept.memory.data_ptr(),
            grad.data_ptr(),
            None if gradient is None else gradient.data_ptr(),
            self.size,
            self.size,
            None if flowing is None else flowing.data_ptr(),
        )
        self._run(lambda first, last: self.kernels.backward(self._at, first, last, *about), 2 * kept.batch)
        return gradient, flowing

    def _check(self, rows: Tensor, x: Tensor, extra: Tensor | None) -> None:
        """Refuse what the kernels would read beyond."""
        agents, batch = x.shape[:2]
        beside = None if extra is None else tuple(extra.shape)
        wanted = (agents, batch, self.extra) if self.extra else None
        if x.dim() != 3 or x.shape[2] != self.features or beside != wanted or rows.shape[0] % max(agents, 1):
            raise ValueError(
                f"inputs of shape {tuple(x.shape)} and {beside} came for {rows.shape[0]} networks; expected are "
                f"[agents, batch, {self.features}]"
                + (f" and [agents, batch, {self.extra}]." if wanted else ".")
            )
        if x.dtype != rows.dtype or (extra is not None and extra.dtype != rows.dtype):
            raise ValueError(
                f"inputs are {x.dtype} and {None if extra is None else extra.dtype}, not {rows.dtype}."
            )

    def _run(self, call: Callable[[int, int], int], batch: int) -> None:
        """Rows spread over as many threads as torch may use, where there is enough to do."""
        count = len(self.work)
        threads = torch.get_num_threads()
        if threads > 1:
            threads = min(threads, count, int(sum(self.work) * batch // GRAIN))
        if threads <= 1:
            failed = call(0, count)
        else:
            cuts = _even(self.work, threads)
            waiting = [_pool(threads).submit(call, a, b) for a, b in cuts[1:]]
            failed = call(*cuts[0]) + sum(one.result() for one in waiting)
        if failed:
            raise MemoryError(f"no memory to compute {count} networks on a batch of {batch}.")


def _declare(kernels: ctypes.CDLL) -> None:
    if kernels.kept.argtypes:
        return
    plan, into = [_POINTER, _INTEGER, _INTEGER, _INTEGER, _POINTER], [_POINTER, _INTEGER, _INTEGER]
    kernels.kept.restype = _INTEGER
    kernels.kept.argtypes = [_POINTER, _INTEGER, _INTEGER]
    kernels.forward.argtypes = [*plan, _INTEGER, _POINTER, _INTEGER, *into, *into, _POINTER, _POINTER]
    kernels.backward.argtypes = [
        *plan,
        *(_POINTER, _INTEGER, _POINTER, _POINTER),
        *(_POINTER, _INTEGER, _INTEGER, _POINTER),
    ]


def _even(work: Sequence[float], parts: int) -> list[tuple[int, int]]:
    """(first, last) of stretches of about the same work."""
    share, cuts, done = sum(work) / parts, [0], 0.0
    for index, one in enumerate(work):
        done += one
        if done >= share * len(cuts) and len(cuts) < parts:
            cuts.append(index + 1)
    return [(a, b) for a, b in zip(cuts, [*cuts[1:], len(work)], strict=True) if b > a]


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(threads: int) -> ThreadPoolExecutor:
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads - 1, thread_name_prefix="evolab-kernels")
    return _pools[threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a child has none of its parent's threads
