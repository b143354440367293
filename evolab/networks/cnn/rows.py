"""The encoders of a group agent by agent, each at its own size: how a CPU computes them where they are large.

A convolution of some millions of multiply-adds keeps a core busy by itself: alone it took three
quarters of the time that it took as a group of a larger one, and the narrow agents of a mixed group
pay for no channel that sleeps (measured, `tests/benchmarks/images.py`). The backward pass is written
out: gradients go straight into one tensor per parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.networks.activations import ACTIVATIONS
from evolab.networks.cnn.encoder import EncoderGenes

_backward = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class ImageRows:
    """What there is to compute.

    Attributes:
        genes: of each agent's encoder.
        members: M, networks of each agent, which look at the same pictures.
        scaled: True where pictures go from 0 to 255; the first kernels are divided by 255 instead of them.
    """

    genes: tuple[EncoderGenes, ...]
    members: int
    scaled: bool


@dataclass
class Layer:
    """What a layer leaves for the backward pass: its input, weight, and values before and after activation."""

    input: Tensor
    weight: Tensor
    before: Tensor
    after: Tensor


def encode_rows(
    pictures: Sequence[Tensor], parameters: Sequence[Tensor], how: ImageRows
) -> tuple[Tensor, list[list[Layer]]]:
    """Latent vectors of every row, and what the backward pass needs; runs without autograd.

    Args:
        pictures: of each agent, [B, I, H, W] in channels-last memory.
        parameters: weight and bias of each convolution and of the latent layer, [R, ...] each.
        how: what there is to compute.

    Returns:
        [R, B, L], zero where a unit sleeps; the layers of each row.
    """
    rows, longest = parameters[-1].shape
    each = [parameter.unbind(0) for parameter in parameters]
    latents, kept = [], []
    for row in range(rows):
        genes, h, layers = how.genes[row // how.members], pictures[row // how.members], []
        layout = zip(genes.channels, genes.strides, genes.paddings, strict=True)
        for index, (outputs, stride, padding) in enumerate(layout):
            weight = cut(each[2 * index][row], outputs, h.shape[1])
            weight = weight / 255 if how.scaled and not index else weight
            z = F.conv2d(h, weight, cut(each[2 * index + 1][row], outputs), stride, padding)
            layers.append(Layer(h, weight, z, _activated(genes.activation[index], z)))
            h = layers[-1].after
        area = h.shape[2] * h.shape[3]
        flat = h.permute(0, 2, 3, 1).flatten(1)  # [B, h * w * O], without a copy
        weight = cut(each[-2][row], genes.latent, area, h.shape[1]).flatten(1)
        z = torch.addmm(cut(each[-1][row], genes.latent), flat, weight.t())
        layers.append(Layer(flat, weight, z, _activated(genes.activation[-1], z)))
        latent = layers[-1].after
        latents.append(latent if genes.latent == longest else F.pad(latent, (0, longest - genes.latent)))
        kept.append(layers)
    return torch.stack(latents), kept


def cut(whole: Tensor, *sizes: int) -> Tensor:
    """The beginning of a tensor along its first axes; itself where there is no more of it."""
    for axis, size in enumerate(sizes):
        whole = whole if whole.shape[axis] == size else whole.narrow(axis, 0, size)
    return whole


def gradients(
    grad: Tensor, kept: list[list[Layer]], parameters: Sequence[Tensor], how: ImageRows
) -> list[Tensor]:
    """Gradients of the parameters, in their order, from that of the latent vectors [R, B, L]."""
    found = [parameter.new_empty(parameter.shape) for parameter in parameters]
    each = [one.unbind(0) for one in found]
    for row, (layers, reached) in enumerate(zip(kept, grad.unbind(0), strict=True)):
        genes = how.genes[row // how.members]
        last = layers[-1]
        flowing = _before(genes.activation[-1], cut(reached, len(reached), genes.latent).clone(), last)
        shape = layers[-2].after.permute(0, 2, 3, 1).shape  # [B, h, w, O]
        _put(each[-2][row], (flowing.t() @ last.input).view(genes.latent, -1, shape[-1]))
        _put(each[-1][row], flowing.sum(0))
        flowing = (flowing @ last.weight).view(shape).permute(0, 3, 1, 2)
        for index in range(len(layers) - 2, -1, -1):
            layer = layers[index]
            # Activations' derivatives take eight times as long where the two memory formats differ.
            flowing = _before(
                genes.activation[index], flowing.contiguous(memory_format=torch.channels_last), layer
            )
            stride, padding = genes.strides[index], genes.paddings[index]
            geometry = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
            wanted = [index > 0, True, True]  # nothing is differentiated by the pictures
            flowing, weight, bias = _backward(
                flowing, layer.input, layer.weight, [len(layer.weight)], *geometry, wanted
            )
            _put(each[2 * index][row], weight / 255 if how.scaled and not index else weight)
            _put(each[2 * index + 1][row], bias)
    return found


def _put(slot: Tensor, value: Tensor) -> None:
    """`value` at the beginning of `slot`, zeros in the rest."""
    for axis, size in enumerate(value.shape):
        if slot.shape[axis] > size:
            slot.narrow(axis, size, slot.shape[axis] - size).zero_()
            slot = slot.narrow(axis, 0, size)
    slot.copy_(value)


class Encoded(torch.autograd.Function):
    """`encode_rows`, differentiable once in the parameters."""

    @staticmethod
    def forward(ctx: Any, pictures: Sequence[Tensor], how: ImageRows, *parameters: Tensor) -> Tensor:
        """Latent vectors; keeps what the backward pass needs."""
        out, ctx.kept = encode_rows(pictures, parameters, how)
        ctx.parameters, ctx.how = parameters, how
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        """Gradients of the parameters."""
        return None, None, *gradients(grad, ctx.kept, ctx.parameters, ctx.how)


def _activated(kind: str, z: Tensor) -> Tensor:
    """`z` through its activation, over `z` itself where no derivative needs it."""
    one = ACTIVATIONS[kind]
    return one.into(z, torch.empty_like(z) if one.reads_input else z)


def _before(kind: str, grad: Tensor, layer: Layer) -> Tensor:
    """The gradient before an activation from that behind it, written over it."""
    return ACTIVATIONS[kind].backward(grad, layer.before, layer.after)
