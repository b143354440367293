"""Convolutional networks as plain modules without padding, for use outside a population."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evolab.networks.activations import ACTIVATIONS
from evolab.networks.base import Role, State
from evolab.networks.cnn import encoder
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
        encoder.modules(image, one, prefix, state)
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
        layers += [encoder.filled(linear, weight, state[f"hidden.{index}.bias"]), ACTIVATIONS[kind].module()]
    weight = state["output.weight"] if genes.head else weights[0]
    last = encoder.filled(nn.Linear(weight.shape[1], weight.shape[0]), weight, state["output.bias"])
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
