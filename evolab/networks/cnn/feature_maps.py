"""Activations of feature maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evolab.networks.activations import ACTIVATIONS

Stretches = list[tuple[str, int, int]]
"""Activations by name, each with the first row that it is for and the one behind the last."""


class Activated(torch.autograd.Function):
    """Activations of feature maps z [B, R * O, H, W], which are overwritten by ReLU where they are `spent`.

    The gradient arrives in another memory layout than the maps: element by element that took
    eight times as long as with a copy beforehand (measured).
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, stretches: Stretches, channels: int, spent: bool) -> Tensor:
        """`z`, each stretch of rows through its own activation."""
        ctx.how = (stretches, channels)
        if len(stretches) == 1 and stretches[0][0] == "relu":
            if spent:
                ctx.mark_dirty(z)
            h = z.relu_() if spent else z.relu()
            ctx.save_for_backward(h, h)
            return h
        parts = [ACTIVATIONS[kind].forward(z[:, a * channels : b * channels]) for kind, a, b in stretches]
        h = torch.cat(parts, 1)  # never a view of z, which autograd would not allow
        ctx.save_for_backward(z, h)
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        """The gradient of z; nothing else has one."""
        (z, h), (stretches, channels) = ctx.saved_tensors, ctx.how
        grad = grad.contiguous(memory_format=torch.channels_last)
        spans = [(kind, slice(a * channels, b * channels)) for kind, a, b in stretches]
        parts = [ACTIVATIONS[kind].backward(grad[:, span], z[:, span], h[:, span]) for kind, span in spans]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1), None, None, None
