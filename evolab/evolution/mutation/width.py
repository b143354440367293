"""More or fewer units in one layer, in all networks of an agent."""

from __future__ import annotations

import numpy as np

from evolab.core.layers import plain
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.resize_tensors import resize
from evolab.population.individual import Individual


def change_units(individual: Individual, context: Context, generator: np.random.Generator) -> str | None:
    """Grow or shrink one layer by one of its steps, with equal chance, within its limits."""
    sizes = context.network.sizes(individual.genes)
    if not sizes:
        return None
    gene = list(sizes)[int(generator.integers(len(sizes)))]
    old, low, high, steps = sizes[gene]
    step = steps[int(generator.integers(len(steps)))]
    grows = bool(generator.random() < 0.5)
    if (grows and old >= high) or (not grows and old <= low):
        grows = not grows
    new = min(max(old + step if grows else old - step, low), high)
    if new == old:
        return None
    network, before = context.network, individual.genes
    resize(individual, context, gene, new)
    if not plain(network.diagram(before)):
        return f"{gene} {old} -> {new}"
    return f"{gene} {network.describe(before)} -> {network.describe(individual.genes)}"
