"""How a group of networks with noisy layers is computed: their weights with the noise of now, then their own pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.base import Axes, Dense, Layout
from evolab.networks.genes import Genes
from evolab.networks.kernel import Backward, Kernel


@dataclass(frozen=True)
class Factors:
    """Where the noise of one fully connected layer stands among an agent's numbers, once these are in order.

    Attributes:
        weights: by name, first and behind the last number of its inputs, and the shape of what it reads.
        bias: its name; None where there is none.
        outputs: first and behind the last number of its outputs.
    """

    weights: dict[str, tuple[slice, tuple[int, ...]]]
    bias: str | None
    outputs: slice


@dataclass(frozen=True)
class NoisyRows:
    """Neighbouring rows of one layout.

    Attributes:
        rows: which they are in their bucket.
        layout: of a row.
        means: layout of its first part.
        layers: that are noisy.
        prefix: of the sizes of the noise.
        order: [P, F] int64, which of an agent's numbers stands where the layout has its units: padding has the last one.
        count: numbers that the largest of these agents needs.
    """

    rows: slice
    layout: Layout
    means: Layout
    layers: list[Factors]
    prefix: str
    order: Tensor
    count: int
    _orders: dict[torch.device, Tensor] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(
        rows: slice,
        layout: Layout,
        means: Layout,
        layers: Sequence[Sequence[Dense]],
        axes: Sequence[Axes],
        prefix: str,
    ) -> NoisyRows:
        """From each agent's own layers and axes: its numbers do not depend on how much it is padded."""
        padded, numbering = dict(zip(means.names, means.shapes, strict=True)), _Numbering(len(layers))
        factors = []
        for layer in max(layers, key=len):
            first = layer.weights[0]
            out = numbering.stretch(padded[first][:1], [_shape(own, first)[:1] for own in axes])
            into = {
                name: numbering.stretch(padded[name][1:], [_shape(own, name)[1:] for own in axes])
                for name in layer.weights
            }
            weights = {name: (numbers, padded[name][1:]) for name, numbers in into.items()}
            factors.append(Factors(weights, layer.bias, out))
        return NoisyRows(rows, layout, means, factors, prefix, *numbering.order())

    def factors(self, noise: Tensor) -> Tensor:
        """[P, F]: the numbers of these agents in the order of the layout, 0 for padding."""
        own = noise[self.rows, : self.count]
        padded = torch.cat([own, own.new_zeros(len(own), 1)], 1)
        if own.device not in self._orders:
            self._orders[own.device] = self.order.to(own.device)
        return padded.gather(1, self._orders[own.device])

    def products(self, noise: Tensor, scale: Tensor) -> dict[str, Tensor]:
        """By name, what multiplies the sizes of the noise: [P, 1, *shape]."""
        numbers, found = self.factors(noise), {}
        for layer in self.layers:
            out = (numbers[:, layer.outputs] * scale[self.rows, None]).unsqueeze(1)  # [P, 1, O]
            for name, (inputs, shape) in layer.weights.items():
                into = numbers[:, inputs].unflatten(1, shape)[:, None, None]  # [P, 1, 1, *I]
                found[name] = out.view(*out.shape, *[1] * len(shape)) * into
            if layer.bias is not None:
                found[layer.bias] = out
        return found


class _Numbering:
    """Which number of each of P agents stands where a layout has room for the largest of them."""

    def __init__(self, agents: int) -> None:
        self._taken, self._stop = [0] * agents, 0
        self._places: list[list[Tensor]] = [[] for _ in range(agents)]

    def stretch(self, padded: tuple[int, ...], own: Sequence[tuple[int, ...]]) -> slice:
        """Room of a padded shape, of which each agent numbers as much as its own shape fills."""
        for agent, shape in enumerate(own):
            room, size = torch.full(padded, -1, dtype=torch.int64), prod(shape)
            numbers = torch.arange(self._taken[agent], self._taken[agent] + size)
            room[tuple(slice(0, length) for length in shape)] = numbers.view(shape)
            self._taken[agent] += size
            self._places[agent].append(room.flatten())
        self._stop += prod(padded)
        return slice(self._stop - prod(padded), self._stop)

    def order(self) -> tuple[Tensor, int]:
        """[P, F] int64, and how many numbers the largest agent has; padding has the number behind them."""
        order, count = torch.stack([torch.cat(places) for places in self._places]), max(self._taken)
        return torch.where(order < 0, count, order), count


