"""One hyperparameter, drawn uniformly, steps up or down within its range, or is drawn anew from it."""

from __future__ import annotations

import numpy as np

from evolab.member import Member
from evolab.mutations.context import Context


def change_hyperparameter(member: Member, context: Context, generator: np.random.Generator) -> str | None:
    """Step one evolvable hyperparameter, up or down with equal chance, or draw its value anew.

    Source of the draw: Jaderberg et al. 2017, Population Based Training of Neural Networks, section 4.1.1.
    """
    if not context.search_space:
        return None
    names = list(context.search_space)
    name = names[int(generator.integers(len(names)))]
    old = member.hyperparameters[name]
    values = context.search_space[name]
    if context.resample and generator.random() < context.resample:
        new = values.sample(generator)
    else:
        new = values.step(old, up=bool(generator.random() < 0.5))
    member.hyperparameters[name] = new
    return f"{name} {old:.4g} -> {new:.4g}"
