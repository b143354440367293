"""Multilayer perceptrons of different width, depth and activation in one batched pass.

Rows of a group come sorted by depth, deepest first, then by activation. Layer `l` therefore
works on the first `n_l` rows only, an activation on a contiguous stretch of them, and the
output layer reads each row's own last hidden layer. Nothing is computed for a layer that an
agent does not have; narrower agents are padded with sleeping units to the group's width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from evolab.core import checks
from evolab.core.option_types import check_declared
from evolab.core.readonly import frozen_options
from evolab.networks.activations import (
    ACTIVATIONS,
    check_activation,
    identity_layer,
    linear_state,
    merged_output,
    orthogonal,
)
from evolab.networks.base import CALLS, CHANGED, Axes, Axis, Layout, Network, Role, Sizes, State
from evolab.networks.kernels.build import library
from evolab.networks.mlp.compiled_kernel import CompiledMLPKernel
from evolab.networks.mlp.kernel import MLPKernel
from evolab.networks.observations import features


@dataclass(frozen=True)
class MLPGenes:
    """The architecture of one agent's perceptrons.

    Attributes:
        hidden: width of each hidden layer.
        activation: its activation, by name.
        reading: width that the output layer reads; 0 for the last hidden layer's. Differs only
            in the capacity of a group that mixes depths.
    """

    hidden: tuple[int, ...]
    activation: tuple[str, ...]
    reading: int = 0

    @property
    def last(self) -> int:
        """Width of the output layer's input."""
        return self.reading or self.hidden[-1]


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True, init=False)
class MLP(Network[MLPGenes]):
    """A multilayer perceptron over the flattened (one-hot, concatenated) observation.

    Args:
        hidden: widths of the hidden layers, at least one; a number for a single layer.
        activation: "relu", "elu", "gelu", "tanh", "silu" or "leaky_relu"; one for all layers.
        layer_norm: normalise every hidden layer before its activation.
        min_layers: fewest hidden layers that mutations may leave.
        max_layers: most hidden layers that mutations may build.
        min_units: narrowest layer that mutations may leave.
        max_units: widest layer that mutations may build.

    Raises:
        ValueError: no hidden layer, a width below 1, or an unknown activation.

    >>> MLP([64, 64]).describe(MLP([64, 64]).genes(None))
    '64x64 relu'
    """

    bucketed: ClassVar[bool] = True

    hidden: tuple[int, ...]
    activation: str
    layer_norm: bool
    min_layers: int
    max_layers: int
    min_units: int
    max_units: int

    def __init__(
        self,
        hidden: int | Sequence[int] = (64, 64),
        activation: str = "relu",
        layer_norm: bool = False,
        *,
        min_layers: int = 1,
        max_layers: int = 3,
        min_units: int = 16,
        max_units: int = 500,
    ) -> None:
        widths = checks.widths("MLP: hidden", hidden)
        check_activation("MLP", activation)
        options = {
            "hidden": widths,
            "activation": activation,
            "layer_norm": layer_norm,
            "min_layers": min(min_layers, len(widths)),
            "max_layers": max(max_layers, len(widths)),
            "min_units": min(min_units, *widths),
            "max_units": max(max_units, *widths),
        }
        for option, value in options.items():
            if option.startswith(("min_", "max_")):
                value = checks.positive_integer(f"MLP: {option}", value)
            object.__setattr__(self, option, value)

    def genes(self, observation_space: spaces.Space) -> MLPGenes:
        """The starting architecture, the same for every space."""
        return MLPGenes(self.hidden, (self.activation,) * len(self.hidden))

    def axes(self, role: Role, genes: MLPGenes) -> Axes:
        """`hidden.l.weight` [H_l, H_l-1], `hidden.l.bias` [H_l], `output.weight` [O, H], `output.bias` [O]."""
        axes: Axes = {}
        source = Axis(features(role.observation_space) + role.extra)
        for index, width in enumerate(genes.hidden):
            unit = Axis(width, f"hidden.{index}")
            axes[f"hidden.{index}.weight"] = (unit, source)
            axes[f"hidden.{index}.bias"] = (unit,)
            if self.layer_norm:
                axes[f"hidden.{index}.scale"] = (unit,)
                axes[f"hidden.{index}.shift"] = (unit,)
            source = Axis(width, f"hidden.{index}", incoming=True)
        read = Axis(genes.last, f"hidden.{len(genes.hidden) - 1}", incoming=True)
        axes["output.weight"] = (Axis(role.outputs), read)
        axes["output.bias"] = (Axis(role.outputs),)
        return axes

    def initialise(self, role: Role, genes: MLPGenes, generator: torch.Generator) -> State:
        """Weights as in torch.nn.Linear, normalisation at 1 and 0."""
        state: State = {}
        for name, axes in self.axes(role, genes).items():
            if name.endswith(".weight"):
                outputs, inputs = axes[0].size, axes[1].size
                weight, bias = linear_state(inputs, outputs, generator)
                state[name], state[name.replace(".weight", ".bias")] = weight, bias
            elif name.endswith(".scale"):
                state[name] = torch.ones(axes[0].size)
            elif name.endswith(".shift"):
                state[name] = torch.zeros(axes[0].size)
        return {name: state[name] for name in self.axes(role, genes)}

    def started(self, role: Role, state: State, generator: torch.Generator) -> State:
        """With orthogonal weights where the role wants them."""
        return state if role.gain is None else orthogonal(state, role.gain, generator)

    def capacity(self, genes: Sequence[MLPGenes]) -> MLPGenes:
        """Per layer the widest agent that has it."""
        depth = max(len(gene.hidden) for gene in genes)
        widest = [max(gene.hidden[i] for gene in genes if len(gene.hidden) > i) for i in range(depth)]
        last = max(gene.hidden[-1] for gene in genes)
        return MLPGenes(tuple(widest), ("relu",) * depth, reading=last)

    def kernel(self, role: Role, genes: Sequence[MLPGenes], layout: Layout) -> MLPKernel:
        """The batched pass for these agents."""
        return MLPKernel(self.layer_norm, role, genes, layout)

    def computes_unpadded(self, like: Tensor) -> bool:
        """On a CPU, where the kernels could be compiled."""
        return like.device.type == "cpu" and library(like.dtype) is not None

    def unpadded_kernel(
        self, role: Role, genes: Sequence[MLPGenes], layouts: Sequence[Layout], dtype: torch.dtype
    ) -> CompiledMLPKernel:
        """The pass in C, every agent at its own width."""
        return CompiledMLPKernel(dtype, role, genes, layouts)

    def order(self, genes: MLPGenes) -> Any:
        """Deepest first, then by activation, then widest first."""
        return (-len(genes.hidden), genes.activation, tuple(-width for width in genes.hidden))

    def cost(self, role: Role, genes: MLPGenes) -> float:
        """Multiply-adds of one forward pass for one row of the batch, all members."""
        widths = (features(role.observation_space) + role.extra, *genes.hidden)
        inner = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
        return role.ensemble_size * (inner + genes.last * role.outputs)

    def module(self, role: Role, genes: MLPGenes, state: State) -> nn.Module:
        """`nn.Sequential` of Linear, LayerNorm and activations."""
        parts: list[nn.Module] = []
        inputs = features(role.observation_space) + role.extra
        for index, (width, kind) in enumerate(zip(genes.hidden, genes.activation, strict=True)):
            parts.append(_filled(nn.Linear(inputs, width), state, f"hidden.{index}", "weight", "bias"))
            if self.layer_norm:
                parts.append(_filled(nn.LayerNorm(width), state, f"hidden.{index}", "scale", "shift"))
            parts.append(ACTIVATIONS[kind].module())
            inputs = width
        parts.append(_filled(nn.Linear(inputs, role.outputs), state, "output", "weight", "bias"))
        return nn.Sequential(*parts).to(state["output.weight"].dtype)

    def describe(self, genes: MLPGenes) -> str:
        """Widths and activations: "64x96 relu"."""
        kinds = genes.activation[0] if len(set(genes.activation)) == 1 else "/".join(genes.activation)
        return f"{'x'.join(map(str, genes.hidden))} {kinds}"

    def sizes(self, genes: MLPGenes) -> Sizes:
        """Every hidden width, within the limits, in steps of 16, 32 or 64."""
        return {
            f"hidden.{index}": (width, self.min_units, self.max_units, (16, 32, 64))
            for index, width in enumerate(genes.hidden)
        }

    def resized(self, genes: MLPGenes, gene: str, size: int) -> MLPGenes:
        """`genes` with one hidden width changed."""
        index = int(gene.rsplit(".", 1)[1])
        return dataclasses.replace(genes, hidden=(*genes.hidden[:index], size, *genes.hidden[index + 1 :]))

    def activated(self, genes: MLPGenes, kind: str) -> MLPGenes | None:
        """`genes` with `kind` in every hidden layer."""
        return dataclasses.replace(genes, activation=(kind,) * len(genes.hidden))

    def deeper(self, genes: MLPGenes, stack: str = "hidden") -> MLPGenes | None:
        """One more hidden layer at the end, as wide as the last; linear where its activation is not idempotent."""
        if len(genes.hidden) >= self.max_layers:
            return None
        kind = genes.activation[-1] if ACTIVATIONS[genes.activation[-1]].idempotent else "identity"
        return MLPGenes((*genes.hidden, genes.hidden[-1]), (*genes.activation, kind))

    def shallower(self, genes: MLPGenes, stack: str = "hidden") -> MLPGenes | None:
        """Without the last hidden layer."""
        if len(genes.hidden) <= self.min_layers:
            return None
        return MLPGenes(genes.hidden[:-1], genes.activation[:-1])

    def deepened(
        self, role: Role, genes: MLPGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """The new layer starts as the identity."""
        prefix = f"hidden.{len(genes.hidden)}"
        bias = torch.zeros_like(state["output.weight"][:, 0, :])  # [M, H]
        new = {f"{prefix}.weight": identity_layer(bias, moment), f"{prefix}.bias": bias}
        if self.layer_norm:
            new |= {
                f"{prefix}.scale": bias if moment else torch.ones_like(bias),
                f"{prefix}.shift": bias.clone(),
            }
        head = {name: state[name] for name in ("output.weight", "output.bias")}
        return {name: value for name, value in state.items() if name not in head} | new | head

    def shallowed(
        self, role: Role, genes: MLPGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """The output layer takes over the removed layer's linear part."""
        last = f"hidden.{len(genes.hidden) - 1}"
        kept = {name: value for name, value in state.items() if not name.startswith((f"{last}.", "output."))}
        return kept | merged_output(state, last, moment)

    def to_json(self, genes: MLPGenes) -> dict[str, Any]:
        """`genes` as plain values."""
        return {"hidden": list(genes.hidden), "activation": list(genes.activation)}

    def from_json(self, value: dict[str, Any]) -> MLPGenes:
        """The inverse of `to_json`."""
        check_declared(MLPGenes, value)
        genes = MLPGenes(tuple(value["hidden"]), tuple(value["activation"]))
        pairs = list(zip_longest(genes.hidden, genes.activation))
        if not pairs or any(not width or width < 1 or name not in ACTIVATIONS for width, name in pairs):
            raise ValueError(
                f"hidden is {list(genes.hidden)}, activation {list(genes.activation)}; every layer has a width of at "
                f"least 1 and one of {', '.join(ACTIVATIONS)}."
            )
        return genes


def _filled(layer: nn.Module, state: State, prefix: str, weight: str, bias: str) -> nn.Module:
    layer = layer.to(state[f"{prefix}.{weight}"].dtype)
    with torch.no_grad():
        layer.weight.copy_(state[f"{prefix}.{weight}"])  # type: ignore[operator, union-attr]
        layer.bias.copy_(state[f"{prefix}.{bias}"])  # type: ignore[operator, union-attr]
    return layer
