"""One agent taken out of the table: its identity, its genes and its tensors without padding.

This is the form in which agents are born, mutated, stacked and written to disk.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from evolab.networks.genes import Genes

MOMENTS = (".mean", ".square")
"""Adam's, of every parameter."""

KINDS = ("", ".target", *MOMENTS)
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
        slot: which place of the selection it fills. Rows move when the table is laid out anew; a
            subpopulation of the selection's must not.
        resting: id of the archived elite that it is a copy of, for as long as it acts and doesn't change;
            None for an agent that learns.
        tensors: `role + kind` -> parameter -> `[M, *shape]`, unpadded; kinds are `KINDS`. Statistics of what is
            normalised stand under "normaliser", see `Normaliser.fresh`.
        counts: role -> Adam's step count, a number or a tensor [].
    """

    id: int
    parent: int | None
    genes: Genes
    hyperparameters: dict[str, Any]
    fitness: list[float] = field(default_factory=list)
    steps: int = 0
    updates: int = 0
    slot: int = 0
    resting: int | None = None
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    counts: dict[str, float | Tensor] = field(default_factory=dict)

    def acted(self, steps: int) -> None:
        """Note environment steps of it."""
        self.steps += steps

    def learned(self, updates: int) -> None:
        """Note updates of it."""
        self.updates += updates

    def twin(self) -> Individual:
        """The same agent once more. Tensors are shared until replaced."""
        return dataclasses.replace(
            self,
            hyperparameters=dict(self.hyperparameters),
            fitness=list(self.fitness),
            tensors={name: dict(state) for name, state in self.tensors.items()},
            counts=dict(self.counts),
        )

    def child(self, id: int) -> Individual:
        """A copy under a new id that learns, without the parent's record. Tensors are shared until replaced."""
        return dataclasses.replace(self.twin(), id=id, parent=self.id, fitness=[], resting=None)
