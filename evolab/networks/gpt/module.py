"""GPT as a plain torch module, for export, with and without a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evolab.networks.base import State
from evolab.networks.gpt.genes import Shape
from evolab.networks.token_cache import Cache


class Block(nn.Module):
    """Attention and a feed-forward layer, each with a layer norm in front and a sum behind.

    Args:
        width: D, of the residual stream.
        units: of the feed-forward layer.
        number: of the block, from 0.
        shape: heads, eps and how attention is scaled.
    """

    def __init__(self, width: int, units: int, number: int, shape: Shape) -> None:
        super().__init__()
        self.shape, self.number = shape, number
        self.norm1, self.norm2 = nn.LayerNorm(width, shape.eps), nn.LayerNorm(width, shape.eps)
        self.attend, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.reduce = nn.Linear(width, units), nn.Linear(units, width)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x = x + self.merge(self._mixed(self.attend(self.norm1(x)), cache))
        return x + self.reduce(F.gelu(self.expand(self.norm2(x)), approximate="tanh"))

    def _mixed(self, joint: Tensor, cache: Cache | None) -> Tensor:
        heads = self.shape.heads
        query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in joint.chunk(3, -1))
        past = 0 if cache is None else cache.length
        if cache is not None:
            key, value = cache.extended(self.number, key, value)
        time = query.shape[2]
        mask = torch.ones(time, past + time, dtype=torch.bool, device=joint.device).tril(past)
        scale = query.shape[-1] ** -0.5 if self.shape.scaled else 1.0
        scale = scale / (self.number + 1) if self.shape.by_layer else scale
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        return mixed.transpose(1, 2).flatten(2)


class GPTModule(nn.Module):
    """A GPT-2 of its own: tokens [B, T] to outputs [B, T, O].

    Args:
        outputs: O, at every position.
        sizes: V and the longest sequence.
        width: D.
        units: of the feed-forward layer of each block.
        shape: heads, eps, how attention is scaled and whether the outputs are tied.
    """

    def __init__(
        self, outputs: int, sizes: tuple[int, int], width: int, units: Sequence[int], shape: Shape
    ) -> None:
        super().__init__()
        vocabulary, self.longest = sizes
        self.tied = shape.tied
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(self.longest, width)
        self.block = nn.ModuleList(Block(width, count, number, shape) for number, count in enumerate(units))
        self.norm = nn.LayerNorm(width, shape.eps)
        self.output = None if self.tied else nn.Linear(width, outputs, bias=outputs != vocabulary)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Outputs [B, T, O]; with a cache, of tokens that follow those in it.

        Raises:
            ValueError: more tokens than the block holds.
        """
        start = 0 if cache is None else cache.length
        if start + tokens.shape[1] > self.longest:
            raise ValueError(
                f"the sequences have {start + tokens.shape[1]} tokens; this GPT's block holds {self.longest}."
            )
        place = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        x = self.token(tokens) + self.position(place)
        for block in self.block:
            x = block(x, cache)
        if cache is not None:
            cache.advance(tokens.shape[1], len(tokens))
        x = self.norm(x)
        if self.output is None:
            return x @ self.token.weight.t()
        return self.output(x)

    def filled(self, state: State) -> GPTModule:
        """Itself, with these parameters under the network's names."""
        self.to(state["token"].dtype)
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in state.items():
                own[module_name(name)].copy_(value)
        return self


def module_name(name: str) -> str:
    """The name that a parameter of the network has in the module.

    >>> module_name("block.0.norm1.scale"), module_name("token")
    ('block.0.norm1.weight', 'token.weight')
    """
    if name in ("token", "position"):
        return f"{name}.weight"
    return name.replace(".scale", ".weight").replace(".shift", ".bias")
