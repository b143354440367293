"""Noisy layers: every weight of a fully connected layer has a mean and a size of its noise, both learned.

The recipe stands around another one and has its genes. An agent's row is that network's, the means, and behind them a size
for each weight and bias of its fully connected layers, with the same axes: so both grow, shrink and are padded together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from gymnasium import spaces
from torch import Tensor, nn

from evolab.core.layers import DiagramLayer
from evolab.networks.base import Axes, Dense, Layout, Network, Role, Sizes, State
from evolab.networks.genes import Genes
from evolab.networks.kernel import Kernel
from evolab.networks.noisy.kernel import NoisyKernel, NoisyRows

PREFIX = "noise."
"""Of the sizes of the noise, by the names of what it disturbs."""

START = 0.5
"""Size of the noise at first, as a multiple of 1 / sqrt(inputs of the layer): the source's."""


@dataclass(frozen=True)
class NoisyLayers(Network[Any]):
    """A network whose fully connected layers compute with `mean + size * noise`; what noise there is, the caller says.

    With none it computes with the means. Noise is factorised: a weight's is the product of one number of its input and one
    of its output, a bias's that of its output; see `noise.disturbed`.

    Attributes:
        inner: the network of the means.

    Source: Fortunato et al. 2018, Noisy Networks for Exploration, eq. 9 to 11; where sizes start, section 3.2.
    """

    inner: Network[Any]

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """As the inner network does."""
        return self.inner.remembers

    def layers(self, role: Role, genes: Genes) -> tuple[Dense, ...]:
        """The layers that noise disturbs.

        Raises:
            ValueError: there are none.
        """
        found = self.inner.dense(role, genes)
        if not found:
            raise ValueError(
                f"noisy layers: {self.inner.describe(genes)} has no fully connected layer whose weight is [O, I]; "
                "leave noisy out, or use ev.MLP or ev.CNN."
            )
        return found

    def genes(self, observation_space: spaces.Space) -> Genes:
        """The inner network's."""
        return self.inner.genes(observation_space)

    def axes(self, role: Role, genes: Genes) -> Axes:
        """The inner network's, then "noise.NAME" for each parameter NAME of a fully connected layer, with its axes."""
        means = self.inner.axes(role, genes)
        return means | {
            PREFIX + name: means[name] for layer in self.layers(role, genes) for name in layer.names
        }

    def initialise(self, role: Role, genes: Genes, generator: torch.Generator) -> State:
        """Means as the inner network starts, sizes at 0.5 / sqrt(inputs)."""
        return self.inner.initialise(role, genes, generator) | self._sizes(role, genes)

    def _sizes(self, role: Role, genes: Genes) -> State:
        """First sizes of the noise."""
        axes, found = self.inner.axes(role, genes), {}
        for layer in self.layers(role, genes):
            shapes = {name: [axis.size for axis in axes[name]] for name in layer.names}
            inputs = sum(torch.Size(shapes[name][1:]).numel() for name in layer.weights)
            for name, shape in shapes.items():
                found[PREFIX + name] = torch.full(shape, START / max(inputs, 1) ** 0.5)
        return found

    def started(self, role: Role, state: State, generator: torch.Generator) -> State:
        """Means as the role wants them."""
        means, sizes = _apart(state)
        return self.inner.started(role, means, generator) | sizes

    def capacity(self, genes: Sequence[Genes]) -> Genes:
        """The inner network's."""
        return self.inner.capacity(genes)

    def kernel(self, role: Role, genes: Sequence[Genes], layout: Layout) -> NoisyKernel:
        """The inner network's pass, with other weights."""
        inner = _first(layout)
        return self._kernel(self.inner.kernel(role, genes, inner), role, genes, [layout] * len(genes))

    def computes_unpadded(self, like: Tensor) -> bool:
        """As the inner network does."""
        return self.inner.computes_unpadded(like)

    def unpadded_kernel(
        self, role: Role, genes: Sequence[Genes], layouts: Sequence[Layout], dtype: torch.dtype
    ) -> NoisyKernel:
        """The inner network's pass, with other weights."""
        inner = self.inner.unpadded_kernel(role, genes, [_first(one) for one in layouts], dtype)
        return self._kernel(inner, role, genes, layouts)

    def _kernel(
        self, inner: Kernel, role: Role, genes: Sequence[Genes], layouts: Sequence[Layout]
    ) -> NoisyKernel:
        """Rows of one layout that follow each other are disturbed together, each by its own numbers."""
        runs: list[NoisyRows] = []
        start = 0
        for stop in range(1, len(genes) + 1):
            if stop == len(genes) or layouts[stop] != layouts[start]:
                layers = [self.layers(role, one) for one in genes[start:stop]]
                own = [self.inner.axes(role, one) for one in genes[start:stop]]
                about = slice(start, stop), layouts[start], _first(layouts[start])
                runs.append(NoisyRows.of(*about, layers, own, PREFIX))
                start = stop
        return NoisyKernel(inner, runs)

    def dense(self, role: Role, genes: Genes) -> tuple[Dense, ...]:
        """The inner network's."""
        return self.inner.dense(role, genes)

    def cost(self, role: Role, genes: Genes) -> float:
        """The inner network's, and two for each weight, which are little beside a batch."""
        return self.inner.cost(role, genes)

    def module(self, role: Role, genes: Genes, state: State) -> nn.Module:
        """The inner network with the means."""
        return self.inner.module(role, genes, _apart(state)[0])

    def memory(self, genes: Genes) -> tuple[int, int]:
        """The inner network's."""
        return self.inner.memory(genes)

    def key(self, genes: Genes) -> Hashable:
        """The inner network's."""
        return self.inner.key(genes)

    def order(self, genes: Genes) -> Any:
        """The inner network's."""
        return self.inner.order(genes)

    def describe(self, genes: Genes) -> str:
        """The inner network's."""
        return self.inner.describe(genes)

    def diagram(self, genes: Genes) -> tuple[DiagramLayer, ...]:
        """The inner network's."""
        return self.inner.diagram(genes)

    def resized(self, genes: Genes, gene: str, size: int) -> Genes:
        """The inner network's."""
        return self.inner.resized(genes, gene, size)

    def sizes(self, genes: Genes) -> Sizes:
        """The inner network's."""
        return self.inner.sizes(genes)

    def deepened(self, role: Role, genes: Genes, state: State, moment: bool, stack: str = "hidden") -> State:
        """The means as the inner network has them; what is new is as noisy as at first."""
        after = cast(Genes, self.inner.deeper(genes, stack))
        means, sizes = _apart(state)
        found = self.inner.deepened(role, genes, means, moment, stack)
        return found | self._carried(role, after, means, sizes, found, moment)

    def shallowed(self, role: Role, genes: Genes, state: State, moment: bool, stack: str = "hidden") -> State:
        """The means as the inner network has them; what is new is as noisy as at first."""
        after = cast(Genes, self.inner.shallower(genes, stack))
        means, sizes = _apart(state)
        found = self.inner.shallowed(role, genes, means, moment, stack)
        return found | self._carried(role, after, means, sizes, found, moment)

    def _carried(
        self, role: Role, genes: Genes, before: State, sizes: State, means: State, moment: bool
    ) -> State:
        """Sizes of the noise after a change of layers: kept where the means are the same tensors, else as at first."""
        carried = {}
        for name, value in self._sizes(role, genes).items():
            own = name.removeprefix(PREFIX)
            if means[own] is before.get(own) and name in sizes:
                carried[name] = sizes[name]
            else:
                fresh = torch.zeros_like(value) if moment else value
                carried[name] = fresh.to(means[own]).expand(len(means[own]), *value.shape).clone()
        return carried

    def to_json(self, genes: Genes) -> dict[str, Any]:
        """The inner network's."""
        return self.inner.to_json(genes)

    def from_json(self, value: dict[str, object]) -> Genes:
        """The inner network's."""
        return self.inner.from_json(value)


def _apart(state: State) -> tuple[State, State]:
    """The means, and the sizes of the noise, under their names here."""
    sizes = {name: value for name, value in state.items() if name.startswith(PREFIX)}
    return {name: value for name, value in state.items() if name not in sizes}, sizes


def _first(layout: Layout) -> Layout:
    """The layout of the means, which come first in a row."""
    count = sum(not name.startswith(PREFIX) for name in layout.names)
    size = layout.offsets[count] if count < len(layout.names) else layout.size
    return Layout(
        layout.names[:count], layout.shapes[:count], layout.strides[:count], layout.offsets[:count], size
    )
