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
from evolab.networks.network import Layout, State


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


class Store:
    """A flat tensor [R, N] and named views into it."""

    def __init__(self, flat: Tensor, layout: Layout) -> None:
        self.flat, self.views = flat, layout.views(flat)


class FusedMLP(torch.autograd.Function):
    """`(rows [R, N], x [R, B, I], extra [R, B, E] or None) -> [R, B, O]`, differentiable once in rows and extra.

    `x` are observations, which nothing is differentiated by; `extra` are the actions that a
    policy climbs its critic with.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, x: Tensor, extra: Tensor | None, store: Store, plan: Any) -> Tensor:
        """Outputs; keeps what the backward pass needs."""
        state, layers = store.views, plan.layers
        inputs, before, after = [], [], []
        finals: list[Tensor] = []
        h = x if extra is None else torch.cat([x, extra], -1)
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
                finals.append(_widened(h[staying:] if staying else h, plan.reading))
        final = finals[0] if len(finals) == 1 else torch.cat(finals[::-1])
        # [O, H] x [H, B]: for a handful of outputs this order is about twice as fast as [B, H] x [H, O].
        out = torch.baddbmm(state["output.bias"].unsqueeze(2), state["output.weight"], final.transpose(1, 2))
        ctx.kept = (store, plan, inputs, before, after, final, 0 if extra is None else extra.shape[-1])
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        """Gradients of the rows (one flat row each) and of `extra`."""
        store, plan, inputs, before, after, final, extra = ctx.kept
        to_rows, _, to_extra = ctx.needs_input_grad[:3]
        state, layers, agents = store.views, plan.layers, store.flat.shape[0]
        slots: State = {}
        gradient = None
        if to_rows:
            gradient = plan.take_gradient(store.flat)
            slots = gradient.views
            slots["output.weight"].copy_(torch.bmm(grad.transpose(1, 2), final))
            slots["output.bias"].copy_(grad.sum(1))
        weight = state["output.weight"]
        reached = grad * weight if weight.shape[1] == 1 else torch.bmm(grad, weight)  # [R, B, reading]
        flowing: Tensor | None = None
        for index in range(len(layers) - 1, -1, -1):
            n = layers[index].rows
            staying = layers[index + 1].rows if index + 1 < len(layers) else 0
            parts = [] if flowing is None else [flowing]
            if staying < n:
                ending = reached if (staying, n) == (0, agents) else reached[staying:n]
                parts.append(_widened(ending, after[index].shape[-1]))
            grad_h = parts[0] if len(parts) == 1 else torch.cat(parts)
            grad_z = activate_backward(grad_h, before[index], after[index], layers[index].stretches)
            if to_rows:
                weight, bias = slots[f"hidden.{index}.weight"], slots[f"hidden.{index}.bias"]
                (weight if n == agents else weight[:n]).copy_(_outer(grad_z, inputs[index]))
                (bias if n == agents else bias[:n]).copy_(grad_z.sum(1))
            weight = state[f"hidden.{index}.weight"]
            weight = weight if n == agents else weight[:n]
            if index:
                flowing = torch.bmm(grad_z, weight)
            elif to_extra:
                narrow = weight[:, :, -extra:].transpose(1, 2).contiguous()  # [R, E, H]
                flowing = torch.bmm(narrow, grad_z.transpose(1, 2)).transpose(1, 2)
        return (gradient.flat if gradient else None), None, (flowing if to_extra else None), None, None


def _outer(grad: Tensor, inputs: Tensor) -> Tensor:
    """[R, H, I]: the gradient of a weight; for few inputs the transposed product is four times as fast."""
    if inputs.shape[-1] < 32:
        return torch.bmm(inputs.transpose(1, 2), grad).transpose(1, 2)
    return torch.bmm(grad.transpose(1, 2), inputs)


def _widened(h: Tensor, width: int) -> Tensor:
    """`h` [R, B, H] with sleeping units added or dropped at the end."""
    return h if h.shape[-1] == width else F.pad(h, (0, width - h.shape[-1]))
