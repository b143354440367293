"""Speaking: agents that choose whole utterances, such as a guess of five letters, in the place of tokens.

The likeliest first token need not begin the likeliest utterance, and how good a token is depends on
what the agent would go on to say. Where an environment fixes how long an utterance is, a `Speaker`
compares whole ones: a beam search with the policy finds them, the algorithm judges them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.checks import positive_integer
from evolab.decoding import Choice, Player, forked
from evolab.networks.gpt_plan import Cache

if TYPE_CHECKING:
    from evolab.population import Population


class Speaker:
    """A population that plays by whole utterances: a policy for `play_many(speaker, starts, agents=P)`.

    Nothing is drawn: the same games come out every time. A token that is legal where an utterance
    begins counts as legal throughout it.

    Args:
        population: of agents that read tokens.
        length: L, tokens of an utterance.
        beams: K, utterances that are compared, the likeliest ones that a beam search finds; 1 says the likeliest
            token each time.
    """

    def __init__(self, population: Population, length: int, beams: int = 24) -> None:
        self.population = population
        self.length = positive_integer("length", length)
        self.beams = positive_integer("beams", beams)
        self._plans: dict[tuple[int, int], tuple[int, list[int]]] = {}  # where each utterance begins, and it

    def __call__(self, turn: Any) -> Tensor:
        """Tokens [P, B] for a `Turn` of all agents, or [B] for one of the only agent."""
        single = turn.length.dim() == 1
        tokens, length, legal, rows = (
            part.unsqueeze(0) if single else part
            for part in (turn.tokens, turn.length, turn.legal, turn.rows)
        )
        answer = torch.empty_like(length)
        for agent in range(len(length)):
            place, games = length[agent].tolist(), rows[agent].tolist()
            lost = {  # games that stand at the beginning of an utterance
                b
                for b, game in enumerate(games)
                if not 0 < place[b] - self._plans.get((agent, game), (-self.length,))[0] < self.length
            }
            for size in sorted({place[b] for b in lost}):
                those = [b for b in sorted(lost) if place[b] == size]
                said = self._utterances(agent, tokens[agent, those, :size], legal[agent, those])
                for b, utterance in zip(those, said.tolist(), strict=True):
                    self._plans[agent, games[b]] = size, utterance
            for b, game in enumerate(games):
                begin, utterance = self._plans[agent, game]
                answer[agent, b] = utterance[place[b] - begin]
        return answer[0] if single else answer

    def _utterances(self, agent: int, tokens: Tensor, legal: Tensor) -> Tensor:
        """[B, L], what an agent says next in games that are `tokens` [B, T] so far."""
        # Games that went the same way so far, as all have at the first move, are thought about once.
        both, back = torch.cat([tokens, legal.long()], 1).unique(dim=0, return_inverse=True)
        tokens, legal = both[:, : tokens.shape[1]], both[:, tokens.shape[1] :].bool()
        chunk, algorithm = self.population.solo(agent), self.population.algorithm
        device, prefix = self.population.device, tokens.shape[1]
        said, allowed = tokens.to(device), legal.to(device)
        caches = {("policy", False): Cache()}
        parent = torch.arange(len(said), device=device)  # of each beam, the prompt that it goes on from
        total = torch.zeros(len(said), 1, dtype=self.population.dtype, device=device)

        def forward(name: str, target: bool = False) -> Tensor:
            """[1, B * K, O] behind the tokens that were said."""
            cache = caches.get((name, target))
            flat, plan = chunk.flat(f"{name}.target" if target else name), chunk.bound[name].plan
            if cache is None:  # the prompts once, then what follows them in every beam
                cache = caches[name, target] = Cache()
                if said.shape[1] == prefix:
                    return plan(flat, said[None], cache=cache)[:, :, -1]  # type: ignore[no-any-return]
                plan(flat, tokens.to(device)[None], cache=cache)
                cache.reorder(parent[None])
            return plan(flat, said[None, :, cache.length :], cache=cache)[:, :, -1]  # type: ignore[no-any-return]

        with torch.no_grad():
            for step in range(self.length):
                odds = forward("policy")[0].log_softmax(-1)
                odds = torch.nan_to_num(odds, nan=0.0).masked_fill(~allowed[parent], float("-inf"))
                if step + 1 < self.length:
                    total, origin, token = forked(total, odds, self.beams)
                    for cache in caches.values():
                        cache.reorder(origin.view(1, -1))
                    said = torch.cat([said[origin.flatten()], token.view(-1, 1)], -1)
                    parent = parent[origin.flatten()]
                    continue
                # The last token stays open until the utterance is judged as a whole.
                total, origin, token = forked(total, odds, self.beams)

                def ahead(name: str, target: bool = False, origin: Tensor = origin) -> Tensor:
                    return forward(name, target)[:, origin.flatten()].unflatten(1, origin.shape)

                score = algorithm.judged(chunk, total[None], token[None], ahead)[0]  # type: ignore[attr-defined]  # [B, K]
                score = torch.nan_to_num(score, nan=float("-inf"))
                best = score.argmax(-1, keepdim=True)
                chosen = said[origin.gather(1, best)[:, 0]]
                said = torch.cat([chosen, token.gather(1, best)], -1)
        return said[back.to(device), prefix:].cpu()


def player(population: Population, environment: Any, choice: Choice | None = None) -> Callable[[Any], Tensor]:
    """How a population plays in an environment: by utterances where its algorithm compares several.

    Args:
        population: of agents that read tokens.
        environment: tells by `utterance` how many tokens an agent says in a row, where that is fixed.
        choice: how single tokens are chosen; given, agents go token by token.

    Raises:
        ValueError: the algorithm compares utterances and the environment does not fix their length.
    """
    beams = population.algorithm.beams  # type: ignore[attr-defined]
    if beams == 1 or choice is not None:
        return Player(population, choice)
    if environment.utterance is None:
        raise ValueError(
            f"{population.algorithm.name}(beams={beams}) compares whole utterances, whose length {environment.name} "
            f"does not fix. Set its attribute `utterance` to the number of tokens, or use beams=1."
        )
    return Speaker(population, environment.utterance, beams)


__all__ = ["Speaker", "player"]
