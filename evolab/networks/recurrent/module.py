"""Networks that remember as plain modules without padding, for use outside a population."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evolab.networks.base import State
from evolab.networks.recurrent.cells import Cell


class RememberingModule(nn.Module):
    """Features [B, F] and what was remembered [B, C, H], to outputs [B, O] and what is remembered now.

    Without a memory it gives the outputs alone, as at the first step of an episode.

    Attributes:
        encoder: what the cell is given.
        cell: torch's own.
        output: what reads its outputs.
    """

    def __init__(self, encoder: nn.Module, cell: Cell, state: State) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Sequential)
        given, weight = encoder[-1], state["recurrent.weight"].flatten(0, 1)
        assert isinstance(given, nn.Linear)
        self.encoder = encoder[:-1]
        self.cell = cell.layer(given.in_features, weight.shape[1])
        self.output = nn.Linear(weight.shape[1], len(state["output.bias"]))
        self.memories, self.units = cell.memories, weight.shape[1]
        self.to(weight.dtype)
        with torch.no_grad():
            self.cell.weight_ih.copy_(given.weight)
            self.cell.bias_ih.copy_(given.bias)
            self.cell.weight_hh.copy_(weight)
            self.cell.bias_hh.copy_(state["recurrent.bias"].flatten())
            self.output.weight.copy_(state["output.weight"])
            self.output.bias.copy_(state["output.bias"])

    def forward(self, features: Tensor, memory: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """One step."""
        x = self.encoder(features)
        before = x.new_zeros(len(x), self.memories, self.units) if memory is None else memory
        if self.memories == 1:
            now = self.cell(x, before[:, 0])
            after = now.unsqueeze(1)
        else:
            now, cell = self.cell(x, (before[:, 0], before[:, 1]))
            after = torch.stack([now, cell], 1)
        out = self.output(now)
        return out if memory is None else (out, after)
