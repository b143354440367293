"""One hyperparameter, drawn uniformly, steps up or down within its range."""

from __future__ import annotations

import numpy as np

from evolab.member import Member
from evolab.mutations.context import Context


def change_hyperparameter(member: Member, context: Context, generator: np.random.Generator) -> str | None:
    """Step one evolvable hyperparameter, up or down with equal chance."""
    if not context.search_space:
        return None
    names = list(context.search_space)
    name = names[int(generator.integers(len(names)))]
    old = member.hyperparameters[name]
    new = context.search_space[name].step(old, up=bool(generator.random() < 0.5))
    member.hyperparameters[name] = new
    return f"{name} {old:.4g} -> {new:.4g}"
