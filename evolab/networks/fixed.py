"""Networks of one shape, whose architecture does not evolve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gymnasium import spaces

from evolab.networks.base import Network, Role, Sizes, State


@dataclass(frozen=True)
class NoGenes:
    """What an agent has in the place of genes where the shape of a network never changes."""

    hidden: ClassVar[tuple[int, ...]] = ()
    activation: ClassVar[tuple[str, ...]] = ()


class FixedNetwork(Network[NoGenes]):
    """A network of one shape: parameters and hyperparameters of its agents evolve, the architecture stays."""

    def genes(self, observation_space: spaces.Space) -> NoGenes:
        """There are none."""
        return NoGenes()

    def capacity(self, genes: Sequence[NoGenes]) -> NoGenes:
        """All are alike."""
        return NoGenes()

    def stacks(self, genes: NoGenes) -> tuple[str, ...]:
        """None can grow."""
        return ()

    def sizes(self, genes: NoGenes) -> Sizes:
        """None."""
        return {}

    def resized(self, genes: NoGenes, gene: str, size: int) -> NoGenes:
        """Refused.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self.describe(genes)} has no sizes that mutate.")

    def deepened(
        self, role: Role, genes: NoGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """The same: there are no layers to add."""
        return state

    def shallowed(
        self, role: Role, genes: NoGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """The same: there are no layers to remove."""
        return state

    def to_json(self, genes: NoGenes) -> dict[str, Any]:
        """Nothing to write."""
        return {}

    def from_json(self, value: dict[str, object]) -> NoGenes:
        """The inverse of `to_json`."""
        return NoGenes()
