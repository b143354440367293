"""Recurrent cells over time, for many agents at once, with their gradients written out.

Autograd over the single operations of every step takes about twice as long, and there is no library's own kernel for
agents whose weights differ and whose episodes begin in the middle. The tests compare with torch.nn.GRU and LSTM.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

Kept = tuple[Tensor, ...]


class Cell(ABC):
    """One step of a recurrent layer.

    Attributes:
        gates: G, of each unit; the rows of a weight are those of the first gate, then of the next.
        memories: C, numbers that a unit remembers; the first one is its output.
        layer: torch's own cell.
    """

    gates: int
    memories: int
    layer: type[nn.GRUCell | nn.LSTMCell]

    @abstractmethod
    def forward(self, given: Tensor, own: Tensor, memory: Tensor) -> tuple[Tensor, Kept]:
        """What is remembered after a step, [R, N, C, H], and what its gradient needs.

        Args:
            given: [R, N, G * H], of the gates, from what is observed.
            own: [R, N, G * H], from the units' outputs before.
            memory: [R, N, C, H], what was remembered before.
        """

    @abstractmethod
    def backward(self, grad: Tensor, memory: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of `given`, of `own` and of `memory`, but for its way through `own`, from that of what came out."""


class GRU(Cell):
    """A gated recurrent unit: reset, update and new gate, as in torch.nn.GRU.

    Source: Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder, eq. 5 to 8; where the reset gate
    stands follows torch.
    """

    gates, memories, layer = 3, 1, nn.GRUCell

    def forward(self, given: Tensor, own: Tensor, memory: Tensor) -> tuple[Tensor, Kept]:
        """See `Cell`."""
        before = memory.squeeze(2)
        width = before.shape[-1]
        both = (given[..., : 2 * width] + own[..., : 2 * width]).sigmoid_()
        reset, update = both.chunk(2, -1)
        proposed = own[..., 2 * width :]
        new = torch.addcmul(given[..., 2 * width :], reset, proposed).tanh_()
        return torch.lerp(new, before, update).unsqueeze(2), (both, proposed, new)

    def backward(self, grad: Tensor, memory: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
        """See `Cell`."""
        both, proposed, new = kept
        flowing, before = grad.squeeze(2), memory.squeeze(2)
        reset, update = both.chunk(2, -1)
        through = flowing * update
        to_new = (flowing - through) * (1 - new * new)
        to_update = through * (before - new) * (1 - update)
        to_reset = to_new * proposed * reset * (1 - reset)
        given = torch.cat([to_reset, to_update, to_new], -1)
        own = torch.cat([to_reset, to_update, to_new * reset], -1)
        return given, own, through.unsqueeze(2)


class LSTM(Cell):
    """Long short-term memory: input, forget, cell and output gate, as in torch.nn.LSTM.

    Source: Hochreiter and Schmidhuber 1997, Long Short-Term Memory; with the forget gate of Gers et al. 2000.
    """

    gates, memories, layer = 4, 2, nn.LSTMCell

    def forward(self, given: Tensor, own: Tensor, memory: Tensor) -> tuple[Tensor, Kept]:
        """See `Cell`."""
        entry, forget, new, out = (given + own).chunk(4, -1)
        entry, forget, new, out = entry.sigmoid(), forget.sigmoid(), new.tanh(), out.sigmoid()
        cell = forget * memory[:, :, 1] + entry * new
        shown = cell.tanh()
        return torch.stack([out * shown, cell], 2), (entry, forget, new, out, shown)

    def backward(self, grad: Tensor, memory: Tensor, kept: Kept) -> tuple[Tensor, Tensor, Tensor]:
        """See `Cell`."""
        entry, forget, new, out, shown = kept
        output, cell = grad.unbind(2)
        cell = cell + output * out * (1 - shown * shown)
        given = torch.cat(
            [
                cell * new * entry * (1 - entry),
                cell * memory[:, :, 1] * forget * (1 - forget),
                cell * entry * (1 - new * new),
                output * shown * out * (1 - out),
            ],
            -1,
        )
        return given, given, torch.stack([torch.zeros_like(cell), cell * forget], 2)


CELLS: dict[str, Cell] = {"gru": GRU(), "lstm": LSTM()}


class CellScan(torch.autograd.Function):
    """Many steps of a cell: `(given, weight, bias, memory, keep, cell) -> memories`, differentiable in the first three.

    `given` [R, T, N, G * H] and `memory` [R, N, C, H] are as in `Cell.forward`, `weight` [R, G * H, H] and `bias` [R, G * H]
    make `own` of the units' outputs, `keep` [R or 1, T, N, 1, 1] is 0 where an episode begins, or None. What comes out,
    [R, T, N, C, H], is remembered after each step. What was remembered before the first step is a constant.
    """

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, weight: Tensor, bias: Tensor, memory: Tensor, keep: Tensor | None, cell: Cell
    ) -> Tensor:
        """What is remembered after each step."""
        across, offset = weight.transpose(1, 2), bias.unsqueeze(1)
        before, kept, found = [], [], []
        for step in range(given.shape[1]):
            memory = memory if keep is None else memory * keep[:, step]
            before.append(memory)
            own = torch.baddbmm(offset, memory[:, :, 0], across)
            memory, needed = cell.forward(given[:, step], own, memory)
            kept.append(needed)
            found.append(memory)
        ctx.before, ctx.kept, ctx.cell = before, kept, cell
        ctx.save_for_backward(weight, keep)
        return torch.stack(found, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        """Backwards through time."""
        (weight, keep), cell = ctx.saved_tensors, ctx.cell
        flowing = torch.zeros_like(grad[:, 0])
        to_given, to_own = [], []
        for step in range(grad.shape[1] - 1, -1, -1):
            memory = ctx.before[step]
            given, own, flowing = cell.backward(grad[:, step] + flowing, memory, ctx.kept[step])
            flowing[:, :, 0] += torch.bmm(own, weight)
            flowing = flowing if keep is None else flowing * keep[:, step]
            to_given.append(given)
            to_own.append(own)
        outputs = torch.stack([memory[:, :, 0] for memory in ctx.before], 1).flatten(1, 2)  # [R, T * N, H]
        reached = torch.stack(to_own[::-1], 1).flatten(1, 2)  # [R, T * N, G * H]
        of_weight = torch.bmm(reached.transpose(1, 2), outputs)
        return torch.stack(to_given[::-1], 1), of_weight, reached.sum(1), None, None, None
