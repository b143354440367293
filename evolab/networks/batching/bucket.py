"""A bucket: neighbouring agents of a group whose rows share a layout, computed in one batched pass.

Buckets keep the padding that is stored from being multiplied: each one is as wide and deep as its
own largest agent, and where kernels compute every agent at its own width there is no padding, and a
single bucket. What does not depend on the shape of a network, such as a loss, is computed
for the whole group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evolab.core.trees import Tree, map_leaves
from evolab.networks.adam import AdamState, polyak_update_
from evolab.networks.base import Layout, Network, Role
from evolab.networks.batching.optimizer import BucketOptimizer
from evolab.networks.genes import Genes
from evolab.networks.kernel import Backward, Kernel
from evolab.networks.kernels.adam_rows import polyak_update
from evolab.networks.loss import Regression
from evolab.networks.sequences import Sequences

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class Bound:
    """One role of a bucket: the layout of each of its rows, and its batched pass."""

    role: Role
    layouts: list[Layout]
    kernel: Kernel

    @property
    def size(self) -> int:
        """Entries of its largest row."""
        return max(layout.size for layout in self.layouts)


class Bucket:
    """Agents `start` to `stop` of a population, and of a group the rows `inside`."""

    def __init__(
        self,
        table: Mapping[str, Tensor],
        hyper: Mapping[str, Tensor],
        network: Network,
        roles: Mapping[str, Role],
        genes: Sequence[Genes],
        start: int,
        inside: int,
        layouts: Mapping[str, Layout] | None = None,
    ) -> None:
        """`layouts` of each role's rows; None for those of the bucket's largest agent, or of each agent's own."""
        self.rows, self.inside = slice(start, start + len(genes)), slice(inside, inside + len(genes))
        self._table, self._hyper = table, hyper
        capacity = network.capacity(genes)
        like = next(iter(hyper.values()))
        self.bound: dict[str, Bound] = {}
        for name, role in roles.items():
            recipe = role.recipe(network)
            if recipe.computes_unpadded(like):
                own = [Layout.of(recipe.axes(role, one)) for one in genes]
                kernel = recipe.unpadded_kernel(role, genes, own, like.dtype)
            else:
                common = layouts[name] if layouts else Layout.of(recipe.axes(role, capacity))
                own, kernel = [common] * len(genes), recipe.kernel(role, genes, common)
            self.bound[name] = Bound(role, own, kernel)
        self._views: dict[str, Tensor] = {}
        self._optimizers: dict[str, BucketOptimizer] = {}
        self._sizes: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start

    def flat(self, name: str) -> Tensor:
        """[P, M, N]: rows of the table, cut to this bucket's layout; shares the table's memory."""
        view = self._views.get(name)
        if view is None:
            size = self.bound[name.split(".", 1)[0]].size
            view = self._views[name] = self._table[name][self.rows, :, :size]
        return view

    def optimizer(self, name: str) -> BucketOptimizer:
        """Adam of one network, with the moments of the table."""
        if name not in self._optimizers:
            count = self._table[f"{name}.count"][self.rows]
            rate = self._hyper[self.bound[name].role.rate][self.rows]
            moments = self.flat(f"{name}.mean"), self.flat(f"{name}.square")
            state = AdamState(self.flat(name), *moments, count, rate, self.sizes(name))
            self._optimizers[name] = BucketOptimizer(state)
        return self._optimizers[name]

    def sizes(self, name: str) -> np.ndarray:
        """[P] int64: entries in use of each agent's rows."""
        return np.array([layout.size for layout in self.bound[name].layouts], dtype=np.int64)

    def polyak_update(self, name: str) -> None:
        """Move the target of `name` towards it by the hyperparameter tau."""
        if name not in self._sizes:
            self._sizes[name] = self.sizes(name)
        target, source, tau = self.flat(f"{name}.target"), self.flat(name), self._hyper["tau"][self.rows]
        if not polyak_update(target, source, tau, self._sizes[name]):
            polyak_update_(target, source, tau)

    def adam_step(self, name: str, gradient: Tensor) -> None:
        """One step of Adam along `gradient` [P, M, N], which is given back to the kernel that made it."""
        self.optimizer(name).step(gradient)
        self.bound[name].kernel.give_back(gradient)

    def limit(self, length: int, sizes: Sequence[int] | None) -> None:
        """Of batches of this length, only so many samples are each agent's own; None for all."""
        for one in self.bound.values():
            one.kernel.limit(length, sizes)

    def regress(self, name: str, loss: Regression, observation: Tree, extra: Tensor | None) -> Tensor | None:
        """One step on a regression in one call of the kernel, [P]; None where that can't be."""
        adam = self.optimizer(name)
        return self.bound[name].kernel.regress(adam.state, observation, extra, loss) if adam.even else None

    def vjp_parameters(self, name: str, observation: Tree, extra: Tensor | None) -> tuple[Tensor, Backward]:
        """`Kernel.vjp_parameters` on this bucket's own rows of observations and inputs [P, B, ...]."""
        own = None if extra is None else extra[self.inside]
        return self.bound[name].kernel.vjp_parameters(self.flat(name), rows_of(observation, self), own)

    def vjp_extra(self, name: str, observation: Tree, extra: Tensor) -> tuple[Tensor, Backward]:
        """`Kernel.vjp_extra` on this bucket's own rows of observations and inputs [P, B, ...]."""
        kernel = self.bound[name].kernel
        return kernel.vjp_extra(self.flat(name), rows_of(observation, self), extra[self.inside])


def joined(buckets: Sequence[Bucket], passes: Sequence[Forward]) -> Forward:
    """The pass of a whole group from those of its buckets."""
    if len(passes) == 1:
        return passes[0]

    def run(observation: Tree = (), extra: Tensor | None = None, member: int | None = None) -> Tensor:
        return torch.cat(
            [
                one(rows_of(observation, bucket), None if extra is None else extra[bucket.inside], member)
                for one, bucket in zip(passes, buckets, strict=True)
            ]
        )

    return run


def rows_of(observation: Tree, bucket: Bucket) -> Tree:
    """A bucket's own rows of observations [P, B, ...]."""
    if isinstance(observation, Sequences):
        return observation.of(bucket.inside)
    return map_leaves(lambda leaf: leaf[bucket.inside], observation)
