"""How the rows of a bucket of perceptrons are computed by the compiled kernels: each at its own width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.adam import AdamState
from evolab.networks.base import Layout, Role
from evolab.networks.genes import Genes
from evolab.networks.kernel import Backward, Kernel
from evolab.networks.kernels.perceptrons import Perceptrons
from evolab.networks.loss import Regression
from evolab.networks.mlp.fused import MLPFunction
from evolab.networks.observations import encode, features, in_bytes


class CompiledMLPKernel(Kernel):
    """The batched pass of one role for the agents of a bucket; the same function as `MLPKernel`.

    Args:
        dtype: of the parameters.
        role: of the networks.
        genes: of each agent.
        layouts: of each agent's rows.
    """

    def __init__(
        self, dtype: torch.dtype, role: Role, genes: Sequence[Genes], layouts: Sequence[Layout]
    ) -> None:
        self.role = role
        widths = features(role.observation_space), role.extra, role.outputs
        shapes = [(gene.hidden, gene.activation) for gene in genes]
        self.every = self.single = Perceptrons(dtype, layouts, shapes, *widths)
        if role.ensemble_size > 1:
            self.every = Perceptrons(
                dtype,
                [layout for layout in layouts for _ in range(role.ensemble_size)],
                [shape for shape in shapes for _ in range(role.ensemble_size)],
                *widths,
            )
        space = role.observation_space
        flat = isinstance(space, Box) and len(space.shape) == 1 and space.dtype != np.uint8
        self._plain = flat and not (isinstance(space, Box) and in_bytes(space))
        self._own: tuple[int, dict[bool, np.ndarray]] | None = None

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs; see `Kernel`."""
        rows, alone = _rows(flat, member), member is not None or self.role.ensemble_size == 1
        if torch.is_grad_enabled() and (rows.requires_grad or (extra is not None and extra.requires_grad)):
            x = encode(self.role.observation_space, observation, 2, flat.dtype)
            by = self.single if alone else self.every
            out = MLPFunction.apply(rows, extra, lambda own, beside: by.forward(own, x, beside, True))
        else:
            out, _ = self.run(rows, observation, extra, alone, keep=False)
        return out if alone else out.unflatten(0, (len(flat), self.role.ensemble_size))

    def run(
        self, rows: Tensor, observation: Tree, extra: Tensor | None, alone: bool, keep: bool = True
    ) -> tuple[Tensor, Any]:
        """Outputs [R, B, O], and what their gradient needs."""
        x = self.encoded(observation, rows.dtype)
        own = self._counts(x, alone)
        return (self.single if alone else self.every).forward(rows, x, extra, keep, own)

    def encoded(self, observation: Tree, dtype: torch.dtype, leading: int = 2) -> Tensor:
        """[..., F]: observations as the kernels read them, with so many axes of a batch."""
        if self._plain and isinstance(observation, Tensor) and observation.dtype == dtype:
            return observation
        return encode(self.role.observation_space, observation, leading, dtype)

    def _counts(self, x: Tensor, alone: bool) -> np.ndarray | None:
        return self._own[1][alone] if self._own is not None and self._own[0] == x.shape[1] else None

    def limit(self, length: int, sizes: Sequence[int] | None) -> None:
        """Samples that are not an agent's own are not computed: their outputs are zero."""
        if sizes is None:
            self._own = None
            return
        own = np.minimum(np.array(sizes, dtype=np.int64), length)
        self._own = length, {True: own, False: np.repeat(own, self.role.ensemble_size)}

    def vjp_parameters(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None
    ) -> tuple[Tensor, Backward]:
        """Without autograd."""
        alone = self.role.ensemble_size == 1
        out, kept = self.run(_rows(flat, None), observation, extra, alone)

        def backward(grad: Tensor) -> Tensor:
            gradient, _ = kept.backward(grad if alone else grad.flatten(0, 1), True, False)
            return gradient.view(flat.shape)

        return out if alone else out.unflatten(0, (len(flat), self.role.ensemble_size)), backward

    def vjp_extra(
        self, flat: Tensor, observation: Tree, extra: Tensor, member: int = 0
    ) -> tuple[Tensor, Backward]:
        """Without autograd."""
        out, kept = self.run(_rows(flat, member), observation, extra, True)
        return out, lambda grad: kept.backward(grad, False, True)[1]

    def regress(self, state: AdamState, observation: Tree, extra: Tensor | None, loss: Regression) -> Tensor:
        """One step of every row while it lies in the cache; the losses [P] are summed over the members."""
        members = self.role.ensemble_size
        x = self.encoded(observation, state.parameters.dtype)
        by, counts = self.single if members == 1 else self.every, self._counts(x, members == 1)
        losses = by.regress(state, members, x, extra, loss, counts)
        return losses.squeeze(1) if members == 1 else losses.sum(1)


def _rows(flat: Tensor, member: int | None) -> Tensor:
    """[P * M, N] of all members of [P, M, N], or [P, N] of one; shares memory."""
    if flat.shape[1] == 1:
        return flat.squeeze(1)
    return flat.flatten(0, 1) if member is None else flat[:, member]
