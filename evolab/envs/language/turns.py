"""Many episodes of a language environment at once: one token in each of them, turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from evolab.data.datasets.token_arrays import TokenEpisode
from evolab.data.datasets.tokenizer import Tokenizer
from evolab.population.decoding import Turn


class Reply(NamedTuple):
    """What follows a token that the agent chose.

    Attributes:
        tokens: what the environment says next; nothing where the agent goes on speaking.
        reward: for the token.
        terminated: True where the episode is over; `tokens` is not read then.
    """

    tokens: Sequence[int] = ()
    reward: float = 0.0
    terminated: bool = False


class Answerer(Protocol):
    """What an episode asks of its environment; `LanguageEnvironment` says it all."""

    tokenizer: Tokenizer
    block: int

    @property
    def name(self) -> str:
        """What messages call it."""

    def begin(self, start: Any) -> tuple[Any, Sequence[int]]:
        """The state of a new episode and the tokens heard first."""

    def hear(self, state: Any, token: int) -> Reply:
        """What follows a chosen token."""

    def legal(self, state: Any) -> np.ndarray:
        """Bool [V], the tokens that may be chosen."""


Policy = Callable[[Turn], Tensor]


class Game:
    """One episode going on: the environment's state, and what was said.

    Attributes:
        over: True where it terminated or has filled the block.
    """

    __slots__ = ("environment", "episode", "over", "state")

    def __init__(self, environment: Answerer, start: object) -> None:
        """Begin at a starting point."""
        self.environment = environment
        self.episode = TokenEpisode(start)
        self.over = False
        self.state, prompt = environment.begin(start)
        if not len(prompt) or len(prompt) >= environment.block:
            raise ValueError(
                f"{environment.name}.begin({start!r}) gave {len(prompt)} tokens; expected at least 1 and fewer than "
                f"the block, {environment.block}."
            )
        self.episode.hear(prompt)

    def say(self, token: int) -> None:
        """Choose a token and take the reply in."""
        block = self.environment.block
        reply = self.environment.hear(self.state, token)
        self.episode.say(token, reply.reward)
        self.episode.terminated = bool(reply.terminated)
        if not reply.terminated:
            self.episode.hear(reply.tokens)
        size = len(self.episode.tokens)
        if size > block:
            raise ValueError(
                f"{self.environment.name}: an episode has grown to {size} tokens; block is {block}. Make the block "
                "larger, or end the episode (Reply(terminated=True)) before a reply that does not fit."
            )
        self.over = self.episode.terminated or size == block


class GameTable:
    """The games of P agents from the same starts, and their tokens in one array."""

    def __init__(self, environment: Answerer, starts: Sequence[object], agents: int) -> None:
        """Begin every game."""
        self.environment = environment
        self.games = [[Game(environment, start) for start in starts] for _ in range(agents)]
        pad = environment.tokenizer.pad
        self.tokens = np.full((agents, len(starts), environment.block), pad, dtype=np.int64)
        self.length = np.zeros((agents, len(starts)), dtype=np.int64)
        self.going = np.ones((agents, len(starts)), dtype=bool)
        for agent in range(agents):
            for row in range(len(starts)):
                self._take_in(agent, row)

    def turn(self, policy: Policy, single: bool) -> None:
        """One token in every game that is still going on.

        Args:
            policy: gives the tokens.
            single: show it [B] in the place of [1, B].
        """
        rows, real = self._rows()
        agents = np.arange(len(rows))[:, None]
        length = self.length[agents, rows]
        legal = np.array(
            [
                [self.environment.legal(games[row].state) for row in mine]
                for games, mine in zip(self.games, rows.tolist(), strict=True)
            ]
        )
        parts = (self.tokens[agents, rows, : length.max()], length, legal, rows)
        turn = Turn(*(torch.from_numpy(part[0] if single else part) for part in parts))
        answer = torch.as_tensor(policy(turn))
        if answer.shape != turn.length.shape:
            raise ValueError(
                f"the policy gave tokens of shape {tuple(answer.shape)}; expected {tuple(turn.length.shape)}, one "
                "for each game of the turn."
            )
        chosen = answer.detach().cpu().numpy().astype(np.int64).reshape(rows.shape)
        size = self.environment.tokenizer.size
        known = (chosen >= 0) & (chosen < size)
        wrong = real & ~(known & np.take_along_axis(legal, np.where(known, chosen, 0)[..., None], -1)[..., 0])
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0])
            token = int(chosen[at])
            name = f" ({self.environment.tokenizer.vocabulary[token]})" if known[at] else ""
            raise ValueError(
                f"the policy chose token {token}{name} in game {rows[at]}, which is not legal there; choose among "
                "those where Turn.legal is True."
            )
        for agent, column in np.argwhere(real).tolist():
            row = int(rows[agent, column])
            self.games[agent][row].say(int(chosen[agent, column]))
            self._take_in(agent, row)

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """[P, B], the games still going on, and True where one is no repetition."""
        width = int(self.going.sum(1).max())
        # Stable: those that go on come first, in their order; a finished one is a row of the right shape.
        rows = np.argsort(~self.going, axis=1, kind="stable")[:, :width]
        real = np.take_along_axis(self.going, rows, 1)
        return np.where(real, rows, rows[:, :1]), real

    def _take_in(self, agent: int, row: int) -> None:
        """Copy what is new in a game."""
        game, before = self.games[agent][row], int(self.length[agent, row])
        said = game.episode.tokens
        self.tokens[agent, row, before : len(said)] = said[before:]
        self.length[agent, row] = len(said)
        self.going[agent, row] = not game.over
