"""The convolutional part of a network: an image to a latent vector, described, drawn, merged and exported.

Kernels are padded by half their size, or by less, by a number that stays what it is: so a kernel that gains a border of
zeros, and half as much padding, computes what it did before.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from evolab.networks.activations import ACTIVATIONS, identity_layer, linear_state
from evolab.networks.base import Axes, Axis, State
from evolab.networks.observations import in_bytes


@dataclass(frozen=True)
class EncoderGenes:
    """The architecture that one image is read by.

    Attributes:
        channels: of each convolution.
        kernels: side of each convolution's kernel.
        strides: of each convolution.
        latent: length of the vector that the last feature map becomes.
        activation: by name, of each convolution and then of the latent layer.
        less: by how much each convolution is padded less than by half its kernel; () for nowhere.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    latent: int
    activation: tuple[str, ...]
    less: tuple[int, ...] = ()

    @property
    def paddings(self) -> tuple[int, ...]:
        """Of each convolution."""
        less = self.less or (0,) * len(self.kernels)
        return tuple(kernel // 2 - fewer for kernel, fewer in zip(self.kernels, less, strict=True))

    @property
    def geometry(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Kernels, strides and paddings: what agents must share to be computed together."""
        return self.kernels, self.strides, self.paddings

    def __str__(self) -> str:
        layers = zip(self.channels, self.kernels, strict=True)
        return f"{'-'.join(f'{channels}k{kernel}' for channels, kernel in layers)} {self.latent}"


@dataclass(frozen=True)
class Image:
    """Where an image lies in an observation, and which axis holds its channels.

    Attributes:
        path: keys that lead to it through Dict and Tuple spaces.
        shape: as the environment gives it.
        channels_first: True for (C, H, W), False for (H, W, C).
        scaled: True for values from 0 to 255, which are divided by 255.
        start: place of its first entry among the features of the whole observation.
    """

    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    channels_first: bool
    scaled: bool
    start: int

    @staticmethod
    def of(space: spaces.Box, path: tuple[str | int, ...] = (), start: int = 0) -> Image:
        """The image of a Box of rank 3: the shorter outer axis holds the channels, the last one in a tie."""
        shape = tuple(int(size) for size in space.shape)
        return Image(path, shape, shape[0] < shape[2], in_bytes(space), start)

    @property
    def channels(self) -> int:
        """Of the image itself."""
        return self.shape[0] if self.channels_first else self.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[1:] if self.channels_first else self.shape[:2]  # type: ignore[return-value]

    @property
    def stop(self) -> int:
        """Behind its last entry among the features."""
        return self.start + self.shape[0] * self.shape[1] * self.shape[2]

    def columns(self, observation: Tensor, dtype: torch.dtype) -> Tensor:
        """[P, B, ...] images as [B, P * channels, H, W] in channels-last memory, bytes not yet scaled."""
        whole = observation.unflatten(2, self.shape) if observation.dim() == 3 else observation
        # Beside each other first, which moves whole rows of bytes: a third of a permutation's time (measured).
        if self.channels_first:
            return beside(whole, 1).to(dtype, memory_format=torch.channels_last)
        return beside(whole, -1).to(dtype).permute(0, 3, 1, 2)

    def pictures(self, observation: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """[P, B, ...] images as each agent's [B, channels, H, W] in channels-last memory, bytes not yet scaled."""
        whole = observation.unflatten(2, self.shape) if observation.dim() == 3 else observation
        if not self.channels_first:
            return [one.to(dtype).permute(0, 3, 1, 2) for one in whole]
        found = []
        for one in whole:
            laid = torch.empty(len(one), *self.size, self.channels, dtype=dtype, device=one.device)
            for channel, plane in enumerate(one.unbind(1)):  # half the time of a permutation (measured)
                laid[..., channel].copy_(plane)
            found.append(laid.permute(0, 3, 1, 2))
        return found


def beside(whole: Tensor, axis: int) -> Tensor:
    """The parts of a tensor along its first axis, joined along another."""
    return whole[0] if len(whole) == 1 else torch.cat(list(whole), axis)


def maps(image: Image, genes: EncoderGenes) -> list[tuple[int, int]]:
    """Height and width of the image and of each feature map.

    Raises:
        ValueError: a kernel is larger than what it reads.
    """
    sizes = [image.size]
    for kernel, stride, padding in zip(*genes.geometry, strict=True):
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in sizes[-1])
        if min(height, width) < 1:
            raise ValueError(
                f"CNN: a kernel of {kernel} with a padding of {padding} does not fit into {sizes[-1][0]}x{sizes[-1][1]}, "
                f"of an image of {image.size[0]}x{image.size[1]}: give smaller kernels, or no padding= option."
            )
        sizes.append((height, width))
    return sizes


def axes(image: Image, genes: EncoderGenes, prefix: str) -> Axes:
    """`conv.l.weight` [O, I, k, k], `conv.l.bias` [O], `latent.weight` [L, h * w, O], `latent.bias` [L].

    The channels come last there, as they do in a channels-last feature map: neither has to be turned round.
    """
    found: Axes = {}
    source = Axis(image.channels)
    for index, (channels, kernel) in enumerate(zip(genes.channels, genes.kernels, strict=True)):
        unit, side = (
            Axis(channels, f"{prefix}conv.{index}"),
            Axis(kernel, f"{prefix}kernel.{index}", centred=True),
        )
        found[f"{prefix}conv.{index}.weight"] = (unit, source, side, side)
        found[f"{prefix}conv.{index}.bias"] = (unit,)
        source = dataclasses.replace(unit, incoming=True)
    height, width = maps(image, genes)[-1]
    area = height * width
    latent = Axis(genes.latent, f"{prefix}latent")
    found[f"{prefix}latent.weight"] = (latent, Axis(area), source)
    found[f"{prefix}latent.bias"] = (latent,)
    return found


def initialise(image: Image, genes: EncoderGenes, prefix: str, generator: torch.Generator) -> State:
    """As torch.nn.Conv2d and torch.nn.Linear draw theirs."""
    state: State = {}
    for name, parameter in axes(image, genes, prefix).items():
        if name.endswith(".weight"):
            inputs = [axis.size for axis in parameter[1:]]
            weight, bias = linear_state(torch.Size(inputs).numel(), parameter[0].size, generator)
            state[name], state[name.replace(".weight", ".bias")] = weight.unflatten(1, inputs), bias
    return state


def cost(image: Image, genes: EncoderGenes) -> float:
    """Multiply-adds for one image."""
    total, inputs = 0.0, image.channels
    areas = [height * width for height, width in maps(image, genes)]
    for channels, kernel, area in zip(genes.channels, genes.kernels, areas[1:], strict=True):
        total += area * channels * inputs * kernel * kernel
        inputs = channels
    return total + areas[-1] * inputs * genes.latent


def deeper(genes: EncoderGenes) -> EncoderGenes:
    """One more convolution at the end: 3x3, stride 1; linear where the last activation is not idempotent."""
    *before, last, latent = genes.activation
    kind = last if ACTIVATIONS[last].idempotent else "identity"
    return EncoderGenes(
        (*genes.channels, genes.channels[-1]),
        (*genes.kernels, 3),
        (*genes.strides, 1),
        genes.latent,
        (*before, last, kind, latent),
        genes.less and (*genes.less, 0),
    )


def shallower(genes: EncoderGenes) -> EncoderGenes:
    """Without the last convolution."""
    *before, _, latent = genes.activation
    return EncoderGenes(
        genes.channels[:-1],
        genes.kernels[:-1],
        genes.strides[:-1],
        genes.latent,
        (*before, latent),
        genes.less[:-1],
    )


def deepened(genes: EncoderGenes, prefix: str, state: State, moment: bool) -> State:
    """`state` with a last convolution that hands its input on: a kernel of zeros around the identity."""
    name = f"{prefix}conv.{len(genes.channels)}"
    bias = torch.zeros_like(state[f"{prefix}conv.{len(genes.channels) - 1}.bias"])  # [M, O]
    identity = identity_layer(bias, moment)[..., None, None]
    return state | {f"{name}.weight": F.pad(identity, (1, 1, 1, 1)), f"{name}.bias": bias}


def shallowed(image: Image, genes: EncoderGenes, prefix: str, state: State, moment: bool) -> State:
    """`state` without its last convolution, whose linear part the latent layer takes over.

    Only the activation is lost. Behind a stride the latent layer reads a larger map than before.
    The latent layer's moments start anew.
    """
    name = f"{prefix}conv.{len(genes.channels) - 1}"
    before, after = maps(image, genes)[-2:]
    kernel, stride, padding = (part[-1] for part in genes.geometry)
    beyond = [b - ((a - 1) * stride - 2 * padding + kernel) for b, a in zip(before, after, strict=True)]
    weights, biases = [], []
    for one, filters, shift in zip(
        state[f"{prefix}latent.weight"], state[f"{name}.weight"], state[f"{name}.bias"], strict=True
    ):
        read = one.transpose(1, 2).unflatten(2, after)  # [L, O, h, w]
        # A linear layer behind a convolution is one linear layer: its weights, convolved the other way.
        merged = F.conv_transpose2d(read, filters, None, stride, padding, beyond)
        weights.append(merged.flatten(2).transpose(1, 2))
        biases.append((read.sum((2, 3)) * shift).sum(1))
    weight, bias = torch.stack(weights), torch.stack(biases)
    new = {
        f"{prefix}latent.weight": torch.zeros_like(weight) if moment else weight,
        f"{prefix}latent.bias": torch.zeros_like(bias) if moment else state[f"{prefix}latent.bias"] + bias,
    }
    return {key: value for key, value in state.items() if not key.startswith(f"{name}.")} | new


class ChannelsFirst(nn.Module):
    """Flat features [B, F] of an image as [B, C, H, W]."""

    def __init__(self, image: Image) -> None:
        super().__init__()
        self.shape, self.first = image.shape, image.channels_first

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] to [B, C, H, W]."""
        whole = features.unflatten(1, self.shape)
        return whole if self.first else whole.permute(0, 3, 1, 2)


def modules(image: Image, genes: EncoderGenes, prefix: str, state: State) -> list[nn.Module]:
    """Plain modules in their order: features [B, F] of the image to the latent vector [B, L]."""
    parts: list[nn.Module] = [ChannelsFirst(image)]
    inputs = image.channels
    layers = zip(genes.channels, genes.kernels, genes.strides, genes.paddings, strict=True)
    for index, (channels, kernel, stride, padding) in enumerate(layers):
        convolution = nn.Conv2d(inputs, channels, kernel, stride, padding)
        name = f"{prefix}conv.{index}"
        parts.append(filled(convolution, state[f"{name}.weight"], state[f"{name}.bias"]))
        parts.append(ACTIVATIONS[genes.activation[index]].module())
        inputs = channels
    weight = state[f"{prefix}latent.weight"].transpose(1, 2).flatten(1)
    bias = state[f"{prefix}latent.bias"]
    parts += [nn.Flatten(), filled(nn.Linear(weight.shape[1], weight.shape[0]), weight, bias)]
    return [*parts, ACTIVATIONS[genes.activation[-1]].module()]


def filled(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> nn.Module:
    """`layer` with these parameters and their type."""
    layer = layer.to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        assert layer.bias is not None
        layer.bias.copy_(bias)
    return layer
