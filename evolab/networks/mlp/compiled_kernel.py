"""How the rows of a bucket of perceptrons are computed by the compiled kernels: each at its own width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from evolab.networks.base import Layout, Role
from evolab.networks.kernels.perceptrons import Perceptrons
from evolab.networks.mlp.tape import Tape
from evolab.networks.observations import encode, features

if TYPE_CHECKING:
    from evolab.networks.batching.adam import Adam


class CompiledMLPKernel:
    """The batched pass of one role for the agents of a bucket; the same function as `MLPKernel`.

    Args:
        dtype: of the parameters.
        role: of the networks.
        genes: of each agent.
        layouts: of each agent's rows.
    """

    def __init__(
        self, dtype: torch.dtype, role: Role, genes: Sequence[Any], layouts: Sequence[Layout]
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
        self._plain = isinstance(space, Box) and len(space.shape) == 1 and space.dtype != np.uint8
        self._own: tuple[int, dict[bool, np.ndarray]] | None = None

    def __call__(
        self, flat: Tensor, observation: Any, extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs of all agents and members.

        Args:
            flat: [C, M, N], the bucket's parameters.
            observation: batch of observations, [C, B, ...] leaves.
            extra: [C, B, E], behind the features.
            member: compute this member alone.

        Returns:
            [C, M, B, O], or [C, B, O] where there is one member or `member` is given.
        """
        rows, alone = _rows(flat, member), member is not None or self.role.ensemble_size == 1
        if torch.is_grad_enabled() and (rows.requires_grad or (extra is not None and extra.requires_grad)):
            x = encode(self.role.observation_space, observation, 2, flat.dtype)
            out = _Differentiable.apply(rows, x, extra, self, alone)
        else:
            out, _ = self.run(rows, observation, extra, alone, keep=False)
        return out if alone else out.unflatten(0, (len(flat), self.role.ensemble_size))

    def run(
        self, rows: Tensor, observation: Any, extra: Tensor | None, alone: bool, keep: bool = True
    ) -> tuple[Tensor, Any]:
        """Outputs [R, B, O], and what their gradient needs."""
        x = self._encoded(observation, rows.dtype)
        own = self._counts(x, alone)
        return (self.single if alone else self.every).forward(rows, x, extra, keep, own)

    def _encoded(self, observation: Any, dtype: torch.dtype) -> Tensor:
        if self._plain and observation.dtype == dtype:
            return observation  # type: ignore[no-any-return]
        return encode(self.role.observation_space, observation, 2, dtype)

    def _counts(self, x: Tensor, alone: bool) -> np.ndarray | None:
        return self._own[1][alone] if self._own is not None and self._own[0] == x.shape[1] else None

    def limit(self, length: int, sizes: Sequence[int] | None) -> None:
        """From now on, of batches of this length, only the first of `sizes` samples are each agent's own.

        The others are not computed: their outputs are zero. None ends it.
        """
        if sizes is None:
            self._own = None
            return
        own = np.minimum(np.array(sizes, dtype=np.int64), length)
        self._own = length, {True: own, False: np.repeat(own, self.role.ensemble_size)}

    def tape(self, flat: Tensor) -> Tape:
        """Computes a loss's gradient by [C, M, N] at less cost than autograd would."""
        return Tape(self, flat)

    def record(self, flat: Tensor, observation: Any, extra: Tensor | None) -> tuple[Tensor, Any]:
        """Outputs [R, B, O] of all members, outside of autograd, and what their gradient needs."""
        return self.run(_rows(flat, None), observation, extra, self.role.ensemble_size == 1)

    def slope(
        self, flat: Tensor, observation: Any, extra: Tensor, grad: Tensor, member: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Outputs [C, B, O] of one member, and how a loss changes with `extra`, [C, B, E].

        Args:
            flat: [C, M, N], the bucket's parameters.
            observation: batch of observations, [C, B, ...] leaves.
            extra: [C, B, E].
            grad: [C, B, O], how the loss changes with the outputs.
            member: the one that computes.
        """
        out, kept = self.run(_rows(flat, member), observation, extra, True)
        _, flowing = kept.backward(grad, False, True)
        return out, flowing

    def regress(
        self,
        adam: Adam,
        observation: Any,
        extra: Tensor | None,
        target: Tensor,
        weight: Tensor,
        choice: Tensor | None,
        huber: float | None,
    ) -> Tensor:
        """One step of every row on its squared error while it lies in the cache; see `AgentGroup.regress`.

        Returns:
            [C], the losses, summed over the members.
        """
        alone = self.role.ensemble_size == 1
        x = self._encoded(observation, adam.parameters.dtype)
        by = self.single if alone else self.every
        losses = by.regress(
            adam, self.role.ensemble_size, x, extra, target, weight, choice, huber, self._counts(x, alone)
        )
        return losses.squeeze(1) if alone else losses.sum(1)

    def give_back(self, gradient: Tensor) -> None:
        """There is nothing to reuse."""


class _Differentiable(torch.autograd.Function):
    """`(rows [R, N], x [A, B, I], extra [A, B, E] or None) -> [R, B, O]`, differentiable once in rows and extra."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, x: Tensor, extra: Tensor | None, plan: CompiledMLPKernel, alone: bool
    ) -> Tensor:
        """Outputs; keeps what the backward pass needs."""
        by = plan.single if alone else plan.every
        out, ctx.kept = by.forward(rows.detach(), x, None if extra is None else extra.detach(), True)
        ctx.agents = x.shape[0]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        """Gradients of the rows and of `extra`, which several rows of an agent may have read."""
        to_rows, _, to_extra = ctx.needs_input_grad[:3]
        gradient, flowing = ctx.kept.backward(grad, to_rows, to_extra)
        if flowing is not None and len(flowing) > ctx.agents:
            flowing = flowing.unflatten(0, (ctx.agents, -1)).sum(1)
        return gradient, None, flowing, None, None


def _rows(flat: Tensor, member: int | None) -> Tensor:
    """[C * M, N] of all members of [C, M, N], or [C, N] of one; shares memory."""
    if flat.shape[1] == 1:
        return flat.squeeze(1)
    return flat.flatten(0, 1) if member is None else flat[:, member]
