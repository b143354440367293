"""Noise on the weights of the policy: small and often, large and rare."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from evolab.evolution.mutation.context import Context
from evolab.networks.base import Axis
from evolab.population.individual import Individual

SHARE = 0.1
LARGE, RESET = 0.05, 0.10
"""Of the touched entries: below LARGE a tenfold kick, up to RESET a fresh draw, else small noise."""


def change_parameters(individual: Individual, context: Context, generator: np.random.Generator) -> str | None:
    """Touch about a tenth of the entries of a random subset of the policy's matrices.

    A touched entry's moments start anew, and its target takes the same value.
    """
    policy, role = next(iter(context.roles.items()))
    axes = role.recipe(context.network).axes(role, individual.genes)
    matrices = [name for name in individual.tensors[policy] if _inputs(axes[name])]
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
        fresh = noise / _inputs(axes[name]) ** 0.5  # by the fan-in, that of a convolution as well
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


def _inputs(axes: Sequence[Axis]) -> int:
    """How many numbers each unit reads, by the axes of a parameter; 0 of a bias."""
    gates = len(axes) > 1 and axes[0].gene is None and axes[1].gene is not None and not axes[1].incoming
    read = axes[2:] if gates else axes[1:]  # a unit that remembers has several gates
    return prod(axis.size for axis in read) if read else 0


def _uniform(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draws from [0, 1) of the same shape; on the CPU, whose streams are the same on every machine."""
    return torch.rand(like.shape, generator=generator).to(like.device)
