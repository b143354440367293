"""Convolutional networks as plain modules without padding, for use outside a population."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evolab.networks.activations import ACTIVATIONS
from evolab.networks.base import Role, State
from evolab.networks.cnn.encoder import POOLED, EncoderGenes, Image, parts_of_block
from evolab.networks.cnn.genes import CNNGenes
from evolab.networks.cnn.parts import EncoderParts


def exported(role: Role, parts: EncoderParts, genes: CNNGenes, state: State) -> nn.Module:
    """One member: features of an observation [B, F], behind them the extra input, to outputs [B, O].

    Args:
        role: what the network is for.
        parts: of the observation.
        genes: of the agent.
        state: its parameters, each [*shape].
    """
    prefixes = genes.prefixes
    encoders = [
        _modules(image, one, prefix, state)
        for image, one, prefix in zip(parts.images, genes.encoders, prefixes, strict=True)
    ]
    columns = [state[f"{prefix}reading.weight"] for prefix in prefixes]
    if len(encoders) == 1 and "side.weight" not in state:
        layers = encoders[0]
    else:
        spans = [(image.start, image.stop) for image in parts.images]
        spans += [(vector.start, vector.stop) for vector in parts.vectors]
        end = max(stop for _, stop in spans)
        spans += [(end, end + role.extra)] if role.extra else []
        layers = [Branches(spans, [nn.Sequential(*one) for one in encoders])]
        columns += [state["side.weight"]] if "side.weight" in state else []
    weights = [torch.cat(columns, 1)] + [state[f"hidden.{i}.weight"] for i in range(1, len(genes.head))]
    for index, (weight, kind) in enumerate(zip(weights, genes.head_activation, strict=False)):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        layers += [filled(linear, weight, state[f"hidden.{index}.bias"]), ACTIVATIONS[kind].module()]
    weight = state["output.weight"] if genes.head else weights[0]
    last = filled(nn.Linear(weight.shape[1], weight.shape[0]), weight, state["output.bias"])
    return nn.Sequential(*layers, last)


class Branches(nn.Module):
    """Flat features [B, F] in spans: the first ones through encoders, all of them concatenated."""

    def __init__(self, spans: Sequence[tuple[int, int]], encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.spans = list(spans)
        self.encoders = nn.ModuleList(encoders)

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] to [B, H]: the latent vectors, then what has no encoder."""
        parts = [features[:, start:stop] for start, stop in self.spans]
        coded = [module(part) for module, part in zip(self.encoders, parts, strict=False)]
        return torch.cat([*coded, *parts[len(coded) :]], 1)


class ChannelsFirst(nn.Module):
    """Flat features [B, F] of an image as [B, C, H, W]."""

    def __init__(self, image: Image) -> None:
        super().__init__()
        self.shape, self.first = image.shape, image.channels_first

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] to [B, C, H, W]."""
        whole = features.unflatten(1, self.shape)
        return whole if self.first else whole.permute(0, 3, 1, 2)


def _modules(image: Image, genes: EncoderGenes, prefix: str, state: State) -> list[nn.Module]:
    """Plain modules in their order: features [B, F] of the image to the latent vector [B, L]."""
    parts: list[nn.Module] = [ChannelsFirst(image)]
    inputs = image.channels
    layers = zip(genes.channels, genes.kernels, genes.strides, genes.paddings, strict=True)
    for index, (channels, kernel, stride, padding) in enumerate(layers):
        convolution = nn.Conv2d(inputs, channels, kernel, 1 if genes.blocks else stride, padding)
        parts.append(_filled_by(convolution, f"{prefix}conv.{index}", state))
        activation, inputs = ACTIVATIONS[genes.activation[index]].module, channels
        if not genes.blocks:
            parts.append(activation())
            continue
        parts += [nn.MaxPool2d(POOLED, stride, POOLED // 2)] if stride > 1 else []
        for block in range(genes.blocks[index]):
            names = parts_of_block(prefix, index, block)
            both = [_filled_by(nn.Conv2d(channels, channels, 3, 1, 1), name, state) for name in names]
            parts.append(ResidualBlock(activation(), both[0], activation(), both[1]))
    parts += [ACTIVATIONS[genes.activation[-2]].module()] if genes.blocks else []
    weight = state[f"{prefix}latent.weight"].transpose(1, 2).flatten(1)
    bias = state[f"{prefix}latent.bias"]
    parts += [nn.Flatten(), filled(nn.Linear(weight.shape[1], weight.shape[0]), weight, bias)]
    return [*parts, ACTIVATIONS[genes.activation[-1]].module()]


class ResidualBlock(nn.Sequential):
    """A map [B, C, H, W], and what its layers make of it added to it."""

    def forward(self, input: Tensor) -> Tensor:
        """The sum of both."""
        return input + super().forward(input)


def _filled_by(layer: nn.Conv2d, name: str, state: State) -> nn.Module:
    return filled(layer, state[f"{name}.weight"], state[f"{name}.bias"])


def filled(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> nn.Module:
    """`layer` with these parameters and their type."""
    layer = layer.to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        assert layer.bias is not None
        layer.bias.copy_(bias)
    return layer
