"""How a group of networks that remember is computed: all steps through the encoder at once, then step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.activations import repeated
from evolab.networks.base import Layout, Role
from evolab.networks.genes import Genes
from evolab.networks.kernel import Kernel
from evolab.networks.recurrent.cells import Cell, CellScan
from evolab.networks.sequences import Sequences


class RecurrentKernel(Kernel):
    """The batched pass of one role.

    Args:
        role: what the network is for.
        cell: what remembers.
        encoder: the pass of what the gates are given, whose parameters come first in a row.
        layout: of a row.
    """

    def __init__(self, role: Role, cell: Cell, encoder: Kernel, layout: Layout) -> None:
        self.role, self.cell, self.encoder = role, cell, encoder
        last = layout.names.index("recurrent.weight")
        self._sizes = [layout.offsets[last], *(torch.Size(shape).numel() for shape in layout.shapes[last:])]
        self.units = layout.shapes[last][-1]

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs; see `Kernel`. Where `observation` is `Sequences`, what is remembered goes from step to step."""
        of_encoder, *own = flat.split(self._sizes, -1)
        rows = [piece.flatten(0, 1) if member is None else piece[:, member] for piece in own]
        weight, bias, reading, offset = rows
        members = 1 if member is not None else self.role.ensemble_size
        sequences = observation if isinstance(observation, Sequences) else None
        seen = observation if sequences is None else sequences.observation
        given = self.encoder(of_encoder, seen, extra, member)
        given = given.flatten(0, 1) if members > 1 else given  # [R, B, G * H]
        memory, keep = self._before(given, sequences, members)
        steps = given.contiguous().unflatten(1, (-1, memory.shape[1]))
        found = CellScan.apply(steps, weight.unflatten(-1, (-1, self.units)), bias, memory, keep, self.cell)
        if sequences is not None and isinstance(sequences.after, Tensor):
            sequences.after[..., : self.units] = found.detach().flatten(1, 2)
        shown = found[:, :, :, 0].flatten(1, 2)  # [R, B, H]
        out = torch.baddbmm(
            offset.unsqueeze(1), shown, reading.unflatten(-1, (-1, self.units)).transpose(1, 2)
        )
        return out if members == 1 else out.unflatten(0, (len(flat), members))

    def _before(
        self, given: Tensor, sequences: Sequences | None, members: int
    ) -> tuple[Tensor, Tensor | None]:
        """What is remembered before the first step, [R, N, C, H], and where it is kept, [R, T, N, 1, 1]."""
        if sequences is None:
            return given.new_zeros(*given.shape[:2], self.cell.memories, self.units), None
        memory = sequences.memory
        missing = self.units - memory.shape[-1]
        memory = F.pad(memory, (0, missing)) if missing > 0 else memory[..., : self.units]
        memory = repeated(memory.to(given), members)
        if not isinstance(sequences.begins, Tensor):
            return memory, None
        keep = (~sequences.begins).to(given).unflatten(1, (-1, memory.shape[1]))
        return memory, repeated(keep, members)[..., None, None]

    def share_inputs(self, cache: dict[int, object] | None) -> None:
        """As the encoder does."""
        self.encoder.share_inputs(cache)

    def forget(self) -> None:
        """As the encoder does."""
        self.encoder.forget()

    def form(self, genes: Sequence[Genes]) -> object:
        """All genes: the encoder's decide its operations, and the units those of the cell."""
        return list(genes)