def _shape(axes: Axes, name: str) -> tuple[int, ...]:
    """Of an agent's own parameter; empty where it lacks the layer."""
    return tuple(axis.size for axis in axes[name]) if name in axes else (0, 0)


class NoisyKernel(Kernel):
    """The batched pass of one role: the inner network's, with the means, or with what noise makes of them.

    Args:
        inner: the pass of the means.
        runs: of the rows.
    """

    def __init__(self, inner: Kernel, runs: Sequence[NoisyRows]) -> None:
        self.inner, self.runs = inner, list(runs)
        self.noises = max(run.count for run in self.runs)
        self.size = max(run.means.size for run in self.runs)
        self._now: tuple[Tensor, Tensor] | None = None
        self._rooms: dict[Any, Tensor] = {}

    def disturb(self, noise: Tensor | None, scale: Tensor | None = None) -> None:
        """See `Kernel`."""
        self._now = None if noise is None or scale is None else (noise, scale)

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs; see `Kernel`."""
        return self.inner(self._disturbed(flat)[0], observation, extra, member)

    def _disturbed(self, flat: Tensor) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Weights [P, M, N] of the inner network, and what multiplies the sizes of their noise, run by run."""
        means = flat[..., : self.size]
        if self._now is None:
            return means, []
        if torch.is_grad_enabled() and flat.requires_grad:
            weights = means.clone()
        else:
            weights = self._room(flat, means).copy_(means)
        found = []
        for run in self.runs:
            products = run.products(*self._now)
            target = run.means.views(weights[run.rows, :, : run.means.size])
            sizes = run.layout.views(flat[run.rows, :, : run.layout.size])
            for name, product in products.items():
                target[name].addcmul_(sizes[run.prefix + name], product)
            found.append(products)
        return weights, found

    def _room(self, flat: Tensor, means: Tensor) -> Tensor:
        """Memory for the weights of now, the same each time: kernels remember where what they read lies."""
        key = flat.data_ptr(), flat.device, flat.dtype
        room = self._rooms.get(key)
        if room is None or room.shape != means.shape:
            room = self._rooms[key] = torch.empty_like(means, memory_format=torch.contiguous_format)
        return room

    def vjp_parameters(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None
    ) -> tuple[Tensor, Backward]:
        """The inner network's: a weight's gradient is its mean's, and times its noise that of the noise's size."""
        with torch.no_grad():
            weights, products = self._disturbed(flat)
        out, backward = self.inner.vjp_parameters(weights, observation, extra)

        def to_parameters(grad: Tensor) -> Tensor:
            inner = backward(grad)
            whole = torch.zeros_like(flat, memory_format=torch.contiguous_format)
            for index, run in enumerate(self.runs):
                own = inner[run.rows, :, : run.means.size]
                whole[run.rows, :, : run.means.size] = own
                if products:
                    reached, sizes = (
                        run.means.views(own),
                        run.layout.views(whole[run.rows, :, : run.layout.size]),
                    )
                    for name, product in products[index].items():
                        torch.mul(reached[name], product, out=sizes[run.prefix + name])
            self.inner.give_back(inner)
            return whole

        return out, to_parameters

    def vjp_extra(
        self, flat: Tensor, observation: Tree, extra: Tensor, member: int = 0
    ) -> tuple[Tensor, Backward]:
        """The inner network's."""
        return self.inner.vjp_extra(self._disturbed(flat)[0], observation, extra, member)

    def limit(self, length: int, sizes: Sequence[int] | None) -> None:
        """The inner network's."""
        self.inner.limit(length, sizes)

    def share_inputs(self, cache: dict[int, object] | None) -> None:
        """The inner network's."""
        self.inner.share_inputs(cache)

    def forget(self) -> None:
        """Drop the memory for weights too."""
        self._rooms = {}
        self.inner.forget()

    def form(self, genes: Sequence[Genes]) -> object:
        """The inner network's, and the genes: whose noise is whose depends on each width."""
        return self.inner.form(genes), list(genes)
