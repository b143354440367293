"""Whole utterances, such as a guess of five letters, in the place of single tokens.

The likeliest first token need not begin the likeliest utterance, and how good a token is depends on
what the agent would go on to say. Where an environment fixes how long an utterance is, an
`UtterancePolicy` compares whole ones: a beam search with the policy finds them, the algorithm scores them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from evolab.algorithms.tokens import TokenAlgorithm, token_algorithm
from evolab.core.checks import positive_integer
from evolab.core.trees import Tree
from evolab.networks.token_cache import Cache
from evolab.population.agent import Agent
from evolab.population.decoding import Decoding, TokenPolicy, Turn
from evolab.population.table import Table


class Speech(Protocol):
    """What is asked of a language environment; `evolab.envs.language.environment` has it all.

    Attributes:
        utterance: tokens that an agent says in a row; None where their number is not fixed.
        tokenizer: has the number `pad` and the number of tokens, `size`.
        action_space: the tokens that an agent may say.
    """

    utterance: int | None
    tokenizer: Any
    action_space: Any

    @property
    def name(self) -> str:
        """What messages call it."""


class UtterancePolicy:
    """Agents that say whole utterances: a policy for `play_many(policy, starts, agents=P)`.

    Nothing is drawn: the same games come out every time. A token that is legal where an utterance
    begins counts as legal throughout it.

    Args:
        table: of agents that read tokens.
        length: L, tokens of an utterance.
        beams: K, utterances that are compared, the likeliest ones that a beam search finds; 1 says the likeliest
            token each time.
    """

    def __init__(self, table: Table, length: int, beams: int = 24) -> None:
        self.table = table
        self.length = positive_integer("length", length)
        self.beams = positive_integer("beams", beams)
        # Of each agent and game: where the utterance begins, and the tokens so far with it behind them.
        self._decided: dict[tuple[int, int], tuple[int, list[int]]] = {}

    def __call__(self, turn: Turn) -> Tensor:
        """Tokens [P, B] for a turn of all agents, or [B] for one of the only agent."""
        tokens, length, legal, rows = turn.parts()
        answer = torch.empty_like(length)
        for agent in range(len(length)):
            sizes, games = length[agent].tolist(), rows[agent].tolist()
            said = [tokens[agent, b, : sizes[b]].tolist() for b in range(len(games))]
            fresh = [b for b, game in enumerate(games) if not self._amid((agent, game), said[b])]
            for size in sorted({sizes[b] for b in fresh}):
                those = [b for b in fresh if sizes[b] == size]
                found = self._utterances(agent, tokens[agent, those, :size], legal[agent, those])
                for b, utterance in zip(those, found.tolist(), strict=True):
                    self._decided[agent, games[b]] = size, said[b] + utterance
            for b, game in enumerate(games):
                answer[agent, b] = self._decided[agent, game][1][sizes[b]]
        return answer.view(turn.length.shape)

    def _amid(self, key: tuple[int, int], said: list[int]) -> bool:
        """True where a game stands in the middle of the utterance that was decided on."""
        begin, whole = self._decided.get(key, (0, []))
        return begin < len(said) < len(whole) and whole[: len(said)] == said

    def _utterances(self, agent: int, tokens: Tensor, legal: Tensor) -> Tensor:
        """[B, L], what an agent says next in games that are `tokens` [B, T] so far."""
        # Games that went the same way so far, as all have at the first move, are searched once.
        both, back = torch.cat([tokens, legal.long()], 1).unique(dim=0, return_inverse=True)
        device, prefix = self.table.device, tokens.shape[1]
        search = BeamSearch(
            self.table, agent, both[:, :prefix].to(device), both[:, prefix:].bool().to(device)
        )
        with torch.no_grad():
            for _ in range(self.length - 1):
                search.extend(self.beams)
            return search.finish(self.beams)[back.to(device)].cpu()


class BeamSearch:
    """The likeliest continuations of some prompts, by one agent.

    Args:
        table: of the agent.
        row: its own.
        prompts: [B, T].
        legal: [B, V], tokens that may be said.
    """

    def __init__(self, table: Table, row: int, prompts: Tensor, legal: Tensor) -> None:
        self._group, self._rule = table.solo(row), token_algorithm(table.algorithm)
        self._prompts, self._legal = prompts, legal
        self._said = prompts  # [B * K, T + tokens so far], the beams of every prompt side by side
        self._parent = torch.arange(len(prompts), device=table.device)  # [B * K], the prompt of each beam
        self._total = torch.zeros(len(prompts), 1, dtype=table.dtype, device=table.device)  # [B, K]
        self._caches = {("policy", False): Cache()}

    def extend(self, beams: int) -> None:
        """Go on by one token, with so many beams of each prompt at most."""
        self._total, origin, token = forked(self._total, self._odds(), beams)
        for cache in self._caches.values():
            cache.reorder(origin.view(1, -1))
        self._said = torch.cat([self._said[origin.flatten()], token.view(-1, 1)], -1)
        self._parent = self._parent[origin.flatten()]

    def finish(self, beams: int) -> Tensor:
        """Go on by the last token and choose the utterance of each prompt that scores best, [B, tokens]."""
        total, origin, token = forked(self._total, self._odds(), beams)

        def before_last(name: str, target: bool = False) -> Tensor:
            """[1, B, K, O]."""
            return self._forward(name, target)[:, origin.flatten()].unflatten(1, origin.shape)

        score = self._rule.utterance_scores(self._group, total[None], token[None], before_last)[0]  # [B, K]
        best = torch.nan_to_num(score, nan=float("-inf")).argmax(-1, keepdim=True)
        chosen = self._said[origin.gather(1, best)[:, 0]]
        return torch.cat([chosen, token.gather(1, best)], -1)[:, self._prompts.shape[1] :]

    def _odds(self) -> Tensor:
        """[B * K, V]: log-probabilities of the next token."""
        odds = self._forward("policy")[0].log_softmax(-1)
        return torch.nan_to_num(odds, nan=0.0).masked_fill(~self._legal[self._parent], float("-inf"))

    def _forward(self, name: str, target: bool = False) -> Tensor:
        """[1, B * K, O]: outputs of a network behind the tokens that were said."""
        flat = self._group.flat(f"{name}.target" if target else name)
        kernel, cache = self._group.bound[name].kernel, self._caches.get((name, target))
        if cache is None:  # the prompts once, then what follows them in every beam
            cache = self._caches[name, target] = Cache()
            if self._said is not self._prompts:
                kernel.decode(flat, self._prompts[None], cache)
                cache.reorder(self._parent[None])
        return kernel.decode(flat, self._said[None, :, cache.length :], cache)[:, :, -1]


def forked(total: Tensor, scores: Tensor, beams: int) -> tuple[Tensor, Tensor, Tensor]:
    """One step of a beam search.

    Args:
        total: [B, K], scores of the beams of every prompt so far.
        scores: [B * K, V], of the next token behind each beam.
        beams: K', most that go on.

    Returns:
        the best K' continuations of every prompt, best first, [B, K'] each: their scores, the
        beams that they go on from (counted among all B * K), and their new tokens.

    >>> forked(torch.tensor([[0.0, -1.0]]), torch.tensor([[-3.0, -2.0], [-0.5, -4.0]]), 2)
    (tensor([[-1.5000, -2.0000]]), tensor([[1, 0]]), tensor([[0, 1]]))
    """
    every = total.unsqueeze(-1) + scores.unflatten(0, total.shape)  # [B, K, V]
    best, place = every.flatten(1).topk(min(beams, every[0].numel()), -1)
    first = torch.arange(len(place), device=place.device)[:, None] * every.shape[1]
    return best, place // every.shape[-1] + first, place % every.shape[-1]


def language_policy(
    table: Table, environment: Speech, choice: Decoding | None = None
) -> Callable[[Turn], Tensor]:
    """How agents play in an environment: by utterances where their algorithm compares several.

    Args:
        table: of agents that read tokens.
        environment: where they play.
        choice: how single tokens are chosen; given, agents go token by token.

    Raises:
        ValueError: the algorithm compares utterances and the environment does not fix their length.
    """
    beams = token_algorithm(table.algorithm).beams
    if beams == 1 or choice is not None:
        return TokenPolicy(table, choice)
    if environment.utterance is None:
        raise ValueError(
            f"{table.algorithm.name}(beams={beams}) compares whole utterances, whose length {environment.name} "
            f"does not fix. Set its attribute `utterance` to the number of tokens, or use beams=1."
        )
    return UtterancePolicy(table, environment.utterance, beams)


class Speaker:
    """An agent whose `act(observation)` chooses as it does when it is measured; its own goes by tokens alone.

    It says whole utterances where its algorithm compares them, and only what is legal.

    Args:
        agent: one that reads tokens.
        environment: where it acts.
        legal: bool [V], the tokens that may be chosen now, asked before each of them.
    """

    def __init__(self, agent: Agent, environment: Speech, legal: Callable[[], object]) -> None:
        self._pad, self._legal = environment.tokenizer.pad, legal
        self._policy = language_policy(agent.copy().table, environment)
        self._said, self._game = torch.zeros(0, dtype=torch.int64), 0

    def act(self, observation: Tree) -> int:
        """The next token of an episode [T], filled up with pad."""
        tokens = torch.as_tensor(observation).long()
        said = tokens[: (tokens != self._pad).sum()]
        if not torch.equal(said[: len(self._said)], self._said):  # another episode
            self._game += 1
        self._said = said
        length, game = torch.tensor([len(said)]), torch.tensor([self._game])
        turn = Turn(said[None], length, torch.as_tensor(self._legal())[None], game)
        return int(self._policy(turn)[0])


def actor_in(environment: Speech, agent: object, legal: Callable[[], object]) -> Any:
    """What acts for an agent in a language environment: a `Speaker` where it reads tokens, else itself.

    Args:
        environment: of tokens.
        agent: whatever acts.
        legal: bool [V], the tokens that may be chosen now.
    """
    if isinstance(agent, Agent) and isinstance(agent.algorithm, TokenAlgorithm):
        return Speaker(agent, environment, legal)
    return agent
