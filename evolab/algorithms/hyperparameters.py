"""Numbers that agents learn by: what one is, and those that several algorithms share, with their default ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from evolab.core.ranges import Choice, Float, Integer, Range


@dataclass(frozen=True)
class Hyperparameter:
    """A number that an agent learns by.

    Attributes:
        default: starting value.
        limits: every value that makes sense; what a search space may not leave.
        search: range of the default search space; None where it is not evolved by default.
        text: what it does, with its unit.
        complement: True where its distance to 1 matters by factors, as a discount's does.
        absent: the value of agents that were saved before it was a hyperparameter; None where every file has it.
        off: the value at which there is nothing of it, where that is usual: tables of agents then leave it out.
    """

    default: float
    limits: Range
    search: Range | None
    text: str
    complement: bool = False
    absent: float | None = None
    off: float | None = None

    def fitted(self, space: Range) -> Range:
        """A user's range with what it leaves open: steps as in the default range, and by `1 - value` where that counts."""
        if isinstance(space, Choice):
            return space
        if space.grow is None and self.search is not None and not isinstance(self.search, Choice):
            space = replace(space, grow=self.search.grow)
        if self.complement and isinstance(space, Float) and space.log and space.high < 1:
            space = replace(space, complement=True)
        return space


RATE = Float(1e-7, 1.0)
SHARED: dict[str, Hyperparameter] = {
    "discount": Hyperparameter(
        0.99, Float(0.0, 1.0, log=False), None, "weight of the next step's value", complement=True
    ),
    "tau": Hyperparameter(
        0.005, Float(0.0, 1.0, log=False), None, "share of the network that its target takes over"
    ),
    "batch_size": Hyperparameter(128, Integer(1, 65536), Integer(64, 512), "samples per update"),
    "learn_step": Hyperparameter(1, Integer(1, 100_000), None, "environment steps of the agent per update"),
}

ONLINE: dict[str, Hyperparameter] = {
    **SHARED,
    "discount": replace(SHARED["discount"], search=Float(0.98, 0.999)),
    "tau": replace(SHARED["tau"], search=Float(5e-3, 5e-2)),
    "n_step": Hyperparameter(
        1,
        Integer(1, 100),
        None,
        "steps whose rewards are summed before the value of the state that they lead to",
        absent=1,
    ),
    "hindsight": Hyperparameter(
        0.0,
        Float(0.0, 1.0, log=False),
        None,
        "share of samples with a goal that was reached later; 0.8 is 4 of 5",
        absent=0.0,
        off=0.0,
    ),
    "priority": Hyperparameter(
        0.0,
        Float(0.0, 1.0, log=False),
        None,
        "exponent of priorities by the size of temporal-difference errors: 0 draws evenly, 0.6 is usual",
        absent=0.0,
        off=0.0,
    ),
    "importance": Hyperparameter(
        0.4,
        Float(0.0, 1.0, log=False),
        None,
        "exponent of the weights that correct for priorities: 1 corrects for all of it",
        absent=0.4,
        off=0.4,
    ),
}
"""As `SHARED`, for algorithms that learn by acting; those that learn from data take what suits the data."""


def of_data(acting: Mapping[str, Hyperparameter], *exploring: str) -> dict[str, Hyperparameter]:
    """What an algorithm that learns from data takes over from one that learns by acting, with `SHARED` in its place.

    Args:
        acting: of the other algorithm.
        exploring: names of those that it explores by.
    """
    apart = {*exploring, "persistence", *(ONLINE.keys() - SHARED.keys())}
    return {name: value for name, value in acting.items() if name not in apart} | SHARED


ACTOR_CRITIC: dict[str, Hyperparameter] = {
    "lr_actor": Hyperparameter(3e-4, RATE, Float(1e-4, 1e-3, grow=2.0), "learning rate of the policy"),
    "lr_critic": Hyperparameter(1e-3, RATE, Float(3e-4, 3e-3, grow=2.0), "learning rate of the critics"),
    **ONLINE,
    "discount": replace(ONLINE["discount"], search=Float(0.98, 0.995)),
}
"""As `ONLINE`, for a policy that follows its critics: they have to learn faster than it does.

Eight SAC agents that did not evolve, of which the first kept these values, earned -88 in the mean on
LunarLanderContinuous-v3 after 40 000 steps, with discounts up to 0.999 and persistence up to 4, and 160 where all
had 0.99 and 1 (seed 100); which of the two it was is not known.
"""
