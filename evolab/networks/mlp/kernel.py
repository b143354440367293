"""How a group of perceptrons is computed: worked out once per layout, then only run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.activations import activate, layer_norm, repeated, spans
from evolab.networks.base import Layout, Role
from evolab.networks.genes import Genes
from evolab.networks.kernel import Backward, Kernel
from evolab.networks.mlp.fused import LayerPlan, MLPFunction, ScratchRows, backward, forward
from evolab.networks.observations import encode


class _Pass:
    """What the fused pass needs besides its tensors: the layers, and a gradient to write into."""

    def __init__(self, layers: list[LayerPlan], reading: int, layout: Layout) -> None:
        self.layers, self.reading, self.layout = layers, reading, layout
        # False for a shallow agent of a deep group.
        deepest = f"hidden.{len(layers)}.weight" not in layout.names
        self.whole = deepest and len({layer.rows for layer in layers}) == 1
        self.spare: ScratchRows | None = None
        self.lent: ScratchRows | None = None

    def take_gradient(self, like: Tensor) -> ScratchRows:
        """A store shaped as `like`, the one given back if there is one; zero where no agent has a layer."""
        store, self.spare = self.spare, None
        if store is None or store.flat.shape != like.shape or store.flat.device != like.device:
            store = ScratchRows(
                like.new_empty(like.shape) if self.whole else like.new_zeros(like.shape), self.layout
            )
        self.lent = store if self.lent is None else self.lent
        return store

    def give_back(self, gradient: Tensor) -> None:
        """Let the next backward pass write into this gradient [P, M, N], which is this pass's own [R, N]."""
        if self.lent is None or self.lent.flat.data_ptr() != gradient.data_ptr():
            return
        if self.whole:  # else it must stay zero where layers are missing, and the optimizer wrote everywhere
            self.spare = self.lent
        self.lent = None

    def forget(self) -> None:
        """Write into a fresh gradient next."""
        self.spare = self.lent = None


