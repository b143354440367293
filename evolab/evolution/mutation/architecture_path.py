"""From one architecture to another, by the same steps that mutations take."""

from __future__ import annotations

from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import restack
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Genes
from evolab.population.individual import Individual


def reshape(individual: Individual, context: Context, genes: Genes) -> None:
    """Grow and shrink an agent until its genes are `genes`, keeping what it computes where growth can.

    Args:
        individual: unpadded; its tensors are replaced.
        context: whose network the genes belong to.
        genes: the architecture wanted.

    Raises:
        ValueError: no change of layers and sizes leads there.
    """
    network = context.network
    wanted = _layers(context, genes)
    while (here := _layers(context, individual.genes)) != wanted:
        steps = [
            (stack, adding)
            for stack in network.stacks(individual.genes)
            for adding, change in ((True, network.deeper), (False, network.shallower))
            if (after := change(individual.genes, stack)) is not None
            and len(_layers(context, after) ^ wanted) < len(here ^ wanted)
        ]
        if not steps:
            raise _unreachable(individual, context, genes)
        restack(individual, context, *steps[0])
    for gene, (size, *_) in network.sizes(genes).items():
        if network.sizes(individual.genes)[gene][0] != size:
            resize(individual, context, gene, size)
    for role in context.roles.values():
        recipe = role.recipe(network)
        if recipe.axes(role, individual.genes) != recipe.axes(role, genes):
            raise _unreachable(individual, context, genes)
    individual.genes = genes


def _layers(context: Context, genes: Genes) -> set[str]:
    """What the parameters are called, which layers bring with them: some layers have no size of their own."""
    recipes = [(role, role.recipe(context.network)) for role in context.roles.values()]
    return {name for role, recipe in recipes for name in recipe.axes(role, genes)}


def _unreachable(individual: Individual, context: Context, genes: Genes) -> ValueError:
    describe = context.network.describe
    return ValueError(
        f"no mutation leads from {describe(individual.genes)} to {describe(genes)}; its depth must lie within the "
        f"network's limits, and strides cannot change."
    )
