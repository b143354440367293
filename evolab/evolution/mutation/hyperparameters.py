"""One hyperparameter, drawn uniformly, or every one: it steps up or down within its range, or is drawn anew."""

from __future__ import annotations

import numpy as np

from evolab.evolution.mutation.context import Context
from evolab.population.individual import Individual


def change_hyperparameter(
    individual: Individual, context: Context, generator: np.random.Generator
) -> str | None:
    """Step one evolvable hyperparameter, up or down with equal chance, or draw its value anew; or all of them.

    Source of the draw, and of changing all: Jaderberg et al. 2017, Population Based Training of Neural
    Networks, section 4.1.1.
    """
    if not context.search_space:
        return None
    names = list(context.search_space)
    if not context.together:
        names = [names[int(generator.integers(len(names)))]]
    return ", ".join(_changed(individual, context, name, generator) for name in names)


def _changed(individual: Individual, context: Context, name: str, generator: np.random.Generator) -> str:
    old, values = individual.hyperparameters[name], context.search_space[name]
    if context.resample and generator.random() < context.resample:
        new = values.sample(generator)
    else:
        new = values.step(old, up=bool(generator.random() < 0.5))
    individual.hyperparameters[name] = new
    return f"{name} {old:.4g} -> {new:.4g}"
