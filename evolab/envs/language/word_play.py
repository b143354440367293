"""A board of the word game to play on: a person against an agent, or an agent to be watched."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from evolab.core.rng import fresh_seed, numpy_stream
from evolab.envs.base import Actor
from evolab.envs.language import word_policies
from evolab.envs.language.turns import Game
from evolab.envs.language.word_board import Board, Boards
from evolab.envs.language.word_environment import WordEnvironment
from evolab.envs.language.word_policies import Knowledge
from evolab.population.utterances import actor_in


class WordPlay:
    """A game against an agent on the same secret word; in a notebook it shows itself as a widget.

    Without a notebook it goes by code, and every call shows the boards: `guess("crane")`,
    `watch()` (the agent guesses, its letters to be seen), `new()`. After each guess of yours
    the agent makes one too; its letters are hidden until your game is over.

    Args:
        game: the word game.
        agent: whatever has `act(observation)`, a scripted player or its name, or None to play alone.
        secret: the first word to find; None for a random one.
        seed: of the words and a scripted player; None for a fresh one.

    Raises:
        TypeError: the agent cannot act.
        ValueError: for an unknown scripted player.
    """

    def __init__(
        self, game: WordEnvironment, agent: object = None, secret: str | None = None, seed: int | None = None
    ) -> None:
        if agent is not None and not isinstance(agent, Actor):
            if not isinstance(agent, str) and not callable(agent):
                raise TypeError(
                    f"agent is {agent!r} ({type(agent).__name__}); expected a trained agent, which has "
                    f"act(observation), or a scripted player: {', '.join(word_policies.PLAYERS)}."
                )
            agent = word_policies.player(agent)
        self.game, self.agent = game, agent
        self._actor = actor_in(game, agent, lambda: game.legal(self._its.state))
        self._stream = numpy_stream(fresh_seed() if seed is None else seed, "play")
        self._page: Any = None
        self._tally: list[tuple[float, float]] = []
        self.new(secret)

    def new(self, secret: str | None = None) -> WordPlay:
        """The next word; a random one of the list where none is given."""
        self._secret = self.game.draw(self._stream) if secret is None else secret
        self._mine, self._its = Game(self.game, self._secret), Game(self.game, self._secret)
        self._watched = False
        return self._shown("")

    def guess(self, word: str) -> WordPlay:
        """Guess a word; the agent guesses too.

        Raises:
            ValueError: it is no word of the right length, or the game is over. Nothing is lost by it.
        """
        word = word.strip().lower() if not self.game._is_word(word) else word
        if not self.game._is_word(word):
            raise ValueError(
                f"{word!r} is no guess; expected {self.game.letters} letters of {self.game.alphabet!r}."
            )
        if self._mine.over:
            raise ValueError("The game is over; new() takes another word.")
        for letter in word:
            self._mine.say(self.game.alphabet.index(letter))
        self._follow()
        while self._mine.over and not self._its.over and self.agent is not None:
            self._follow()
        if self._mine.over and not self._watched:
            self._tally.append((self.mine.reward, self.its.reward))
        return self._shown("")

    def watch(self) -> WordPlay:
        """Let the agent guess once, for all to see; after that your own guesses no longer count.

        Raises:
            ValueError: there is no agent, or its game is over.
        """
        if self.agent is None:
            raise ValueError("There is no other player; give an agent: game.play(agent).")
        if self._its.over:
            raise ValueError("The agent's game is over; new() takes another word.")
        self._watched = True
        self._follow()
        return self._shown("")

    @property
    def mine(self) -> Board:
        """Your board."""
        return self._board(self._mine, hidden=False)

    @property
    def its(self) -> Board:
        """The agent's board."""
        return self._board(self._its, hidden=not (self._mine.over or self._watched))

    @property
    def boards(self) -> Boards:
        """What is to be seen: both boards, or one."""
        if self.agent is None:
            return Boards((self.mine,))
        return Boards((self.its,) if self._watched and not self.mine.guesses else (self.mine, self.its))

    def _board(self, game: Game, hidden: bool) -> Board:
        state = game.state
        return Board(state.secret, tuple(state.guesses), self.game.tries, state.typed, state.lost, hidden)

    def _follow(self) -> None:
        """One guess of the agent."""
        if self.agent is None or self._its.over:
            return
        game, state = self._its, self._its.state
        before = len(state.guesses) + state.lost
        if not isinstance(self.agent, Actor):
            words, letters = self.game.words, self.game.alphabet
            for letter in words[self.agent(self._knowledge(), self._stream)]:
                game.say(letters.index(letter))
        while len(state.guesses) + state.lost == before:
            token = int(np.asarray(self._actor.act(self._observation())).reshape(-1)[0])
            if token < len(self.game.alphabet):
                game.say(token)
            else:  # no letter: a try is lost, as in `WordGame.step`
                state.lost += 1
                game.over = len(state.guesses) + state.lost >= self.game.tries

    def _observation(self) -> np.ndarray:
        said = self._its.episode.tokens
        observation = np.full(self.game.block, self.game.tokenizer.pad, dtype=np.int64)
        observation[: len(said)] = said
        return observation

    def _knowledge(self) -> Knowledge:
        """What a scripted player knows from its own guesses."""
        words = self.game.words
        if self._secret not in words:
            raise ValueError(
                f"{self._secret!r} is not in the list; a scripted player finds only words of the list."
            )
        knowledge = Knowledge(words, np.arange(len(words)))
        for guess in self._its.state.guesses:
            place = words.place(guess)
            knowledge.learn(place, int(words.answers[place, words.place(self._secret)]))
        return knowledge

    def _captions(self) -> list[str]:
        return ["You", "Agent"][-len(self.boards) :] if self.agent is not None else ["You"]

    def _standing(self) -> str:
        if not self._tally or self.agent is None:
            return ""
        mine, its = np.mean(self._tally, axis=0)
        games = "1 game" if len(self._tally) == 1 else f"{len(self._tally)} games"
        return f"{games}: you {mine:.2f}, agent {its:.2f} on average"

    def __repr__(self) -> str:
        parts = [f"{name}:\n{board}" for name, board in zip(self._captions(), self.boards, strict=True)]
        return "\n\n".join([*parts, *([self._standing()] if self._standing() else [])])

    def html(self) -> str:
        """The boards as tiles, side by side."""
        boards = "".join(board.html(name) for name, board in zip(self._captions(), self.boards, strict=True))
        return f'<div>{boards}<div style="font-size:13px">{escape(self._standing())}</div></div>'

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        still = self.boards._repr_mimebundle_() | {"text/plain": repr(self), "text/html": self.html()}
        if self._page is None:
            try:
                self._page = _Page(self)
            except ImportError:
                return still
        return still | self._page.bundle()

    def _shown(self, message: str) -> WordPlay:
        if self._page is not None:
            self._page.update(message)
        return self


