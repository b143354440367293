"""The genes of transformers, what their agents have in common, and every way to change one of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from evolab.core.option_types import check_declared


@dataclass(frozen=True)
class GPTGenes:
    """The architecture of one agent's transformers.

    Attributes:
        hidden: width of the feed-forward layer of each block; as many as there are blocks.
        heads: of every attention layer; they divide the width of the residual stream.
    """

    hidden: tuple[int, ...]
    heads: int
    activation: ClassVar[tuple[str, ...]] = ()  # GELU in its tanh form, which is not a gene

    @staticmethod
    def from_json(value: dict[str, Any], width: int) -> GPTGenes:
        """From plain values, for a residual stream of so many units.

        Raises:
            ValueError: they describe no transformer of this width.
        """
        check_declared(GPTGenes, value)
        genes = GPTGenes(tuple(value["hidden"]), value["heads"])
        if genes.heads < 1 or width % genes.heads:
            raise ValueError(f"{genes.heads} heads don't divide a width of {width}.")
        if min(genes.hidden, default=0) < 1:
            raise ValueError(
                f"hidden is {list(genes.hidden)}; a width of at least 1 for each block is expected."
            )
        return genes

    def with_units(self, block: int, units: int) -> GPTGenes:
        """Another width of one feed-forward layer."""
        return dataclasses.replace(self, hidden=(*self.hidden[:block], units, *self.hidden[block + 1 :]))

    def with_heads(self, count: int, width: int) -> GPTGenes:
        """The next number of heads, up or down towards `count`, that divides the width of the residual stream."""
        fitting = divisors(width)
        if count > self.heads:
            found = next((n for n in fitting if n >= count), self.heads)
        else:
            found = next((n for n in reversed(fitting) if n <= count), 1)
        return dataclasses.replace(self, heads=found)

    def deeper(self) -> GPTGenes:
        """One more block at the end, as wide as the last."""
        return dataclasses.replace(self, hidden=(*self.hidden, self.hidden[-1]))

    def shallower(self) -> GPTGenes:
        """Without the last block."""
        return dataclasses.replace(self, hidden=self.hidden[:-1])


@dataclass(frozen=True)
class Shape:
    """What all agents of a group have in common.

    Attributes:
        heads: of every attention layer.
        eps: of the layer norms.
        scaled: divide attention by the root of a head's width.
        by_layer: divide attention by the block's number too.
        tied: the outputs are products with the token embeddings.
    """

    heads: int
    eps: float
    scaled: bool
    by_layer: bool
    tied: bool


def divisors(width: int) -> list[int]:
    """The numbers of heads that divide a width."""
    return [n for n in range(1, width + 1) if width % n == 0]
