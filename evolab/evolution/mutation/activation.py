"""Another activation in the hidden layers of all networks of an agent."""

from __future__ import annotations

import numpy as np

from evolab.evolution.mutation.context import Context
from evolab.population.individual import Individual

CHOICES = ("relu", "elu", "gelu")


def change_activation(individual: Individual, context: Context, generator: np.random.Generator) -> str | None:
    """Draw an activation that is not the current one; output activations are not touched."""
    current = individual.genes.activation
    if not current:  # a module of the user's own
        return None
    others = [kind for kind in CHOICES if any(kind != layer for layer in current)]
    main = max(current, key=current.count)  # not over a set: its order changes from process to process
    others = [kind for kind in others if kind != main]
    chosen = others[int(generator.integers(len(others)))]
    changed = context.network.activated(individual.genes, chosen)
    if changed is None:
        return None
    individual.genes = changed
    return f"activation {main} -> {chosen}"