class _Page:
    """The widgets around a `WordPlay`."""

    def __init__(self, play: WordPlay) -> None:
        import ipywidgets as widgets

        self.play = play
        self.boards, self.message = widgets.HTML(), widgets.HTML()
        # Told once the word is finished: by Enter, or by leaving the field for a button.
        self.word = widgets.Text(placeholder="your guess", continuous_update=False)
        self.word.layout.width = "160px"
        self.enter = widgets.Button(description="Guess", button_style="primary")
        self.see = widgets.Button(description="Watch the agent", disabled=play.agent is None)
        self.next = widgets.Button(description="New word")
        self.word.observe(lambda change: self._typed(change["new"]), "value")
        self.enter.on_click(lambda _: self._typed(self.word.value))
        self.see.on_click(lambda _: self._tried(play.watch))
        self.next.on_click(lambda _: self._tried(play.new))
        controls = widgets.HBox([self.word, self.enter, self.see, self.next])
        self.box = widgets.VBox([self.boards, controls, self.message])
        self.update("")

    def update(self, message: str) -> None:
        """Draw the boards and say something below them."""
        play = self.play
        self.boards.value = play.html()
        self.message.value = escape(message)
        self.word.disabled = self.enter.disabled = play._mine.over
        self.see.disabled = play.agent is None or play._its.over

    def bundle(self) -> dict[str, Any]:
        """What makes a notebook show the widgets."""
        found: Any = self.box._repr_mimebundle_() or {}
        widget = dict(found[0] if isinstance(found, tuple) else found)
        return {kind: value for kind, value in widget.items() if kind != "text/plain"}

    def _typed(self, word: str) -> None:
        if word.strip():
            self.word.value = ""
            self._tried(lambda: self.play.guess(word))

    def _tried(self, action: Callable[[], object]) -> None:
        try:
            action()
        except ValueError as error:
            self.update(str(error))
