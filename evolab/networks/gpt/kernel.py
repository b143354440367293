"""How a group of GPTs is computed: one causal pass over [P, B, T] tokens, with or without a cache.

Every agent of a group has the same width and the same number of heads; depth and the widths of
the feed-forward layers differ. Rows come deepest first, so block `l` works on the first `n_l`
rows, and narrower feed-forward layers are padded with sleeping units, which GELU keeps at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.core.trees import Tree
from evolab.networks.base import Layout, Role, State
from evolab.networks.gpt.genes import GPTGenes, Shape
from evolab.networks.kernel import Kernel
from evolab.networks.token_cache import Cache

TOGETHER = 2**17
"""Entries of one activation [B, T, D] of one agent above which agents are computed one after another: beyond
it a batched product only drives its operands out of the cache (measured, see tests/benchmarks/language.py)."""


class GPTKernel(Kernel):
    """The batched pass of one role for the agents of one group; see the module `gpt`."""

    def __init__(self, shape: Shape, role: Role, genes: Sequence[GPTGenes], layout: Layout) -> None:
        self.shape, self.role, self.layout = shape, role, layout
        depths = [len(gene.hidden) for gene in genes]
        if any(a < b for a, b in zip(depths, depths[1:])):
            raise AssertionError("rows of a group must come deepest first")
        self._depths = depths
        self._sizes = [*(prod(shape) for shape in layout.shapes)]
        self._sizes.append(layout.size - sum(self._sizes))

    def __call__(
        self, flat: Tensor, observation: Tree = (), extra: Tensor | None = None, member: int | None = None
    ) -> Tensor:
        """Outputs at every position; see `Kernel`.

        Args:
            flat: [P, M, N], the group's parameters.
            observation: [P, B, T] int64 tokens, of which each position sees itself and those before.
            extra: [P, B], tokens of each sequence; what is said of the places behind them is no matter, and they
                are left out where that pays. None for all.
            member: compute this member alone.

        Returns:
            [P, M, B, T, O], or [P, B, T, O] where there is one member or `member` is given.

        Raises:
            ValueError: the sequences are longer than the block.
        """
        assert isinstance(observation, Tensor)
        return self._outputs(flat, observation, extra, member, None)

    def decode(self, flat: Tensor, tokens: Tensor, cache: Cache) -> Tensor:
        """Outputs of tokens [P, B, T] that follow those in the cache, which is filled."""
        return self._outputs(flat, tokens, None, None, cache)

    def _outputs(
        self,
        flat: Tensor,
        observation: Tensor,
        extra: Tensor | None,
        member: int | None,
        cache: Cache | None,
    ) -> Tensor:
        start = 0 if cache is None else cache.length
        block = self.layout.shapes[self.layout.names.index("position")][0]
        if start + observation.shape[-1] > block:
            raise ValueError(
                f"the sequences have {start + observation.shape[-1]} tokens; this GPT's block holds {block}. "
                f"Cut them, or make it with a larger block."
            )
        agents, members = flat.shape[:2]
        if member is not None:
            flat, members = flat[:, member : member + 1], 1
        tokens = observation.long()
        if members > 1:
            tokens = tokens.unsqueeze(1).expand(-1, members, -1, -1).flatten(0, 1)
        depths = [depth for depth in self._depths for _ in range(members)]
        rows = flat.flatten(0, 1)
        # `split` has one gradient for all its pieces; a slice each would fill a whole row of zeros each.
        pieces = rows.split(self._sizes, -1)
        state = {
            name: piece.unflatten(-1, shape)
            for name, piece, shape in zip(self.layout.names, pieces, self.layout.shapes)
        }
        width = self.layout.shapes[self.layout.names.index("token")][1]
        if cache is None and tokens[0].numel() * width > TOGETHER:
            parts = []
            for row, depth in enumerate(depths):
                own = {name: value[row : row + 1] for name, value in state.items()}
                places = None if extra is None else _inside(extra[row // members], tokens.shape[-1])
                parts.append(self._run(own, tokens[row : row + 1], [depth], None, places))
            out = parts[0] if len(parts) == 1 else torch.cat(parts)
        else:
            out = self._run(state, tokens, depths, cache)
        if cache is not None:
            cache.advance(tokens.shape[-1], tokens.shape[1])
        return out if members == 1 else out.unflatten(0, (agents, members))

    def _run(
        self,
        state: State,
        tokens: Tensor,
        depths: Sequence[int],
        cache: Cache | None,
        places: Tensor | None = None,
    ) -> Tensor:
        """[R, B, T, O] from [R, B, T] tokens; zero but at the `places` [N] of B * T, where R is 1."""
        rows, batch, time = tokens.shape
        start = 0 if cache is None else cache.length
        table = state["token"]  # [R, V, D]
        offset = torch.arange(rows, device=tokens.device)[:, None, None] * table.shape[1]
        x = F.embedding(tokens + offset, table.flatten(0, 1))  # [R, B, T, D]
        x = x + state["position"][:, None, start : start + time]
        x = x.flatten(1, 2)  # [R, B * T, D]
        x = x if places is None else x.index_select(1, places)  # [1, N, D]
        finals: list[Tensor] = []
        for block in range(depths[0]):
            alive = sum(depth > block for depth in depths)
            if alive < len(x):
                finals.append(x[alive:])
                x = x[:alive]
            own = {
                name.split(".", 2)[2]: value[:alive]
                for name, value in state.items()
                if name.startswith(f"block.{block}.")
            }
            x = x + self._attention(own, self._norm(x, own, "norm1"), batch, time, block, cache, places)
            inner = F.gelu(_linear(self._norm(x, own, "norm2"), own, "expand"), approximate="tanh")
            x = x + _linear(inner, own, "reduce")
        if finals:
            x = torch.cat([x, *finals[::-1]])
        x = self._norm(x, state, "norm")
        if self.shape.tied:
            out = x @ table.transpose(1, 2)
        elif "output.bias" in state:
            out = _linear(x, state, "output")
        else:
            out = x @ state["output.weight"].transpose(1, 2)
        if places is not None:
            out = _spread(out, places, batch * time)
        return out.unflatten(1, (batch, time))

    def _attention(
        self,
        own: State,
        x: Tensor,
        batch: int,
        time: int,
        block: int,
        cache: Cache | None,
        places: Tensor | None,
    ) -> Tensor:
        rows, _, width = x.shape
        heads = self.shape.heads
        joint = _linear(x, own, "attend")
        joint = joint if places is None else _spread(joint, places, batch * time)
        joint = joint.view(rows * batch, time, 3, heads, width // heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)  # [R * B, heads, T, D / heads] each
        past = 0
        if cache is not None:
            past = cache.length
            key, value = cache.extended(block, key, value)
        scale = (width // heads) ** -0.5 if self.shape.scaled else 1.0
        scale = scale / (block + 1) if self.shape.by_layer else scale
        mask = None
        if past and time > 1:
            mask = torch.ones(time, past + time, dtype=torch.bool, device=x.device).tril(past)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None and time > 1, scale=scale
        )
        mixed = mixed.transpose(1, 2).reshape(rows, batch * time, width)
        return _linear(mixed if places is None else mixed.index_select(1, places), own, "merge")

    def _norm(self, x: Tensor, state: State, name: str) -> Tensor:
        """Layer normalisation over the features of [R, N, D]. Source: Ba et al. 2016, eq. 3."""
        scale, shift = state[f"{name}.scale"], state[f"{name}.shift"]
        if len(x) == 1:
            return F.layer_norm(x, x.shape[-1:], scale[0], shift[0], self.shape.eps)
        return torch.addcmul(
            shift.unsqueeze(1), F.layer_norm(x, x.shape[-1:], eps=self.shape.eps), scale.unsqueeze(1)
        )


def _inside(length: Tensor, time: int) -> Tensor | None:
    """The places [N] of B * T that lie within sequences of these lengths [B]; None where that is unknown, or all."""
    if length.device.type != "cpu":  # to count them would wait for the device
        return None
    inside = torch.arange(time) < length.unsqueeze(-1)
    return None if bool(inside.all()) else inside.flatten().nonzero().squeeze(-1)


def _spread(packed: Tensor, places: Tensor, count: int) -> Tensor:
    """[1, count, F] with the rows of `packed` [1, N, F] at their places, and zeros elsewhere."""
    return packed.new_zeros(1, count, packed.shape[-1]).index_copy(1, places, packed)


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    """[R, N, out] from [R, N, in], each row with its own weight."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if len(x) == 1:
        return F.linear(x[0], weight[0], bias[0]).unsqueeze(0)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
