"""How a group of convolutional networks is computed: one grouped convolution for all agents, or row by row.

Grouped, agents and members are folded into the channels, one group each, in channels-last memory:
what a few small pictures and an accelerator want. Many or large ones go through their encoders row
by row on a CPU, see `rows`; what has residual blocks, see `residual`. The head is one batched product either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.activations import activate, repeated, spans
from evolab.networks.base import Layout, Role, State
from evolab.networks.cnn.encoder import Image, cost
from evolab.networks.cnn.feature_maps import Activated, Stretches
from evolab.networks.cnn.genes import CNNGenes
from evolab.networks.cnn.parts import EncoderParts, picked
from evolab.networks.cnn.residual import ResidualEncoders
from evolab.networks.cnn.rows import Encoded, ImageRows, encode_rows
from evolab.networks.kernel import Kernel

BY_ROW = 3e7
"""Multiply-adds of a row's pass, in the mean, from which a CPU computes rows one by one (measured)."""

RESIDUAL = 16
"""Times as many with residual blocks, whose gradients autograd takes: below, rows apart took up to 1.8 times as long."""

Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Kernels, strides and paddings of the convolutions."""


class CNNKernel(Kernel):
    """The batched pass of one role for the agents of one group: equal kernels, strides and depths.

    Args:
        role: what the network is for.
        parts: of the observation.
        genes: of the agents.
        prefixes: of the parameters of each image's encoder.
        layout: of a row; its widths may exceed those of the genes.
    """

    def __init__(
        self,
        role: Role,
        parts: EncoderParts,
        genes: Sequence[CNNGenes],
        prefixes: Sequence[str],
        layout: Layout,
    ) -> None:
        self.role, self.parts, self.prefixes, self.layout = role, parts, prefixes, layout
        self.geometry = [encoder.geometry for encoder in genes[0].encoders]
        self.depth = len(genes[0].head)
        self.encoders = [tuple(one.encoders[index] for one in genes) for index in range(len(self.geometry))]
        self.costs = [
            sum(cost(image, one) for one in encoders) / len(encoders)
            for image, encoders in zip(parts.images, self.encoders, strict=True)
        ]
        self.residual = [
            ResidualEncoders(image, one, prefix) if one[0].blocks else None
            for image, one, prefix in zip(parts.images, self.encoders, prefixes, strict=True)
        ]
        self._kinds = [one.activation for one in genes]
        self._stretches = {members: self._runs(members) for members in {1, role.ensemble_size}}
        self._sizes = [torch.Size(shape).numel() for shape in layout.shapes]
        self._views: dict[Any, State] = {}
        self._laid: dict[int, Any] | None = None

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs; see `Kernel`. The extra inputs stand beside what the encoders make of the images."""
        members = 1 if member is not None else self.role.ensemble_size
        rows = flat[:, member] if member is not None else flat.flatten(0, 1)  # [R, N]
        state = self._state(rows) if rows.requires_grad else self._kept(rows, flat)
        stretches = iter(self._stretches[members])
        branches = []
        for index, image in enumerate(self.parts.images):
            seen = picked(observation, image.path)
            own = islice(stretches, len(self.geometry[index][0]) + 1)
            branches.append(self._encoded(index, image, state, seen, members, flat, list(own)))
        side = self.parts.side(observation, flat.dtype)
        side += [] if extra is None else [extra]
        out = self._head(state, branches, [repeated(part, members) for part in side], stretches)
        return out if members == 1 else out.unflatten(0, (flat.shape[0], members))

    def _encoded(
        self,
        index: int,
        image: Image,
        state: State,
        seen: Tensor,
        members: int,
        flat: Tensor,
        stretches: list[Stretches],
    ) -> Tensor:
        """[R, B, L]: latent vectors of one of the images."""
        prefix, residual = self.prefixes[index], self.residual[index]
        least = BY_ROW if residual is None else RESIDUAL * BY_ROW
        if flat.device.type != "cpu" or seen.shape[1] * self.costs[index] < least:
            x = self._laid_out(image.columns, seen, flat.dtype)
            if residual is not None:
                return residual.together(state, x, stretches)
            return _encode(image, state, prefix, x, flat.shape[0], self.geometry[index], stretches)
        if residual is not None:
            return residual.by_row(state, self._laid_out(image.pictures, seen, flat.dtype), members)
        how = ImageRows(self.encoders[index], members, image.scaled)
        names = [f"conv.{layer}" for layer in range(len(stretches) - 1)] + ["latent"]
        parameters = [state[f"{prefix}{name}.{part}"] for name in names for part in ("weight", "bias")]
        pictures = self._laid_out(image.pictures, seen, flat.dtype)
        if torch.is_grad_enabled() and any(one.requires_grad for one in parameters):
            return Encoded.apply(pictures, how, *parameters)
        with torch.no_grad():
            return encode_rows(pictures, parameters, how)[0]

    def _laid_out(
        self, how: Callable[[Tensor, torch.dtype], object], seen: Tensor, dtype: torch.dtype
    ) -> Any:
        """Images as convolutions want them; within an update, once for all networks."""
        if self._laid is None:
            return how(seen, dtype)
        if id(seen) not in self._laid:
            self._laid[id(seen)] = seen, how(seen, dtype)  # holding it keeps the id its own
        return self._laid[id(seen)][1]

    def share_inputs(self, cache: dict[int, object] | None) -> None:
        """Keep images there as convolutions want them."""
        self._laid = cache

    def _runs(self, members: int) -> list[Stretches]:
        """Per layer, the activation of each contiguous stretch of rows."""
        layers = zip(*self._kinds, strict=True)
        return [spans([kind for kind in layer for _ in range(members)]) for layer in layers]

    def _state(self, rows: Tensor) -> State:
        # Split, not sliced: the gradient of a split is one concatenation, that of slices a sum of full rows.
        pieces = rows.split(self._sizes, -1)
        shapes = self.layout.shapes
        return {
            name: piece.unflatten(-1, shape)
            for name, piece, shape in zip(self.layout.names, pieces, shapes, strict=True)
        }

    def _kept(self, rows: Tensor, flat: Tensor) -> State:
        """Views into the table, remembered: making them anew takes longer than a small product."""
        key = (rows.data_ptr(), rows.shape[0], rows.stride(), rows.dtype)
        shared = rows.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr()
        if rows.device.type == "meta" or not shared:
            return self._state(rows)
        if key not in self._views:
            self._views[key] = self._state(rows.detach())
        return self._views[key]

    def _head(
        self, state: State, branches: list[Tensor], side: list[Tensor], stretches: Iterator[Stretches]
    ) -> Tensor:
        z = state["hidden.0.bias" if self.depth else "output.bias"].unsqueeze(1)
        for prefix, branch in zip(self.prefixes, branches, strict=True):
            z = _plus(z, branch, state[f"{prefix}reading.weight"])
        if side:
            z = _plus(z, side[0] if len(side) == 1 else torch.cat(side, -1), state["side.weight"])
        if not self.depth:  # the outputs themselves
            return z
        h = activate(z, next(stretches))
        for index in range(1, self.depth):
            z = _plus(state[f"hidden.{index}.bias"].unsqueeze(1), h, state[f"hidden.{index}.weight"])
            h = activate(z, next(stretches))
        return _plus(state["output.bias"].unsqueeze(1), h, state["output.weight"])


