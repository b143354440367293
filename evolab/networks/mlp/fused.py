"""The forward and backward pass of a group of perceptrons as one autograd node.

Autograd over the single operations costs 10% to 45% more (the smaller the group, the more),
and its gradients arrive in pieces that have to be concatenated. Here the gradient is written
straight into one flat row per agent, the form in which Adam wants it. The tests compare it
with autograd over the composed operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.networks.activations import activate_, activate_backward
from evolab.networks.base import Layout, State


@dataclass(frozen=True)
class LayerPlan:
    """One hidden layer of a group.

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


class ScratchRows:
    """A flat tensor [R, N], named views into it, and the views that each layer of a pass reads."""

    def __init__(self, flat: Tensor, layout: Layout) -> None:
        self.flat, self.views = flat, layout.views(flat)
        self._read: list[tuple[Tensor, Tensor, Tensor]] | None = None
        self.output = self.views["output.bias"].unsqueeze(2), self.views["output.weight"]

    def read(self, layers: list[LayerPlan]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per layer the bias [n, 1, H], and the weight as [n, I, H] and as [n, H, I]; made once."""
        if self._read is None:
            self._read = []
            for index, layer in enumerate(layers):
                weight = self.views[f"hidden.{index}.weight"][: layer.rows]
                bias = self.views[f"hidden.{index}.bias"][: layer.rows]
                self._read.append((bias.unsqueeze(1), weight.transpose(1, 2), weight))
        return self._read


class PassPlan(Protocol):
    """What a pass goes by: its layers, which of them the outputs read, and room for a gradient."""

    layers: list[LayerPlan]
    reading: int

    def take_gradient(self, like: Tensor) -> ScratchRows:
        """A store of that shape to write into."""


@dataclass
class FusedKept:
    """What a forward pass leaves for its backward pass."""

    store: ScratchRows
    plan: PassPlan
    inputs: list[Tensor]
    before: list[Tensor]
    after: list[Tensor]
    final: Tensor
    extra: int

    def backward(self, grad: Tensor, to_rows: bool, to_extra: bool) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of the rows [R, N] and of the extra inputs [R, B, E] from that of the outputs [R, B, O]."""
        store, flowing = backward(self, grad, to_rows, to_extra)
        return (None if store is None else store.flat), flowing


def forward(x: Tensor, extra: Tensor | None, store: ScratchRows, plan: PassPlan) -> tuple[Tensor, FusedKept]:
    """Outputs [R, B, O] for observations [R, B, I] and extra inputs [R, B, E]; runs without autograd."""
    layers = plan.layers
    inputs, before, after = [], [], []
    finals: list[Tensor] = []
    h = x if extra is None else torch.cat([x, extra], -1)
    last = len(layers) - 1
    for index, (layer, (bias, weight, _)) in enumerate(zip(layers, store.read(layers), strict=True)):
        n = layer.rows
        h = h if h.shape[0] == n else h[:n]
        inputs.append(h)
        z = torch.baddbmm(bias, h, weight)
        h = activate_(z, layer.stretches)
        before.append(z)
        after.append(h)
        staying = layers[index + 1].rows if index < last else 0
        if staying < n:
            finals.append(_widened(h[staying:] if staying else h, plan.reading))
    final = finals[0] if len(finals) == 1 else torch.cat(finals[::-1])
    # [O, H] x [H, B]: for a handful of outputs this order is about twice as fast as [B, H] x [H, O].
    out = torch.baddbmm(*store.output, final.transpose(1, 2))
    width = 0 if extra is None else extra.shape[-1]
    return out.transpose(1, 2), FusedKept(store, plan, inputs, before, after, final, width)


def backward(
    kept: FusedKept, grad: Tensor, to_rows: bool, to_extra: bool
) -> tuple[ScratchRows | None, Tensor | None]:
    """Gradients of the rows (one flat row each) and of `extra` from that of the outputs [R, B, O]."""
    store, plan = kept.store, kept.plan
    state, layers, agents = store.views, plan.layers, store.flat.shape[0]
    read = store.read(layers)
    slots: State = {}
    gradient = None
    if to_rows:
        gradient = plan.take_gradient(store.flat)
        slots = gradient.views
        slots["output.weight"].copy_(torch.bmm(grad.transpose(1, 2), kept.final))
        torch.sum(grad, 1, out=slots["output.bias"])
    weight = state["output.weight"]
    reached = grad * weight if weight.shape[1] == 1 else torch.bmm(grad, weight)  # [R, B, reading]
    flowing: Tensor | None = None
    for index in range(len(layers) - 1, -1, -1):
        layer = layers[index]
        n = layer.rows
        staying = layers[index + 1].rows if index + 1 < len(layers) else 0
        parts = [] if flowing is None else [flowing]
        if staying < n:
            ending = reached if (staying, n) == (0, agents) else reached[staying:n]
            parts.append(_widened(ending, kept.after[index].shape[-1]))
        grad_h = parts[0] if len(parts) == 1 else torch.cat(parts)
        grad_z = activate_backward(grad_h, kept.before[index], kept.after[index], layer.stretches)
        if to_rows:
            weight, bias = slots[f"hidden.{index}.weight"], slots[f"hidden.{index}.bias"]
            (weight if n == agents else weight[:n]).copy_(_outer(grad_z, kept.inputs[index]))
            torch.sum(grad_z, 1, out=bias if n == agents else bias[:n])
        weight = read[index][2]
        if index:
            flowing = torch.bmm(grad_z, weight)
        elif to_extra:
            narrow = weight[:, :, -kept.extra :].transpose(1, 2).contiguous()  # [R, E, H]
            flowing = torch.bmm(narrow, grad_z.transpose(1, 2)).transpose(1, 2)
    return gradient, flowing if to_extra else None


class KeptPass(Protocol):
    """What a forward pass leaves for its backward pass."""

    def backward(self, grad: Tensor, to_rows: bool, to_extra: bool) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of the rows [R, N] and of the extra inputs [R, B, E] from that of the outputs [R, B, O]."""


class MLPFunction(torch.autograd.Function):
    """`(rows [R, N], extra [A, B, E] or None, run) -> [R, B, O]`, differentiable once in rows and extra.

    `run(rows, extra)` gives the outputs and what their gradient needs; observations, which nothing is
    differentiated by, are its own affair. `extra` are the actions by which a policy's gradient reaches it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        extra: Tensor | None,
        run: Callable[[Tensor, Tensor | None], tuple[Tensor, KeptPass]],
    ) -> Tensor:
        """Outputs; keeps what the backward pass needs."""
        out, ctx.kept = run(rows.detach(), None if extra is None else extra.detach())
        ctx.agents = None if extra is None else len(extra)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        """Gradients of the rows and of `extra`, which several rows of an agent may have read."""
        gradient, flowing = ctx.kept.backward(grad, *ctx.needs_input_grad[:2])
        if flowing is not None and len(flowing) > ctx.agents:
            flowing = flowing.unflatten(0, (ctx.agents, -1)).sum(1)
        return gradient, flowing, None


def _outer(grad: Tensor, inputs: Tensor) -> Tensor:
    """[R, H, I]: the gradient of a weight; for few inputs the transposed product is four times as fast."""
    if inputs.shape[-1] < 32:
        return torch.bmm(inputs.transpose(1, 2), grad).transpose(1, 2)
    return torch.bmm(grad.transpose(1, 2), inputs)


def _widened(h: Tensor, width: int) -> Tensor:
    """`h` [R, B, H] with sleeping units added or dropped at the end."""
    return h if h.shape[-1] == width else F.pad(h, (0, width - h.shape[-1]))