class MLPKernel(Kernel):
    """The batched pass of one role for the agents of one group; see the module `mlp`."""

    def __init__(self, normalised: bool, role: Role, genes: Sequence[Genes], layout: Layout) -> None:
        self.role, self.layout, self.normalised = role, layout, normalised
        if any(len(a.hidden) < len(b.hidden) for a, b in zip(genes, genes[1:], strict=False)):
            raise AssertionError("rows of a group must come deepest first")
        layers: list[LayerPlan] = []
        for index in range(max(len(gene.hidden) for gene in genes)):
            alive = [gene for gene in genes if len(gene.hidden) > index]
            kinds = [gene.activation[index] for gene in alive for _ in range(role.ensemble_size)]
            widths = [gene.hidden[index] for gene in alive for _ in range(role.ensemble_size)]
            layers.append(LayerPlan(len(kinds), spans(kinds), tuple(widths)))
        reading = layout.shapes[layout.names.index("output.weight")][-1]
        self.every = _Pass(layers, reading, layout)
        self.single = _Pass([layer.thinned(role.ensemble_size) for layer in layers], reading, layout)
        self.how = self.single if role.ensemble_size == 1 else self.every
        self._form = layout, [(one.rows, one.stretches, one.widths if normalised else ()) for one in layers]
        self._stores: dict[Any, ScratchRows] = {}

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs; see `Kernel`."""
        agents, members = flat.shape[0], self.role.ensemble_size
        if not (torch.is_grad_enabled() or self.normalised or member is not None):
            x = self.joined(flat, observation, extra)
            rows = flat.squeeze(1) if members == 1 else flat.flatten(0, 1)
            out, _ = forward(x, None, self.store(rows, 0 if members == 1 else None), self.how)
            return out if members == 1 else out.unflatten(0, (agents, members))
        x, extra = self.inputs(flat, observation, extra, member)
        if members == 1 or member is not None:
            rows = flat.squeeze(1) if members == 1 else flat[:, member or 0]
            return self._run(rows, x, extra, self.single, member or 0)
        out = self._run(flat.flatten(0, 1), x, extra, self.every, None)
        return out.unflatten(0, (agents, members))

    def inputs(
        self, flat: Tensor, observation: Tree, extra: Tensor | None, member: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Features [R, B, I] and extra inputs [R, B, E], the same for every member of an agent."""
        x, members = encode(self.role.observation_space, observation, 2, flat.dtype), self.role.ensemble_size
        if members == 1 or member is not None:
            return x, extra
        return repeated(x, members), None if extra is None else repeated(extra, members)

    def joined(self, flat: Tensor, observation: Tree, extra: Tensor | None) -> Tensor:
        """[R, B, I + E]: as `inputs`, in one piece."""
        x = encode(self.role.observation_space, observation, 2, flat.dtype)
        x = x if extra is None else torch.cat([x, extra], -1)
        return repeated(x, self.role.ensemble_size)

    def vjp_parameters(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None
    ) -> tuple[Tensor, Backward]:
        """Without autograd, but for layers that are normalised."""
        if self.normalised:
            return super().vjp_parameters(flat, observation, extra)
        alone = self.role.ensemble_size == 1
        rows = flat.squeeze(1) if alone else flat.flatten(0, 1)
        x = self.joined(flat, observation, extra)
        out, kept = forward(x, None, self.store(rows, None), self.how)

        def to_parameters(grad: Tensor) -> Tensor:
            gradient, _ = backward(kept, grad if alone else grad.flatten(0, 1), True, False)
            assert gradient is not None
            return gradient.flat.view(flat.shape)

        return out if alone else out.unflatten(0, (len(flat), self.role.ensemble_size)), to_parameters

    def vjp_extra(
        self, flat: Tensor, observation: Tree, extra: Tensor, member: int = 0
    ) -> tuple[Tensor, Backward]:
        """Without autograd, but for layers that are normalised."""
        if self.normalised:
            return super().vjp_extra(flat, observation, extra, member)
        x, _ = self.inputs(flat, observation, None, member)
        rows = flat.squeeze(1) if self.role.ensemble_size == 1 else flat[:, member]
        out, kept = forward(x, extra, self.store(rows, member), self.single)

        def to_extra(grad: Tensor) -> Tensor:
            _, flowing = backward(kept, grad, False, True)
            assert flowing is not None
            return flowing

        return out, to_extra

    def form(self, genes: Sequence[Genes]) -> object:
        """The layout, and the layers with their activations: widths are padding here."""
        return self._form

    def give_back(self, gradient: Tensor) -> None:
        """Write into this gradient [P, M, N] next time."""
        if not self.normalised:
            (self.single if self.role.ensemble_size == 1 else self.every).give_back(gradient)

    def forget(self) -> None:
        """Drop the gradients that were given back."""
        self.single.forget()
        self.every.forget()

    def _run(self, rows: Tensor, x: Tensor, extra: Tensor | None, how: _Pass, member: int | None) -> Tensor:
        if self.normalised:
            return self._composed(rows, x if extra is None else torch.cat([x, extra], -1), how)
        store = self.store(rows, member)
        return MLPFunction.apply(rows, extra, lambda _, beside: forward(x, beside, store, how))

    def store(self, rows: Tensor, member: int | None) -> ScratchRows:
        """Views into `rows`, remembered: making them anew costs as much as a small matrix product."""
        if rows.device.type == "meta":
            return ScratchRows(rows.detach(), self.layout)
        key = (rows.data_ptr(), rows.dtype, member)
        store = self._stores.get(key)
        if store is None or store.flat.stride() != rows.stride():
            store = self._stores[key] = ScratchRows(rows.detach(), self.layout)
        return store

    def _composed(self, rows: Tensor, x: Tensor, how: _Pass) -> Tensor:
        """The same pass from torch's own operations, differentiated by autograd."""
        state = self.layout.views(rows)
        finals: list[Tensor] = []
        h = x
        for index, layer in enumerate(how.layers):
            n = layer.rows
            weight, bias = state[f"hidden.{index}.weight"][:n], state[f"hidden.{index}.bias"][:n]
            z = torch.baddbmm(bias.unsqueeze(1), h[:n], weight.transpose(1, 2))
            if self.normalised:
                scale, shift = state[f"hidden.{index}.scale"][:n], state[f"hidden.{index}.shift"][:n]
                z = layer_norm(z, scale, shift, *layer.mask(z.shape[-1], z.device, z.dtype))
            h = activate(z, layer.stretches)
            after = how.layers[index + 1].rows if index + 1 < len(how.layers) else 0
            if after < n:
                finals.append(F.pad(h[after:], (0, how.reading - h.shape[-1])))
        final = finals[0] if len(finals) == 1 else torch.cat(finals[::-1])
        weight, bias = state["output.weight"], state["output.bias"]
        return torch.baddbmm(bias.unsqueeze(1), final, weight.transpose(1, 2))