def _encode(
    image: Image,
    state: State,
    prefix: str,
    x: Tensor,
    agents: int,
    geometry: Geometry,
    every: list[Stretches],
) -> Tensor:
    """Images x [B, P * I, H, W] as latent vectors [R, B, L]."""
    # Members of an agent look at the same image: the first layer has a group per agent, others per row.
    groups, inputs, stretches = agents, image.channels, iter(every)
    for index, (kernel, stride, padding) in enumerate(zip(*geometry, strict=True)):
        weight, bias = state[f"{prefix}conv.{index}.weight"], state[f"{prefix}conv.{index}.bias"]
        rows, outputs = bias.shape
        filters = weight.reshape(rows * outputs, inputs, kernel, kernel)
        if not index and image.scaled:
            filters = filters / 255  # not the bytes themselves: there are many more of them
        x = F.conv2d(x, filters, bias.reshape(-1), stride, padding, 1, groups)
        x = Activated.apply(x, next(stretches), outputs, True)
        groups, inputs = rows, outputs
    flat = x.unflatten(1, (groups, inputs)).permute(1, 0, 3, 4, 2).flatten(2)  # [R, B, h * w * O]
    z = _plus(state[f"{prefix}latent.bias"].unsqueeze(1), flat, state[f"{prefix}latent.weight"].flatten(2))
    return activate(z, next(stretches))


def _plus(start: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """`start` [R, 1 or B, O] plus x [R, B, I] times weight [R, O, I]."""
    return torch.baddbmm(start, x, weight.transpose(1, 2))
