"""One more or one fewer hidden layer, in all networks of an agent.

How a layer is put in so that the function stays the same, and what stands in for one that is
taken out, is the network's knowledge (`deepened`, `shallowed`); what is common stands here.
"""

from __future__ import annotations

import numpy as np

from evolab.core.layers import plain
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.width import change_units
from evolab.population.individual import KINDS, Individual


def change_layers(individual: Individual, context: Context, generator: np.random.Generator) -> str | None:
    """Add or remove a layer with equal chance, within the network's limits; units where neither can be."""
    network, before = context.network, individual.genes
    stacks = network.stacks(before)
    if not stacks:
        return change_units(individual, context, generator)
    stack = stacks[int(generator.integers(len(stacks)))] if len(stacks) > 1 else stacks[0]
    deeper, shallower = network.deeper(before, stack), network.shallower(before, stack)
    adding = bool(generator.random() < 0.5)
    if (adding and deeper is None) or (not adding and shallower is None):
        adding = not adding
    if (deeper if adding else shallower) is None:
        return change_units(individual, context, generator)
    restack(individual, context, stack, adding)
    if not plain(network.diagram(before)):
        return f"{stack}: one {'more' if adding else 'fewer'}"
    return f"layers {network.describe(before)} -> {network.describe(individual.genes)}"


def restack(individual: Individual, context: Context, stack: str, adding: bool) -> None:
    """One more layer at the end of a stack, or one fewer, which the network's limits must allow."""
    network, before = context.network, individual.genes
    after = network.deeper(before, stack) if adding else network.shallower(before, stack)
    assert after is not None, f"{network.describe(before)} is at its limit of layers"
    for name, role in context.roles.items():
        recipe = role.recipe(network)
        change = recipe.deepened if adding else recipe.shallowed
        for kind in KINDS:
            if name + kind in individual.tensors:
                moment = kind in (".mean", ".square")
                individual.tensors[name + kind] = change(
                    role, before, individual.tensors[name + kind], moment, stack
                )
    individual.genes = after
