"""One agent taken out of the table: its identity, its genes and its tensors without padding.

This is the form in which agents are born, mutated, stacked and written to disk.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

KINDS = ("", ".target", ".mean", ".square")
"""What a network keeps per parameter: the value, the target's value and Adam's two moments."""


@dataclass
class Individual:
    """An agent as a value.

    Attributes:
        id: unique within the run.
        parent: id of the parent, None in the first population.
        genes: the architecture, an object of the network's own.
        hyperparameters: values by name.
        fitness: past evaluations of this individual, newest last.
        steps: environment steps of its line.
        updates: gradient updates of its line.
        resting: id of the archived elite that it is a copy of, for as long as it acts and doesn't change;
            None for an agent that learns.
        place: which slot of the selection it fills. Rows move when the table is laid out anew;
            a subpopulation of the selection's must not.
        tensors: `role + kind` -> parameter -> [M, *shape], unpadded; kinds are `KINDS`.
        counts: role -> Adam's step count.
        extras: further rows of the algorithm's own, by name.
    """

    id: int
    parent: int | None
    genes: Any
    hyperparameters: dict[str, Any]
    fitness: list[float] = field(default_factory=list)
    steps: int = 0
    updates: int = 0
    place: int = 0
    resting: int | None = None
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def child(self, id: int) -> Individual:
        """A copy under a new id that learns, without the parent's record. Tensors are shared until replaced."""
        return dataclasses.replace(
            self,
            id=id,
            parent=self.id,
            hyperparameters=dict(self.hyperparameters),
            fitness=[],
            resting=None,
            tensors={name: dict(state) for name, state in self.tensors.items()},
            counts=dict(self.counts),
        )
