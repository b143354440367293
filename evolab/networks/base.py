"""The contract of a network: a stateless recipe that computes for many agents at once.

A network never holds weights. It says which parameters an agent with given genes has (`axes`), draws their first values,
and maps `[P, B, ...]` to `[P, B, ...]` for P agents whose parameters lie in a flat row each. Every axis carries the label of
the gene that sets its size; growth, shrinkage, padding and export follow from these: mutations are written once for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Generic, TypeVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from evolab.core.layers import DiagramLayer, linear
from evolab.networks.genes import Genes
from evolab.networks.kernel import Kernel

CHANGED = "network=ev.{kind}({name}={value}), for another experiment"
"""How an option of a network is changed; see `core.readonly.frozen_options`."""

CALLS = "ev.Experiment(env, network={made})"
"""What to call with a network; see `core.shown.shows_calls`."""


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter.

    Attributes:
        size: its length for the genes at hand.
        gene: label of the gene that sets it, such as "hidden.0"; None where it is fixed.
        incoming: True where the axis counts the units that the parameter feeds *from*. A new
            unit's entries there are zero, which is what preserves the function.
        centred: True where it grows around its middle and shrinks to it, as the sides of a kernel do.
    """

    size: int
    gene: str | None = None
    incoming: bool = False
    centred: bool = False


Axes = dict[str, tuple[Axis, ...]]
State = dict[str, Tensor]
Sizes = dict[str, tuple[int, int, int, tuple[int, ...]]]
"""Resizable genes by label: current size, lower limit, upper limit, steps to choose from."""


G = TypeVar("G", bound=Genes)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer, by the names of its parameters.

    Attributes:
        weights: [O, ...] each; what they read stands side by side.
        bias: [O]; None where it has none, or shares one.
    """

    weights: tuple[str, ...]
    bias: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of all its parameters."""
        return self.weights if self.bias is None else (*self.weights, self.bias)


@dataclass(frozen=True, eq=False)
class Role:
    """What one network of an agent is for.

    Attributes:
        observation_space: of a single observation.
        outputs: O, the width of the output.
        extra: width of a further input vector, such as the action that a critic values.
        ensemble_size: M, how many independent networks of the same shape (twin critics have 2).
        has_target: True if a slowly following copy is kept.
        rate: name of the hyperparameter that is its learning rate.
        choices: first and behind the last of the outputs that are actions; None for all of them.
        network: a recipe of its own, such as `Scalars`; None for the agent's, whose genes it shares.
        gain: of the last layer where weights start orthogonal, as on-policy learners want it; None for torch's start.
        parts: how many of the outputs belong to each of several choices at once; empty for others.
        around: what is made of the recipe, such as `NoisyLayers`, with the same genes; None for nothing.
    """

    observation_space: spaces.Space
    outputs: int
    extra: int = 0
    ensemble_size: int = 1
    has_target: bool = True
    rate: str = "lr"
    choices: tuple[int, int] | None = None
    network: Network | None = None
    gain: float | None = None
    parts: tuple[int, ...] = ()
    around: Callable[[Network], Network] | None = None

    def recipe(self, network: Network) -> Network:
        """Its own network, or the agent's, with what stands around it."""
        recipe = self.network or network
        return recipe if self.around is None else self.around(recipe)


