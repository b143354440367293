"""Decoding: what agents that read tokens say, greedily, at random or by beam search.

A `Player` answers turn after turn for a whole population and keeps keys and values of what was
said, so that a token costs one position. `generate` goes on from prompts for a single agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.core import checks
from evolab.networks.cache import Cache

if TYPE_CHECKING:
    from evolab.networks.batching.group import AgentGroup
    from evolab.population.agent import Agent
    from evolab.population.population import Population


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


class Choice:
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


class Player:
    """A population that plays: the policy that `play_many(player, starts, agents=P)` asks for tokens.

    Args:
        population: of agents that read tokens.
        choice: how tokens are chosen; None for the best one.
    """

    def __init__(self, population: Population, choice: Choice | None = None) -> None:
        self.population, self.choice = population, choice or Choice()
        self._caches: dict[Any, Cache] = {}
        self._rows: dict[int, Tensor] = {}

    def __call__(self, turn: Any) -> Tensor:
        """Tokens [P, B] for a `Turn` of all agents, or [B] for one of the only agent."""
        single = turn.length.dim() == 1
        tokens, length, legal, rows = (
            part.unsqueeze(0) if single else part
            for part in (turn.tokens, turn.length, turn.legal, turn.rows)
        )
        chosen = []
        with torch.no_grad():
            for group in self.population.groups:
                own = group.rows
                scores = self._scores(group, tokens[own], length[own], rows[own])
                scores = torch.nan_to_num(scores, nan=0.0)  # a diverged agent loses its games, not the run
                chosen.append(self.choice(scores.masked_fill(~legal[own].to(scores.device), float("-inf"))))
        answer = torch.cat(chosen).cpu()
        return answer[0] if single else answer

    def _scores(self, group: AgentGroup, tokens: Tensor, length: Tensor, rows: Tensor) -> Tensor:
        """[C, B, V]: scores of the next token of games that are `length` [C, B] tokens long."""
        device = self.population.device
        tokens = tokens.to(device)
        level = bool((length == length[0, 0]).all())
        before = self._rows.get(group.start)
        kept = None if before is None or not level else _places(before, rows)
        self._rows[group.start] = rows
        last = (length - 1).to(device)[..., None, None]

        def forward(name: str, target: bool = False) -> Tensor:
            flat = group.flat(f"{name}.target" if target else name)
            kernel, key = group.bound[name].kernel, (group.start, name, target)
            if not level:
                out = kernel(flat, tokens[..., : int(length.max())])
                return out.gather(2, last.expand(-1, -1, -1, out.shape[-1])).squeeze(2)
            cache = self._caches.get(key)
            if cache is None or kept is None or cache.length >= int(length[0, 0]):
                cache = self._caches[key] = Cache()
            elif kept.shape != before.shape or not torch.equal(rows, before):  # type: ignore[union-attr, arg-type]
                cache.reorder(kept.to(device))
            return kernel.decode(flat, tokens[..., cache.length : int(length[0, 0])], cache)[:, :, -1]

        scores: Tensor = self.population.algorithm.scores(group, forward)  # type: ignore[attr-defined]
        if not level:
            self._caches.clear()
        return scores


def _places(before: Tensor, rows: Tensor) -> Tensor | None:
    """[C, B']: where each of `rows` [C, B'] stood among those `before` [C, B]; None where one is new."""
    same = rows.unsqueeze(-1) == before.unsqueeze(1)  # [C, B', B]
    return same.int().argmax(-1) if bool(same.any(-1).all()) else None


def generate(
    agent: Agent,
    tokens: Any,
    count: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    beams: int = 1,
    seed: int = 0,
) -> Tensor:
    """Let an agent go on from prompts, without an environment that replies.

    Args:
        agent: one that reads tokens.
        tokens: [B, T] int64, prompts of one length.
        count: tokens to add.
        temperature: 0 for the best token each time, else that of a draw.
        top_k: draw from so many best tokens only.
        top_p: draw from the fewest tokens with this share of the probability only.
        beams: keep so many continuations side by side and give the one of the highest total score;
            needs a temperature of 0.
        seed: of the draws.

    Returns:
        [B, T + count].

    Raises:
        ValueError: beams with a temperature, or more tokens than the block holds.
    """
    beams = checks.positive_integer("beams", beams)
    if beams > 1 and temperature > 0:
        raise ValueError(
            f"beams is {beams} and temperature {temperature}: a beam search draws nothing. Drop one."
        )
    population = agent.table
    group = population.solo(agent.row)
    said = torch.as_tensor(tokens, device=population.device).long().unsqueeze(0)  # [1, B, T]
    choice = Choice(temperature, top_k, top_p, seed)
    caches: dict[Any, Cache] = {}
    total = torch.zeros(said.shape[:2], dtype=population.dtype, device=population.device)

    def forward(name: str, target: bool = False) -> Tensor:
        cache = caches.setdefault((name, target), Cache())
        flat = group.flat(f"{name}.target" if target else name)
        return group.bound[name].kernel.decode(flat, said[..., cache.length :], cache)[:, :, -1]

    with torch.no_grad():
        for step in range(checks.positive_integer("count", count)):
            scores = population.algorithm.scores(group, forward)  # type: ignore[attr-defined]
            if beams == 1:
                said = torch.cat([said, choice(scores).unsqueeze(-1)], -1)
                continue
            if step == 0:  # every prompt begins with a single beam
                total = torch.zeros(scores.shape[1], 1, dtype=scores.dtype, device=scores.device)
            total, parent, token = forked(total, scores[0], beams)
            for cache in caches.values():
                cache.reorder(parent.view(1, -1))
            said = said[:, parent.flatten()]
            said = torch.cat([said, token.view(1, -1, 1)], -1)
    said = said[0]
    return said if beams == 1 else said.unflatten(0, total.shape)[:, 0]


def forked(total: Tensor, scores: Tensor, beams: int) -> tuple[Tensor, Tensor, Tensor]:
    """One step of a beam search.

    Args:
        total: [B, K], scores of the beams of every prompt so far.
        scores: [B * K, V], of the next token behind each beam.
        beams: K', most that go on.

    Returns:
        the best K' continuations of every prompt, best first, [B, K'] each: their scores, the
        beams that they go on from (a place among the B * K), and their new tokens.

    >>> forked(torch.tensor([[0.0, -1.0]]), torch.tensor([[-3.0, -2.0], [-0.5, -4.0]]), 2)
    (tensor([[-1.5000, -2.0000]]), tensor([[1, 0]]), tensor([[0, 1]]))
    """
    every = total.unsqueeze(-1) + scores.unflatten(0, total.shape)  # [B, K, V]
    best, place = every.flatten(1).topk(min(beams, every[0].numel()), -1)
    first = torch.arange(len(place), device=place.device)[:, None] * every.shape[1]
    return best, place // every.shape[-1] + first, place % every.shape[-1]
