"""Language environments: the agent speaks one token after the other, the environment answers.

Subclass `LanguageEnvironment` and say four things: which tokens there are (`tokenizer`), how long an
episode may get (`block`), how one begins (`begin`) and what follows a token (`hear`). You get a
Gymnasium environment, play of many episodes at once, data sets, and everything that trains on them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium import spaces

from evolab.core.checks import positive_integer
from evolab.core.rng import numpy_stream
from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.tokenizer import Tokenizer
from evolab.data.datasets.tokens import TokenDataset
from evolab.envs.language.turns import Game, GameTable, Policy, Reply
from evolab.population.agent import Agent
from evolab.population.utterances import language_policy


@runtime_checkable
class RecordsEpisodes(Protocol):
    """An environment that records data of its own, which `fill` and `data=` can ask for."""

    @property
    def record(self) -> Callable[..., TokenDataset]:
        """Episodes of its scripted players; what it takes is named in its own signature."""


class LanguageEnvironment(gymnasium.Env[np.ndarray, Any], ABC):
    """The contract of a language environment; write `begin` and `hear`, and call `super().__init__`.

    As a Gymnasium environment it goes token by token: an observation is the episode so far,
    int64 [block], filled up with pad; an action is one token. `step` takes text too: its tokens
    one after the other, until the environment replies. `info["legal"]` tells the tokens that may
    be chosen next, `info["start"]` where the episode began.

    Args:
        tokenizer: its tokens; pad is the first of them or the last.
        block: the most tokens of an episode, prompt and replies included.
        starts: all starting points, where there are finitely many.
        render_mode: None or "ansi" (or what a subclass adds).

    Attributes:
        utterance: tokens that the agent says in a row before it is answered, where that is fixed; else None.

    Raises:
        ValueError: for a pad in the middle of the vocabulary, or an unknown render mode.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 2}  # noqa: RUF012  # Gymnasium declares it so
    utterance: int | None = None

    def __init__(
        self,
        tokenizer: Tokenizer,
        block: int,
        starts: Sequence[object] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.block = positive_integer("block", block, minimum=2)
        self.starts = None if starts is None else tuple(starts)
        if self.starts == ():
            raise ValueError(f"{self.name} has no starting point; give at least one, or None for seeds.")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            known = ", ".join(self.metadata["render_modes"])
            raise ValueError(f"render_mode is {render_mode!r}; {self.name} renders {known}.")
        self.render_mode = render_mode
        size, pad = tokenizer.size, tokenizer.pad
        if pad not in (0, size - 1):
            raise ValueError(
                f"pad is token {pad} of {size}; expected the first name of the vocabulary or the last."
            )
        self.observation_space = spaces.MultiDiscrete(np.full(self.block, size))
        self.action_space: spaces.Space = spaces.Discrete(size - 1, start=int(pad == 0))  # pad is never said
        self._all_but_pad = np.arange(size) != pad
        self._game: Game | None = None

    @property
    def name(self) -> str:
        """What messages and data sets call it: the class's name."""
        return type(self).__name__

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments as JSON can hold them, so that a saved run can make it anew."""
        return {}

    @abstractmethod
    def begin(self, start: Any) -> tuple[Any, Sequence[int]]:
        """A new episode.

        Args:
            start: a starting point, as `draw` gives; whatever is random in the episode follows from it.

        Returns:
            The state of the episode, an object that `hear` may change, and the tokens that the
            agent hears first: at least one, so that there is something to go on.
        """

    @abstractmethod
    def hear(self, state: Any, token: int) -> Reply:
        """What follows when the agent has chosen `token`, which may be any but pad."""

    def draw(self, generator: np.random.Generator) -> Any:
        """A random starting point that JSON can hold: one of `starts`, or a seed where there are none."""
        if self.starts is None:
            return int(generator.integers(2**31))
        return self.starts[int(generator.integers(len(self.starts)))]

    def legal(self, state: Any) -> np.ndarray:
        """Bool [V], the tokens that may be chosen now; all but pad unless overridden."""
        return self._all_but_pad

    def fixed_starts(self, count: int, seed: int = 0) -> list[Any]:
        """`count` starting points for fair comparisons, all different where there are enough."""
        stream = numpy_stream(seed, "starts")
        if self.starts is None:
            return [self.draw(stream) for _ in range(count)]
        chosen: list[Any] = []
        while len(chosen) < count:
            order = stream.permutation(len(self.starts))[: count - len(chosen)]
            chosen += [self.starts[int(place)] for place in order]
        return chosen

    @property
    def legal_now(self) -> np.ndarray:
        """Bool [V], the tokens that may be chosen in the episode that goes on, as `info["legal"]` tells."""
        return self._all_but_pad if self._game is None else np.array(self.legal(self._game.state))

    def play_many(
        self, policy: Policy | Agent, starts: Sequence[object], agents: int | None = None
    ) -> TokenDataset:
        """Play an episode from every start, all at once.

        Args:
            policy: an agent, which plays greedily; or what gives for a `Turn` the chosen tokens, int64 [B]; [P, B]
                with `agents`.
            starts: starting points, such as `fixed_starts` gives.
            agents: P, where a population plays: each of its agents from all the starts.

        Returns:
            The episodes in the order of the starts, agent by agent: `data.returns.view(P, -1)`.
            One that fills the block is cut and has not terminated.

        Raises:
            ValueError: the policy answers in another shape or with a token that is not legal, or
                a reply does not fit the block.
        """
        if isinstance(policy, Agent):
            policy = language_policy(policy.copy().table, self)
        table = GameTable(self, starts, 1 if agents is None else positive_integer("agents", agents))
        while table.going.any():
            table.turn(policy, single=agents is None)
        episodes = [game.episode for games in table.games for game in games]
        return TokenDataset.of(episodes, self.tokenizer, self.name)

    def check(self, data: TokenDataset) -> TokenDataset:
        """The data set, if an agent of this environment can learn from it.

        Raises:
            DatasetError: it has other tokens, or its episodes are longer than the block.
        """
        if (data.vocabulary, data.pad) != (self.tokenizer.vocabulary, self.tokenizer.pad):
            differing = sorted(set(data.vocabulary) ^ set(self.tokenizer.vocabulary))[:5]
            differ = (
                f"they differ in {', '.join(differing)}" if differing else "the names stand in another order"
            )
            raise DatasetError(
                f"the data set of {data.environment or 'tokens'} has a vocabulary of {len(data.vocabulary)} names, "
                f"{self.name} has {self.tokenizer.size}: {differ}. Record it in this environment."
            )
        longest = int(data.length.max()) if len(data) else 0
        if longest > self.block:
            raise DatasetError(
                f"the data set has an episode of {longest} tokens; {self.name} has block={self.block}. "
                "Make the environment with a larger block, or leave such episodes out."
            )
        return data

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; `options={"start": ...}` chooses where."""
        super().reset(seed=seed)
        start = (options or {}).get("start")
        self._game = Game(self, self.draw(self.np_random) if start is None else start)
        return self._observation(self._game), self._info(self._game)

    def step(self, action: int | str) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Choose a token, or say a text until the environment replies.

        Raises:
            ValueError: the action is pad, no token, or text that the vocabulary cannot say.
        """
        game = self._game
        if game is None or game.over:
            raise gymnasium.error.ResetNeeded(f"{self.name}: call reset() before step().")
        reward = 0.0
        for token in self.tokenizer.encode(action) if isinstance(action, str) else [int(action)]:
            if not self.action_space.contains(token):
                raise ValueError(
                    f"the action is {action!r}; {self.name} takes a token of {self.action_space} or text."
                )
            before = len(game.episode.tokens)
            game.say(token)
            reward += game.episode.rewards[before]
            if game.over or len(game.episode.tokens) > before + 1:
                break
        ended = game.episode.terminated
        return self._observation(game), reward, ended, game.over and not ended, self._info(game)

    def render(self) -> Any:
        """The episode so far as text, in mode "ansi"."""
        if self.render_mode is None or self._game is None:
            return None
        return self.tokenizer.decode(self._game.episode.tokens)

    def __repr__(self) -> str:
        return f"{self.name}({self.tokenizer.size} tokens, block={self.block}): .reset(), .step(token)"

    def __str__(self) -> str:
        """The same; Gymnasium would give the class's name alone."""
        return repr(self)

    def _observation(self, game: Game) -> np.ndarray:
        observation = np.full(self.block, self.tokenizer.pad, dtype=np.int64)
        observation[: len(game.episode.tokens)] = game.episode.tokens
        return observation

    def _info(self, game: Game) -> dict[str, Any]:
        return {"start": game.episode.start, "legal": self.legal_now}
