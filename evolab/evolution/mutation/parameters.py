"""Noise on the weights of the policy: small and often, large and rare."""

from __future__ import annotations

import numpy as np
import torch

from evolab.evolution.mutation.context import Context
from evolab.population.individual import Individual

SHARE = 0.1
LARGE, RESET = 0.05, 0.10
"""Of the touched entries: below LARGE a tenfold kick, up to RESET a fresh draw, else small noise."""


def change_parameters(individual: Individual, context: Context, generator: np.random.Generator) -> str | None:
    """Touch about a tenth of the entries of a random subset of the policy's matrices.

    A touched entry's moments start anew, and its target takes the same value.
    """
    policy = next(iter(context.roles))
    matrices = [name for name, value in individual.tensors[policy].items() if value.dim() > 2]
    if not matrices:
        return None
    subset = [name for name in matrices if generator.random() < 0.5] or [
        matrices[int(generator.integers(len(matrices)))]
    ]
    touched_entries = 0
    for name in subset:
        weight = individual.tensors[policy][name]
        touched = _uniform(weight, context.generator) < SHARE
        which = _uniform(weight, context.generator)
        noise = torch.randn(weight.shape, generator=context.generator).to(weight)
        spread = weight.abs() * context.sd
        kicked = weight + noise * torch.where(which < LARGE, 10 * spread, spread)
        fresh = noise / max(weight[0, 0].numel(), 1) ** 0.5  # by the fan-in, that of a convolution as well
        value = torch.where((which >= LARGE) & (which < RESET), fresh, kicked)
        touched_entries += int(touched.sum())
        individual.tensors[policy][name] = torch.where(touched, value, weight)
        target = individual.tensors.get(f"{policy}.target")
        if target is not None:
            target[name] = torch.where(touched, value, target[name])
        for kind in (".mean", ".square"):
            moment = individual.tensors[policy + kind]
            moment[name] = torch.where(touched, torch.zeros_like(weight), moment[name])
    return f"{touched_entries} weights of {policy}"


def _uniform(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draws from [0, 1) of the same shape; on the CPU, whose streams are the same on every machine."""
    return torch.rand(like.shape, generator=generator).to(like.device)