@dataclass(frozen=True)
class Layout:
    """Where the parameters of one network lie within a flat row."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    size: int

    @staticmethod
    def of(axes: Axes) -> Layout:
        """The layout that puts the parameters one after another."""
        shapes = tuple(tuple(axis.size for axis in parameter) for parameter in axes.values())
        offsets, total = [], 0
        for shape in shapes:
            offsets.append(total)
            total += prod(shape)
        strides = tuple(tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))) for shape in shapes)
        return Layout(tuple(axes), shapes, strides, tuple(offsets), total)

    def views(self, flat: Tensor) -> State:
        """Named views into `flat` [..., N]: each [..., *shape], sharing its memory."""
        return {
            name: flat[..., offset : offset + prod(shape)].unflatten(-1, shape)
            for name, shape, offset in zip(self.names, self.shapes, self.offsets, strict=True)
        }

    def parts(self, row: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> State:
        """Named views into one agent's row [M, N]: each [M, *shape], without the padding.

        Args:
            row: with entries next to each other.
            shapes: of the agent's own parameters; no larger than the layout's.
        """
        members, apart, start = row.shape[0], row.stride(0), row.storage_offset()
        return {
            name: row.as_strided((members, *shapes[name]), (apart, *stride), start + offset)
            for name, stride, offset in zip(self.names, self.strides, self.offsets, strict=True)
            if name in shapes
        }


class Network(ABC, Generic[G]):
    """A family of architectures with genes of one class. A subclass is a frozen dataclass of the user's options."""

    bucketed: ClassVar[bool] = False
    """True where agents of different shape may share a group, each bucket of them computed apart."""

    reads_tokens: ClassVar[bool] = False
    """True where an observation is a sequence of tokens, of which every position gets an answer."""

    remembers: ClassVar[bool] = False
    """True where outputs depend on what was observed before: its kernels read `Sequences` too."""

    steps: int = 1
    """Of the longest sequence that a gradient flows through, where it remembers."""

    burn_in: int = 0
    """Steps before a stored sequence that only warm up what is remembered."""

    @abstractmethod
    def genes(self, observation_space: spaces.Space) -> G:
        """The architecture that a population starts from."""

    @abstractmethod
    def axes(self, role: Role, genes: G) -> Axes:
        """Parameters by name, each with its labelled axes."""

    @abstractmethod
    def initialise(self, role: Role, genes: G, generator: torch.Generator) -> State:
        """First values of the parameters of one member, drawn as torch draws its own."""

    def started(self, role: Role, state: State, generator: torch.Generator) -> State:
        """First values as a role wants them, from `initialise`'s; a network of the user's own starts as it says."""
        return state

    @abstractmethod
    def capacity(self, genes: Sequence[G]) -> G:
        """The smallest genes in which every one of `genes` has room."""

    @abstractmethod
    def kernel(self, role: Role, genes: Sequence[G], layout: Layout) -> Kernel:
        """The batched pass of these agents, whose rows are padded to a common layout."""

    @abstractmethod
    def cost(self, role: Role, genes: G) -> float:
        """Multiply-adds of a pass of one row, as far as padding adds to them: agents of like cost make up a group."""

    @abstractmethod
    def module(self, role: Role, genes: G, state: State) -> nn.Module:
        """A plain, unpadded module of one member: encoded features (and extra) to outputs."""

    def computes_unpadded(self, like: Tensor) -> bool:
        """True where `unpadded_kernel` serves the device and precision of a tensor: any agents make up one bucket."""
        return False

    def unpadded_kernel(
        self, role: Role, genes: Sequence[G], layouts: Sequence[Layout], dtype: torch.dtype
    ) -> Kernel:
        """The batched pass of agents that are each laid out apart; asked for where `computes_unpadded`.

        Args:
            role: of the networks.
            genes: of each agent.
            layouts: of each agent.
            dtype: of the parameters.
        """
        raise TypeError(f"{type(self).__name__} pads its agents to a common layout.")

    def dense(self, role: Role, genes: G) -> tuple[Dense, ...]:
        """Its fully connected layers, which can be noisy: those with a weight [O, I], as a rule."""
        axes = self.axes(role, genes)
        weights = [name for name, own in axes.items() if name.endswith("weight") and len(own) == 2]
        biases = [f"{name.removesuffix('weight')}bias" for name in weights]
        pairs = zip(weights, biases, strict=True)
        return tuple(Dense((weight,), bias if bias in axes else None) for weight, bias in pairs)

    def memory(self, genes: G) -> tuple[int, int]:
        """C and H: numbers that a unit remembers, and units that do; none where it does not remember."""
        return 0, 0

    def key(self, genes: G) -> Hashable:
        """Agents of different key never share a group."""
        return ()

    def order(self, genes: G) -> Any:
        """Sort key of the agents within a group."""
        return 0

    @abstractmethod
    def describe(self, genes: G) -> str:
        """The architecture in a few characters, such as "64x64 relu"."""

    def diagram(self, genes: G) -> tuple[DiagramLayer, ...]:
        """The layers before the outputs, in the order of the computation; by default `genes.hidden`, fully connected."""
        return linear(genes.hidden)

    @abstractmethod
    def resized(self, genes: G, gene: str, size: int) -> G:
        """`genes` with one size changed."""

    @abstractmethod
    def sizes(self, genes: G) -> Sizes:
        """The genes that can be resized."""

    def activated(self, genes: G, kind: str) -> G | None:
        """`genes` with another activation in every hidden layer; None where there is none to change."""
        return None

    def stacks(self, genes: G) -> tuple[str, ...]:
        """Names of the stacks of layers that can grow and shrink on their own."""
        return ("hidden",)

    def deeper(self, genes: G, stack: str = "hidden") -> G | None:
        """`genes` with one more layer; None at the limit."""
        return None

    def shallower(self, genes: G, stack: str = "hidden") -> G | None:
        """`genes` with one layer fewer; None at the limit."""
        return None

    def deepened(self, role: Role, genes: G, state: State, moment: bool, stack: str = "hidden") -> State:
        """Tensors [M, ...] of `deeper(genes)` from those of `genes`; zeros for what is new in a moment."""
        raise TypeError(f"{type(self).__name__} cannot grow deeper.")

    def shallowed(self, role: Role, genes: G, state: State, moment: bool, stack: str = "hidden") -> State:
        """Tensors [M, ...] of `shallower(genes)` from those of `genes`."""
        raise TypeError(f"{type(self).__name__} cannot become shallower.")

    def files(self, genes: dict[str, object], state: State) -> dict[str, Any]:
        """Further files of a saved agent, for other programs: tensors by name, or plain values, by file name.

        Args:
            genes: the policy's, as `to_json` gives them.
            state: the policy's parameters.
        """
        return {}

    @abstractmethod
    def to_json(self, genes: G) -> dict[str, Any]:
        """`genes` as plain values."""

    @abstractmethod
    def from_json(self, value: dict[str, object]) -> G:
        """The inverse of `to_json`."""
