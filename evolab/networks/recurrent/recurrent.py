"""Networks that remember: an encoder of what is observed now, a recurrent layer, an output that reads it.

What the gates of the recurrent layer are given by an observation is the output layer of another network, the encoder, an
MLP or a CNN like any other: it computes all steps at once, and evolves as it does alone. Only the units' own weights are
gone through step by step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from evolab.core import checks
from evolab.core.layers import DiagramLayer, in_words
from evolab.core.option_types import check_declared
from evolab.core.readonly import frozen_options
from evolab.networks.activations import orthogonal
from evolab.networks.base import CALLS, CHANGED, Axes, Axis, Layout, Network, Role, Sizes, State
from evolab.networks.cnn.cnn import CNN
from evolab.networks.mlp.mlp import MLP, MLPGenes
from evolab.networks.multi_input import MultiInput
from evolab.networks.observations import holds_image
from evolab.networks.recurrent.cells import CELLS
from evolab.networks.recurrent.genes import (
    LAST,
    OWN,
    PREFIX,
    EncoderGenes,
    RecurrentGenes,
    inner_of,
    outer_of,
)
from evolab.networks.recurrent.kernel import RecurrentKernel
from evolab.networks.recurrent.module import RememberingModule


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True, init=False)
class Recurrent(Network[RecurrentGenes]):
    """A network that remembers what it saw in an episode, for environments that do not show everything at once.

    An encoder reads each observation, a GRU or LSTM remembers, a linear layer reads what it says. PPO, DQN and QR-DQN learn
    from sequences: they can have one. The encoder's layers and the units evolve; new units change nothing at first.

    Args:
        units: that remember, to start with.
        cell: "gru" or "lstm".
        encoder: `ev.MLP`, `ev.CNN`, `ev.MultiInput` or widths; None for one hidden layer of 64 units, or where the
            observations hold images `ev.MultiInput()`.
        steps: of the longest sequence that a gradient flows through. What is remembered may be older: it is handed on
            from sequence to sequence.
        burn_in: steps before a sequence of stored experience (DQN) that only warm up what is remembered, `steps` at most;
            None for 8, or `steps` where these are fewer. PPO, which learns from its newest steps, has none.
        min_units: fewest that mutations may leave.
        max_units: most that mutations may build.

    Raises:
        ValueError: a number below 1, an unknown cell, or a burn-in that is longer than a sequence.
        TypeError: another kind of encoder.

    >>> from gymnasium.spaces import Box
    >>> network = Recurrent(32)
    >>> network.describe(network.genes(Box(-1, 1, (3,))))
    '64 → GRU 32, relu'
    """

    bucketed: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    units: int
    cell: str
    encoder: Network | None
    steps: int
    burn_in: int
    min_units: int
    max_units: int

    def __init__(
        self,
        units: int = 64,
        cell: str = "gru",
        encoder: Network | Sequence[int] | None = None,
        *,
        steps: int = 32,
        burn_in: int | None = None,
        min_units: int = 16,
        max_units: int = 500,
    ) -> None:
        units = checks.positive_integer("Recurrent: units", units)
        if cell not in CELLS:
            raise ValueError(f"Recurrent: cell is {cell!r}; known are {', '.join(CELLS)}.")
        if isinstance(encoder, (list, tuple)):
            encoder = MLP(encoder)
        headless = isinstance(encoder, CNN) and not encoder.hidden
        if headless or not (encoder is None or isinstance(encoder, (MLP, CNN))):
            raise TypeError(
                f"Recurrent: encoder is {encoder!r}; ev.MLP(...), ev.CNN(...) or ev.MultiInput(...) with at least one "
                "hidden layer, or widths such as [64], are expected."
            )
        steps = checks.positive_integer("Recurrent: steps", steps)
        before = (
            min(8, steps) if burn_in is None else checks.positive_integer("Recurrent: burn_in", burn_in, 0)
        )
        if before > steps:
            raise ValueError(
                f"Recurrent: burn_in is {before}, and a sequence has steps={steps}: most of what is computed would teach "
                "nothing. A burn_in of at most steps is expected."
            )
        options = {
            "units": units,
            "cell": cell,
            "encoder": encoder,
            "steps": steps,
            "burn_in": before,
            "min_units": min(checks.positive_integer("Recurrent: min_units", min_units), units),
            "max_units": max(checks.positive_integer("Recurrent: max_units", max_units), units),
        }
        for option, value in options.items():
            object.__setattr__(self, option, value)

    # The encoder ------------------------------------------------------------------------------

    def _encoder(self, genes: RecurrentGenes) -> Network[Any]:
        """The network that the encoder's genes belong to."""
        if self.encoder is not None:
            return self.encoder
        return MLP([64]) if isinstance(genes.encoder, MLPGenes) else MultiInput()

    def _gates(self, role: Role, genes: RecurrentGenes) -> Role:
        """What the encoder is for: it gives every gate of every unit a number."""
        gain = None if role.gain is None else 1.0
        return replace(role, outputs=CELLS[self.cell].gates * genes.units, gain=gain, parts=(), choices=None)

    # The contract -----------------------------------------------------------------------------

    def genes(self, observation_space: spaces.Space) -> RecurrentGenes:
        """The starting architecture."""
        default: Network[Any] = MultiInput() if holds_image(observation_space) else MLP([64])
        return RecurrentGenes((self.encoder or default).genes(observation_space), self.units)

    def memory(self, genes: RecurrentGenes) -> tuple[int, int]:
        """One number of each unit of a GRU, two of an LSTM's."""
        return CELLS[self.cell].memories, genes.units

    def axes(self, role: Role, genes: RecurrentGenes) -> Axes:
        """Of the encoder, whose last layer gives [G, H, I], then `recurrent.weight` [G, H, H] and the output's [O, H]."""
        gates, unit = Axis(CELLS[self.cell].gates), Axis(genes.units, "units")
        found: Axes = {}
        for name, axes in self._encoder(genes).axes(self._gates(role, genes), genes.encoder).items():
            last = name in LAST
            found[PREFIX + name] = (gates, unit, *axes[1:]) if last else axes
        before = replace(unit, incoming=True)
        found |= {"recurrent.weight": (gates, unit, before), "recurrent.bias": (gates, unit)}
        return found | {
            "output.weight": (Axis(role.outputs), before),
            "output.bias": (Axis(role.outputs),),
        }

    def initialise(self, role: Role, genes: RecurrentGenes, generator: torch.Generator) -> State:
        """As torch.nn.GRU (or LSTM) and torch.nn.Linear draw theirs."""
        gates = self._gates(role, genes)
        inner = self._encoder(genes).initialise(gates, genes.encoder, generator)
        bound = genes.units**-0.5

        def drawn(*shape: int) -> Tensor:
            return torch.empty(shape).uniform_(-bound, bound, generator=generator)

        inner |= {name: drawn(*inner[name].shape) for name in LAST}
        count, units = CELLS[self.cell].gates, genes.units
        shapes = (count, units, units), (count, units), (role.outputs, units), (role.outputs,)
        return outer_of(inner, {name: drawn(*shape) for name, shape in zip(OWN, shapes, strict=True)}, count)

    def started(self, role: Role, state: State, generator: torch.Generator) -> State:
        """With orthogonal weights where the role wants them; those of the recurrent layer keep lengths as they are."""
        if role.gain is None:
            return state
        across, shift = state["recurrent.weight"], state["recurrent.bias"]
        own = orthogonal(
            {"output.weight": across.flatten(0, 1), "output.bias": shift.flatten()}, 1.0, generator
        )
        found = {
            "recurrent.weight": own["output.weight"].view_as(across),
            "recurrent.bias": own["output.bias"].view_as(shift),
            **orthogonal({name: state[name] for name in LAST}, role.gain, generator),
        }
        return outer_of(orthogonal(inner_of(state), 1.0, generator), found, CELLS[self.cell].gates)

    def capacity(self, genes: Sequence[RecurrentGenes]) -> RecurrentGenes:
        """The largest of every size."""
        encoder = self._encoder(genes[0]).capacity([one.encoder for one in genes])
        return RecurrentGenes(encoder, max(one.units for one in genes))

    def kernel(self, role: Role, genes: Sequence[RecurrentGenes], layout: Layout) -> RecurrentKernel:
        """The batched pass for these agents."""
        names = [name.removeprefix(PREFIX) for name in layout.names if name not in OWN]
        shapes = []
        for name, shape in zip(names, layout.shapes, strict=False):
            last = name in LAST
            shapes.append((shape[0] * shape[1], *shape[2:]) if last else shape)
        inner = Layout.of(
            {name: tuple(Axis(size) for size in shape) for name, shape in zip(names, shapes, strict=True)}
        )
        units = layout.shapes[layout.names.index("recurrent.bias")][1]
        gates = replace(role, outputs=CELLS[self.cell].gates * units)
        encoder = self._encoder(genes[0]).kernel(gates, [one.encoder for one in genes], inner)
        return RecurrentKernel(role, CELLS[self.cell], encoder, layout)

    def key(self, genes: RecurrentGenes) -> Hashable:
        """The encoder's."""
        return self._encoder(genes).key(genes.encoder)

    def order(self, genes: RecurrentGenes) -> Any:
        """As the encoder wants it, then by units."""
        return (self._encoder(genes).order(genes.encoder), -genes.units)

    def cost(self, role: Role, genes: RecurrentGenes) -> float:
        """The encoder's, and a product of the units with themselves."""
        inner = self._encoder(genes).cost(self._gates(role, genes), genes.encoder)
        own = genes.units * (CELLS[self.cell].gates * genes.units + role.outputs)
        return inner + role.ensemble_size * own

    def module(self, role: Role, genes: RecurrentGenes, state: State) -> nn.Module:
        """A plain module around torch's own cell; see `RememberingModule`."""
        inner = self._encoder(genes).module(self._gates(role, genes), genes.encoder, inner_of(state))
        return RememberingModule(inner, CELLS[self.cell], state)

    def describe(self, genes: RecurrentGenes) -> str:
        """The encoder, the cell and its units, the encoder's activations: "64 → GRU 32, relu"."""
        return f"{in_words(self.diagram(genes))}, {'/'.join(dict.fromkeys(genes.activation))}"

    def diagram(self, genes: RecurrentGenes) -> tuple[DiagramLayer, ...]:
        """The encoder's, and the recurrent layer."""
        return (*self._encoder(genes).diagram(genes.encoder), DiagramLayer(self.cell.upper(), genes.units))

    def resized(self, genes: RecurrentGenes, gene: str, size: int) -> RecurrentGenes:
        """`genes` with one size changed."""
        if gene == "units":
            return dataclasses.replace(genes, units=size)
        return self._with(genes, self._encoder(genes).resized(genes.encoder, gene, size))

    def sizes(self, genes: RecurrentGenes) -> Sizes:
        """The encoder's, and the units, which step by 16, 32 or 64."""
        own = genes.units, self.min_units, self.max_units, (16, 32, 64)
        return {**self._encoder(genes).sizes(genes.encoder), "units": own}

    def activated(self, genes: RecurrentGenes, kind: str) -> RecurrentGenes | None:
        """`genes` with another activation in the encoder."""
        found = self._encoder(genes).activated(genes.encoder, kind)
        return None if found is None else self._with(genes, found)

    def stacks(self, genes: RecurrentGenes) -> tuple[str, ...]:
        """The encoder's."""
        return self._encoder(genes).stacks(genes.encoder)

    def deeper(self, genes: RecurrentGenes, stack: str = "hidden") -> RecurrentGenes | None:
        """One more layer of the encoder."""
        found = self._encoder(genes).deeper(genes.encoder, stack)
        return None if found is None else self._with(genes, found)

    def shallower(self, genes: RecurrentGenes, stack: str = "hidden") -> RecurrentGenes | None:
        """One fewer."""
        found = self._encoder(genes).shallower(genes.encoder, stack)
        return None if found is None else self._with(genes, found)

    def deepened(
        self, role: Role, genes: RecurrentGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """As the encoder does it."""
        about = self._gates(role, genes), genes.encoder, inner_of(state), moment, stack
        return outer_of(self._encoder(genes).deepened(*about), state, CELLS[self.cell].gates)

    def shallowed(
        self, role: Role, genes: RecurrentGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """As the encoder does it."""
        about = self._gates(role, genes), genes.encoder, inner_of(state), moment, stack
        return outer_of(self._encoder(genes).shallowed(*about), state, CELLS[self.cell].gates)

    @staticmethod
    def _with(genes: RecurrentGenes, encoder: EncoderGenes) -> RecurrentGenes:
        return dataclasses.replace(genes, encoder=encoder)

    def to_json(self, genes: RecurrentGenes) -> dict[str, Any]:
        """`genes` as plain values."""
        return {"encoder": self._encoder(genes).to_json(genes.encoder), "units": genes.units}

    def from_json(self, value: dict[str, Any]) -> RecurrentGenes:
        """The inverse of `to_json`."""
        check_declared(RecurrentGenes, {"units": value["units"]})
        if value["units"] < 1:
            raise ValueError(f"units is {value['units']}; at least 1 is expected.")
        default: Network[Any] = MultiInput() if "encoders" in value["encoder"] else MLP([64])
        return RecurrentGenes((self.encoder or default).from_json(value["encoder"]), int(value["units"]))
