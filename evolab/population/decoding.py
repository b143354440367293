"""Decoding: the tokens that agents choose, greedily or at random.

A `TokenPolicy` answers turn after turn for all agents of a table and keeps keys and values of what
was said, so that a token costs one position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evolab.algorithms.tokens import token_algorithm
from evolab.core import checks
from evolab.networks.batching.group import AgentGroup
from evolab.networks.token_cache import Cache
from evolab.population.table import Table


@dataclass(frozen=True, slots=True)
class Turn:
    """What a policy sees of the games that are still going on; it answers with one token for each.

    Where a population plays, [P, B] stands for [B] everywhere, B being the most games that any
    agent still plays; an agent with fewer has one of its games repeated, and those answers are
    ignored.

    Attributes:
        tokens: int64 [B, T], filled up with pad on the right; T is the longest so far.
        length: int64 [B]: tokens so far; the chosen token goes to this place.
        legal: bool [B, V], the tokens that may be chosen.
        rows: int64 [B], the game's number among the starts: the key of whatever a policy
            remembers between its calls. Since the last one a game has grown by the chosen
            token and the reply to it.
    """

    tokens: Tensor
    length: Tensor
    legal: Tensor
    rows: Tensor

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four as [P, B, ...], for a single agent too."""
        found = self.tokens, self.length, self.legal, self.rows
        return found if self.length.dim() == 2 else tuple(part.unsqueeze(0) for part in found)  # type: ignore[return-value]


def filtered(
    scores: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Log-probabilities [..., V] to draw from.

    Args:
        scores: [..., V], unnormalised log-probabilities; minus infinity where a token may not be said.
        temperature: above 0; below 1 sharpens.
        top_k: only the k best tokens; ties with the last of them stay.
        top_p: only the fewest tokens that have this share of the probability together.

    Source for top_p: Holtzman et al. 2020, The curious case of neural text degeneration, eq. 2.

    >>> filtered(torch.tensor([0.0, 1.0, 2.0]), top_k=2).exp()
    tensor([0.0000, 0.2689, 0.7311])
    """
    scores = scores / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        least = scores.topk(top_k, -1).values[..., -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    if top_p is not None and top_p < 1:
        ordered, order = scores.log_softmax(-1).sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        gone = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        scores = scores.masked_fill(gone, float("-inf"))
    return scores.log_softmax(-1)


class Decoding:
    """How a token is chosen from scores.

    Args:
        temperature: 0 for the best token, else that of a draw.
        top_k: draw from so many best tokens only.
        top_p: draw from the fewest tokens with this share of the probability only.
        seed: of the draws.

    Raises:
        ValueError: a number outside its range.
    """

    def __init__(
        self,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> None:
        self.temperature = checks.finite("temperature", temperature, low=0.0)
        self.top_k = None if top_k is None else checks.positive_integer("top_k", top_k)
        self.top_p = None if top_p is None else checks.finite("top_p", top_p, low=1e-9, high=1.0)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, scores: Tensor) -> Tensor:
        """[...], int64, from scores [..., V]."""
        if self.temperature == 0:
            return scores.argmax(-1)
        odds = filtered(scores, self.temperature, self.top_k, self.top_p).exp().cpu()
        drawn = torch.multinomial(odds.flatten(0, -2), 1, generator=self._generator)
        return drawn.view(scores.shape[:-1]).to(scores.device)


class TokenPolicy:
    """Agents that choose token by token: the policy that `play_many(policy, starts, agents=P)` asks.

    Args:
        table: of agents that read tokens.
        choice: how tokens are chosen; None for the best one.
    """

    def __init__(self, table: Table, choice: Decoding | None = None) -> None:
        self.table, self.choice = table, choice or Decoding()
        self._caches: dict[tuple[int, str, bool], Cache] = {}
        self._rows: dict[int, Tensor] = {}

    def __call__(self, turn: Turn) -> Tensor:
        """Tokens [P, B] for a turn of all agents, or [B] for one of the only agent."""
        tokens, length, legal, rows = turn.parts()
        chosen = []
        with torch.no_grad():
            for group in self.table.groups:
                own = group.rows
                scores = self._scores(group, tokens[own], length[own], rows[own])
                scores = torch.nan_to_num(scores, nan=0.0)  # a diverged agent must not end the run
                chosen.append(self.choice(scores.masked_fill(~legal[own].to(scores.device), float("-inf"))))
        return torch.cat(chosen).cpu().view(turn.length.shape)

    def _scores(self, group: AgentGroup, tokens: Tensor, length: Tensor, rows: Tensor) -> Tensor:
        """[P, B, V]: scores of the next token of games that are `length` [P, B] tokens long."""
        tokens = tokens.to(self.table.device)
        level = bool((length == length[0, 0]).all())
        before = self._rows.get(group.start)
        kept = None if before is None or not level else _positions(before, rows)
        self._rows[group.start] = rows
        last = (length - 1).to(tokens.device)[..., None, None]

        def forward(name: str, target: bool = False) -> Tensor:
            flat = group.flat(f"{name}.target" if target else name)
            kernel, key = group.bound[name].kernel, (group.start, name, target)
            if not level:
                out = kernel(flat, tokens[..., : int(length.max())])
                return out.gather(2, last.expand(-1, -1, -1, out.shape[-1])).squeeze(2)
            cache = self._caches.get(key)
            if cache is None or kept is None or cache.length >= int(length[0, 0]):
                cache = self._caches[key] = Cache()
            elif before is not None and (kept.shape != before.shape or not torch.equal(rows, before)):
                cache.reorder(kept.to(tokens.device))
            return kernel.decode(flat, tokens[..., cache.length : int(length[0, 0])], cache)[:, :, -1]

        scores = token_algorithm(self.table.algorithm).scores(group, forward)
        if not level:
            self._caches.clear()
        return scores


def _positions(before: Tensor, rows: Tensor) -> Tensor | None:
    """[P, B']: where each of `rows` [P, B'] stood among those `before` [P, B]; None where one is new."""
    same = rows.unsqueeze(-1) == before.unsqueeze(1)  # [P, B', B]
    return same.int().argmax(-1) if bool(same.any(-1).all()) else None
