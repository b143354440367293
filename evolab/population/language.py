"""Speaking: agents that choose whole utterances, such as a guess of five letters, in the place of tokens.

The likeliest first token need not begin the likeliest utterance, and how good a token is depends on
what the agent would go on to say. Where an environment fixes how long an utterance is, a `Speaker`
compares whole ones: a beam search with the policy finds them, the algorithm judges them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evolab.core.checks import positive_integer
from evolab.networks.cache import Cache
from evolab.population.agent import Agent
from evolab.population.decoding import Choice, Player, forked
from evolab.population.population import Population


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
        # Of each game: where the utterance begins, and the tokens so far with it behind them.
        self._plans: dict[tuple[int, int], tuple[int, list[int]]] = {}

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
            said = [tokens[agent, b, : place[b]].tolist() for b in range(len(games))]
            fresh = [
                b for b, game in enumerate(games) if not self._within(self._plans.get((agent, game)), said[b])
            ]
            for size in sorted({place[b] for b in fresh}):
                those = [b for b in fresh if place[b] == size]
                next_ones = self._utterances(agent, tokens[agent, those, :size], legal[agent, those])
                for b, utterance in zip(those, next_ones.tolist(), strict=True):
                    self._plans[agent, games[b]] = size, said[b] + utterance
            for b, game in enumerate(games):
                answer[agent, b] = self._plans[agent, game][1][place[b]]
        return answer[0] if single else answer

    def _within(self, plan: tuple[int, list[int]] | None, said: list[int]) -> bool:
        """True where a game stands in the middle of what was planned."""
        if plan is None:
            return False
        begin, whole = plan
        return begin < len(said) < len(whole) and whole[: len(said)] == said

    def _utterances(self, agent: int, tokens: Tensor, legal: Tensor) -> Tensor:
        """[B, L], what an agent says next in games that are `tokens` [B, T] so far."""
        # Games that went the same way so far, as all have at the first move, are thought about once.
        both, back = torch.cat([tokens, legal.long()], 1).unique(dim=0, return_inverse=True)
        tokens, legal = both[:, : tokens.shape[1]], both[:, tokens.shape[1] :].bool()
        group, algorithm = self.population.table.solo(agent), self.population.algorithm
        device, prefix = self.population.device, tokens.shape[1]
        said, allowed = tokens.to(device), legal.to(device)
        caches = {("policy", False): Cache()}
        parent = torch.arange(len(said), device=device)  # of each beam, the prompt that it goes on from
        total = torch.zeros(len(said), 1, dtype=self.population.dtype, device=device)

        def forward(name: str, target: bool = False) -> Tensor:
            """[1, B * K, O] behind the tokens that were said."""
            cache = caches.get((name, target))
            flat, kernel = group.flat(f"{name}.target" if target else name), group.bound[name].kernel
            if cache is None:  # the prompts once, then what follows them in every beam
                cache = caches[name, target] = Cache()
                if said.shape[1] == prefix:
                    return kernel.decode(flat, said[None], cache)[:, :, -1]
                kernel.decode(flat, tokens.to(device)[None], cache)
                cache.reorder(parent[None])
            return kernel.decode(flat, said[None, :, cache.length :], cache)[:, :, -1]

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

                score = algorithm.judged(group, total[None], token[None], ahead)[0]  # type: ignore[attr-defined]  # [B, K]
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


class Voice:
    """An agent whose `act(observation)` says whole utterances, token by token; its own goes by tokens alone.

    Args:
        agent: one that reads tokens.
        environment: tells by `utterance` how long they are.
    """

    def __init__(self, agent: Agent, environment: Any) -> None:
        self._pad = environment.tokenizer.pad
        low = int(environment.action_space.start)
        token = torch.arange(environment.tokenizer.size)
        self._legal = (token >= low) & (token < low + int(environment.action_space.n))
        self._policy = player(Population.of([agent]), environment)

    def act(self, observation: Any) -> int:
        """The next token of an episode [T], filled up with pad."""
        tokens = torch.as_tensor(observation).long()
        length = (tokens != self._pad).sum()
        turn = Seen(tokens[None, :length], length[None], self._legal[None], torch.zeros(1, dtype=torch.int64))
        return int(self._policy(turn)[0])


class Seen(NamedTuple):
    """What a policy sees of a single game; see `evolab.envs.language.turns.Turn`."""

    tokens: Tensor
    length: Tensor
    legal: Tensor
    rows: Tensor


def voice(agent: Any, environment: Any) -> Any:
    """What acts for an agent in an environment: itself, or its `Voice` where it compares utterances."""
    algorithm = getattr(agent, "algorithm", None)
    return Voice(agent, environment) if getattr(algorithm, "beams", 1) > 1 else agent


__all__ = ["Speaker", "Voice", "player", "voice"]
