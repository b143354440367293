"""The genes of networks that remember, and the two parts of their parameters: the encoder's, and their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from evolab.networks.base import State
from evolab.networks.cnn.genes import CNNGenes
from evolab.networks.mlp.mlp import MLPGenes

EncoderGenes: TypeAlias = MLPGenes | CNNGenes

OWN = ("recurrent.weight", "recurrent.bias", "output.weight", "output.bias")
"""Parameters behind the encoder's."""

PREFIX = "encoder."
"""Of the encoder's parameters, whose last layer gives the gates."""

LAST = {"output.weight": 2, "output.bias": 1}
"""Parameters of that layer under the encoder's own names, and their axes there."""


@dataclass(frozen=True)
class RecurrentGenes:
    """The architecture of one agent.

    Attributes:
        encoder: of what reads an observation.
        units: of the recurrent layer.
    """

    encoder: EncoderGenes
    units: int

    @property
    def hidden(self) -> tuple[int, ...]:
        """Sizes of the encoder's layers, then the units that remember."""
        return (*self.encoder.hidden, self.units)

    @property
    def activation(self) -> tuple[str, ...]:
        """Of the encoder's layers."""
        return self.encoder.activation


def inner_of(state: State) -> State:
    """The encoder's tensors [..., *shape] under its own names; in its last layer all gates behind one another."""
    found = {name.removeprefix(PREFIX): value for name, value in state.items() if name not in OWN}
    for name in LAST:
        gates = found[name].dim() - LAST[name] - 1
        found[name] = found[name].flatten(gates, gates + 1)
    return found


def outer_of(inner: State, own: State, gates: int) -> State:
    """The inverse: the encoder's tensors under their names here, the gates apart, and behind them `own`."""
    found = {
        PREFIX + name: value.unflatten(value.dim() - LAST[name], (gates, -1)) if name in LAST else value
        for name, value in inner.items()
    }
    return found | {name: own[name] for name in OWN}
