"""Rows of perceptrons, ready to be computed by the compiled kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolab.networks.adam import AdamState
from evolab.networks.base import Layout
from evolab.networks.kernels.build import library
from evolab.networks.kernels.core_sharing import threads
from evolab.networks.loss import Regression

ACTIVATIONS = ("identity", "relu", "leaky_relu", "elu", "gelu", "tanh", "silu")
"""In the order of the kernels' own enumeration."""

GRAIN = 400_000
"""Multiply-adds that are worth another thread: some 10 us of work."""

NO_SUCH_OUTPUT = 1 << 16
"""What a kernel gives for a row whose choice is out of range; less counts rows without memory."""

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
        self._total = sum(self.work)
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
        batch = x.shape[1]
        inputs, held = self._inputs(rows, x, extra, counts)
        out = rows.new_empty(rows.shape[0], batch, self.outputs)
        room = self._room.get(batch)
        if room is None:
            room = self._room[batch] = self.kernels.kept(self._at, rows.shape[0], batch)
        memory = rows.new_empty(room) if keep else None
        where = out.data_ptr(), None if memory is None else memory.data_ptr()
        self.explain(self.kernels.forward(self._at, self._threads(batch), *inputs, *where), batch)
        del held
        return out, None if memory is None else Kept(self, rows, memory, batch, counts)

    def regress(
        self,
        state: AdamState,
        members: int,
        x: Tensor,
        extra: Tensor | None,
        loss: Regression,
        counts: np.ndarray | None,
    ) -> Tensor:
        """One step of Adam for every row on the weighted squared error of its values.

        Args:
            state: of these rows, [A, M, N]; the step is counted. Rows must lie evenly apart, their sizes be known.
            members: M, rows of an agent.
            x: [A, B, F].
            extra: [A, B, E], further inputs; None where E is 0.
            loss: targets, weights and choices [A, B].
            counts: as in `forward`.

        Returns:
            [A, M], the losses.

        Raises:
            ValueError: a target, weight or choice of another shape, or none of several outputs is chosen.
            IndexError: a choice is no output; agents with other choices have taken their step.
        """
        agents, batch = x.shape[:2]
        rows, sizes = state.parameters.flatten(0, 1), state.sizes
        assert sizes is not None
        inputs, held = self._inputs(rows, x, extra, counts)
        losses = rows.new_empty(agents, members)
        choice = loss.choice
        for name, one in (("target", loss.target), ("weight", loss.weight), ("choice", choice)):
            if one is not None and one.shape != (agents, batch):
                raise ValueError(f"{name} has shape {tuple(one.shape)}; {(agents, batch)} is expected.")
        if choice is None and self.outputs > 1:
            raise ValueError(f"there are {self.outputs} outputs; pass `choice`, the one that is the value.")
        target, weight = (one.to(rows.dtype).contiguous() for one in (loss.target, loss.weight))
        choice = None if choice is None else choice.long().contiguous()
        rate, count = state.rate.contiguous(), state.count.add_(1).contiguous()
        failed = self.kernels.regress(
            self._at,
            self._threads(3 * batch),
            *inputs,
            *(target.data_ptr(), weight.data_ptr(), None if choice is None else choice.data_ptr()),
            *(loss.huber or 0.0, losses.data_ptr(), sizes.ctypes.data, state.mean.data_ptr()),
            *(state.square.data_ptr(), rate.data_ptr(), count.data_ptr()),
        )
        self.explain(failed, batch)
        del held
        return losses

    def _inputs(
        self, rows: Tensor, x: Tensor, extra: Tensor | None, counts: np.ndarray | None
    ) -> tuple[tuple[Any, ...], tuple[Tensor | None, ...]]:
        """How the kernels are told of rows and inputs, and what has to live until they are done."""
        self._check(rows, x, extra)
        x = x if x.stride(-1) == 1 else x.contiguous()
        beside: tuple[int | None, int, int] = (None, 0, 0)
        if extra is not None:
            extra = extra if extra.stride(-1) == 1 else extra.contiguous()
            beside = extra.data_ptr(), extra.stride(0), extra.stride(1)
        about = (
            *(rows.shape[0], x.shape[1], None if counts is None else counts.ctypes.data),
            *(rows.shape[0] // x.shape[0], rows.data_ptr(), rows.stride(0)),
            *(x.data_ptr(), x.stride(0), x.stride(1), *beside),
        )
        return about, (x, extra)

    def backward(
        self, kept: Kept, grad: Tensor, to_rows: bool, to_extra: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of the rows [R, N] and of `extra` [R, B, E], where they are asked for."""
        rows, count = kept.rows, kept.rows.shape[0]
        grad = grad.contiguous()
        gradient = rows.new_empty(count, self.size) if to_rows else None
        flowing = rows.new_empty(count, kept.batch, self.extra) if to_extra else None
        about = (
            *(kept.batch, None if kept.counts is None else kept.counts.ctypes.data),
            *(rows.data_ptr(), rows.stride(0), kept.memory.data_ptr(), grad.data_ptr()),
            *(None if gradient is None else gradient.data_ptr(), self.size, self.size),
            None if flowing is None else flowing.data_ptr(),
        )
        self.explain(
            self.kernels.backward(self._at, self._threads(2 * kept.batch), count, *about), kept.batch
        )
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

    def _threads(self, batch: int) -> int:
        """As many as torch may use, where there is enough to do."""
        busy = min(len(self.work), 1 + int(self._total * batch / GRAIN))
        return busy if busy == 1 else min(threads(), busy)

    @property
    def plan_address(self) -> int:
        """Where the kernels find what these rows are, as long as this lives."""
        return self._at

    def explain(self, failed: int, batch: int) -> None:
        """Raise what a kernel's result says; 0 says nothing.

        Raises:
            IndexError: a choice is no output.
            MemoryError: there is none for some networks.
        """
        if failed >= NO_SUCH_OUTPUT:
            raise IndexError(f"a choice is no output; 0 to {self.outputs - 1} are there.")
        if failed:
            raise MemoryError(f"no memory to compute {failed} networks on a batch of {batch}.")


def _declare(kernels: ctypes.CDLL) -> None:
    if kernels.kept.argtypes:
        return
    plan: list[Any] = [_POINTER, _INTEGER, _INTEGER, _INTEGER, _POINTER]
    into: list[Any] = [_POINTER, _INTEGER, _INTEGER]
    kernels.kept.restype = _INTEGER
    kernels.kept.argtypes = [_POINTER, _INTEGER, _INTEGER]
    kernels.forward.argtypes = [*plan, _INTEGER, _POINTER, _INTEGER, *into, *into, _POINTER, _POINTER]
    kernels.regress.argtypes = [
        *(*plan, _INTEGER, _POINTER, _INTEGER, *into, *into),
        *(_POINTER, _POINTER, _POINTER, ctypes.c_double, _POINTER),
        *(_POINTER, _POINTER, _POINTER, _POINTER, _POINTER),
    ]
    kernels.backward.argtypes = [
        *plan,
        *(_POINTER, _INTEGER, _POINTER, _POINTER),
        *(_POINTER, _INTEGER, _INTEGER, _POINTER),
    ]
