"""Units that stopped learning start anew, in all networks of an agent."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evolab.evolution.mutation.context import Context
from evolab.networks.base import Axes
from evolab.population.individual import KINDS, Individual

DORMANT = 0.025
"""Share of its layer's mean below which a unit is dormant; the threshold of the paper."""


def reset_dormant(individual: Individual, context: Context, generator: np.random.Generator) -> str | None:
    """Give dormant units fresh weights into them and none out of them, with moments of zero.

    The paper calls a unit dormant where its mean activation on a batch is small against its
    layer's. A mutation sees no batch, but Adam remembers thousands: a unit that never answers
    gets no gradient, so here it is dormant where the root mean square of the gradient into it
    is small. A unit that answers nowhere is replaced without a change of the function.

    Source: Sokar et al. 2023, The dormant neuron phenomenon in deep reinforcement learning, algorithm 1.
    """
    reset = total = 0
    for name, role in context.roles.items():
        if float(individual.counts[name]) == 0:  # nothing is known of it yet
            continue
        network = role.recipe(context.network)
        axes = network.axes(role, individual.genes)
        drawn = [
            network.initialise(role, individual.genes, context.generator) for _ in range(role.ensemble_size)
        ]
        fresh = {key: torch.stack([one[key] for one in drawn]) for key in drawn[0]}
        labels = (axis.gene for parameter in axes.values() for axis in parameter if not axis.centred)
        # All are examined before any is touched: resetting one layer must not make the next look dormant.
        found = {gene: _dormant(individual.tensors[f"{name}.square"], axes, gene) for gene in labels if gene}
        for gene, dormant in found.items():
            total += dormant.numel()
            if dormant.any():
                reset += int(dormant.sum())
                _reset(individual, name, axes, gene, dormant, fresh)
    return f"{reset} of {total} units reset" if reset else None


def _dormant(square: dict[str, Tensor], axes: Axes, gene: str) -> Tensor:
    """[M, units]: True where the gradient into a unit has been small against its layer's mean."""
    into = [
        square[name].movedim(dimension + 1, 1).unsqueeze(-1).flatten(2).sum(2)
        for name, parameter in axes.items()
        for dimension, axis in enumerate(parameter)
        if axis.gene == gene and not axis.incoming
    ]
    size = torch.stack(into).sum(0).sqrt()
    return size <= DORMANT * size.mean(1, keepdim=True)


def _reset(
    individual: Individual, role: str, axes: Axes, gene: str, dormant: Tensor, fresh: dict[str, Tensor]
) -> None:
    for kind in KINDS:
        state = individual.tensors.get(role + kind, {})
        for name in state:
            for dimension, axis in enumerate(axes[name]):
                if axis.gene == gene and not axis.centred:
                    shape = [1] * (len(axes[name]) + 1)
                    shape[0], shape[dimension + 1] = len(dormant), -1
                    mask = dormant.view(shape)
                    empty = axis.incoming or kind in (".mean", ".square")
                    value = torch.zeros_like(state[name]) if empty else fresh[name].to(state[name])
                    state[name] = torch.where(mask, value, state[name])
