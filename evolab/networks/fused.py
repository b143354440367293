"""The forward and backward pass of a chunk of perceptrons as one autograd node.

Autograd over the single operations costs 10% to 45% more (the smaller the chunk, the more),
and its gradients arrive in pieces that have to be concatenated. Here the gradient is written
straight into one flat row per agent, the form in which Adam wants it. The tests compare it
with autograd over the composed operations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.networks.layers import activate, activate_backward
from evolab.networks.network import Layout


@dataclass(frozen=True)
class LayerPlan:
    """One hidden layer of a chunk.

    Attributes:
        rows: how many rows (agents x members) have this layer; they are the first ones.
        stretches: activation by contiguous stretch of rows.
        widths: units awake, per row.
    """

    rows: int
    stretches: list[tuple[str, int, int]]
    widths: tuple[int, ...]
    cache: dict[Any, Any] = field(default_factory=dict, compare=False)

    def thinned(self, members: int) -> LayerPlan:
        """The plan of every `members`-th row: one member of each agent."""
        if "thinned" not in self.cache:
            stretches = [(kind, start // members, stop // members) for kind, start, stop in self.stretches]
            self.cache["thinned"] = LayerPlan(self.rows // members, stretches, self.widths[::members])
        return self.cache["thinned"]

    def mask(self, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """[R, 1, H] with 1 where a unit is awake, and [R, 1, 1] with the number awake."""
        key = (width, device, dtype)
        if key not in self.cache:
            awake = torch.tensor(self.widths, device=device)[:, None, None]
            mask = (torch.arange(width, device=device) < awake).to(dtype)
            self.cache[key] = (mask, awake.to(dtype))
        return self.cache[key]


class FusedMLP(torch.autograd.Function):
    """`(rows [R, N], x [R, B, I]) -> [R, B, O]`, differentiable once in both."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, x: Tensor, layout: Layout, layers: list[LayerPlan], reading: int) -> Tensor:
        state = layout.views(rows)
        inputs, before, after = [], [], []
        finals: list[Tensor] = []
        h = x
        for index, layer in enumerate(layers):
            n = layer.rows
            h = h if h.shape[0] == n else h[:n]
            inputs.append(h)
            weight, bias = state[f"hidden.{index}.weight"], state[f"hidden.{index}.bias"]
            if weight.shape[0] != n:
                weight, bias = weight[:n], bias[:n]
            z = torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))
            if len(layer.stretches) == 1 and layer.stretches[0][0] == "relu":
                h = z.relu_()
            else:
                h = activate(z, layer.stretches)
            before.append(z)
            after.append(h)
            staying = layers[index + 1].rows if index + 1 < len(layers) else 0
            if staying < n:
                finals.append(_widened(h[staying:] if staying else h, reading))
        final = finals[0] if len(finals) == 1 else torch.cat(finals[::-1])
        weight = state["output.weight"]
        out = torch.baddbmm(state["output.bias"].unsqueeze(1), final, weight.transpose(1, 2))
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            ctx.kept = (rows, layout, layers, inputs, before, after, final)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        rows, layout, layers, inputs, before, after, final = ctx.kept
        to_rows, to_x = ctx.needs_input_grad[:2]
        state = layout.views(rows)
        flat = None
        if to_rows:
            uniform = all(layer.rows == rows.shape[0] for layer in layers)
            flat = rows.new_empty(rows.shape) if uniform else rows.new_zeros(rows.shape)
            slots = layout.views(flat)
            slots["output.weight"].copy_(torch.bmm(grad.transpose(1, 2), final))
            torch.sum(grad, 1, out=slots["output.bias"])
        reached = torch.bmm(grad, state["output.weight"])  # [R, B, reading]
        flowing: Tensor | None = None
        for index in range(len(layers) - 1, -1, -1):
            n = layers[index].rows
            staying = layers[index + 1].rows if index + 1 < len(layers) else 0
            width = after[index].shape[-1]
            parts = [] if flowing is None else [flowing]
            if staying < n:
                ending = reached[staying:n] if (staying, n) != (0, reached.shape[0]) else reached
                parts.append(_widened(ending, width))
            grad_h = parts[0] if len(parts) == 1 else torch.cat(parts)
            grad_z = activate_backward(grad_h, before[index], after[index], layers[index].stretches)
            if to_rows:
                slots[f"hidden.{index}.weight"][:n].copy_(torch.bmm(grad_z.transpose(1, 2), inputs[index]))
                slots[f"hidden.{index}.bias"][:n] = grad_z.sum(1)
            if index or to_x:
                weight = state[f"hidden.{index}.weight"]
                flowing = torch.bmm(grad_z, weight if weight.shape[0] == n else weight[:n])
        if to_x and flowing is not None and flowing.shape[0] != rows.shape[0]:
            raise AssertionError("every agent has a first layer")
        return flat, (flowing if to_x else None), None, None, None


def _widened(h: Tensor, width: int) -> Tensor:
    """`h` [R, B, H] with sleeping units added or dropped at the end."""
    return h if h.shape[-1] == width else F.pad(h, (0, width - h.shape[-1]))
