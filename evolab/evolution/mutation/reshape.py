"""From one architecture to another, by the same steps that mutations take."""

from __future__ import annotations

from typing import Any

from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.layers import restack
from evolab.evolution.mutation.resize import resize
from evolab.population.individual import Member


def reshape(member: Member, context: Context, genes: Any) -> None:
    """Grow and shrink an agent until its genes are `genes`, keeping what it computes where growth can.

    Args:
        member: unpadded; its tensors are replaced.
        context: whose network the genes belong to.
        genes: the architecture wanted.

    Raises:
        ValueError: no change of layers and sizes leads there.
    """
    network = context.network
    wanted = set(network.sizes(genes))
    while set(network.sizes(member.genes)) != wanted:
        here = set(network.sizes(member.genes))
        steps = [
            (stack, adding)
            for stack in network.stacks(member.genes)
            for adding, change in ((True, network.deeper), (False, network.shallower))
            if (after := change(member.genes, stack)) is not None
            and len(set(network.sizes(after)) ^ wanted) < len(here ^ wanted)
        ]
        if not steps:
            raise _unreachable(member, context, genes)
        restack(member, context, *steps[0])
    for gene, (size, *_) in network.sizes(genes).items():
        if network.sizes(member.genes)[gene][0] != size:
            resize(member, context, gene, size)
    for role in context.roles.values():
        recipe = role.recipe(network)
        if recipe.axes(role, member.genes) != recipe.axes(role, genes):
            raise _unreachable(member, context, genes)
    member.genes = genes


def _unreachable(member: Member, context: Context, genes: Any) -> ValueError:
    describe = context.network.describe
    return ValueError(
        f"no mutation leads from {describe(member.genes)} to {describe(genes)}; its depth must lie within the "
        f"network's limits, and strides cannot change."
    )
