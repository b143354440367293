"""The rules of the word game as a language environment: letters in, colours out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from evolab.core.checks import positive_integer
from evolab.data.datasets.tokenizer import Tokenizer
from evolab.envs.language.environment import LanguageEnvironment
from evolab.envs.language.turns import Game, Reply
from evolab.envs.language.word_board import Board
from evolab.envs.language.word_rules import ALPHABET, COLOURS, LONGEST, Words, colours, read_words


@dataclass
class Round:
    """The state of one game.

    Attributes:
        secret: the word to be found.
        guesses: the finished guesses.
        typed: letters of the next one.
        lost: tries used up by something that was no guess.
    """

    secret: str
    guesses: list[str]
    typed: str = ""
    lost: int = 0


class WordEnvironment(LanguageEnvironment):
    """The rules of the word game as an environment; `WordGame` adds data, scripted players and a board to play on."""

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012  # Gymnasium declares it so

    def __init__(
        self,
        words: int | str | Path | Iterable[str] | None = None,
        letters: int = 5,
        tries: int = 6,
        alphabet: str = ALPHABET,
        render_mode: str | None = None,
    ) -> None:
        self.letters = positive_integer("letters", letters)
        self.tries = positive_integer("tries", tries)
        if letters > LONGEST:
            raise ValueError(f"letters is {letters}; expected at most {LONGEST}.")
        self.alphabet = _alphabet(alphabet)
        self.words: Words = read_words(words, letters, alphabet)
        self._own = words if words is None or isinstance(words, int) else list(self.words)
        answers = [letter + colour for letter in alphabet for colour in COLOURS]
        tokenizer = Tokenizer([*alphabet, *answers, "<start>", "<pad>"])
        block = 1 + tries * letters + (tries - 1) * letters  # the last guess has no answer
        super().__init__(tokenizer, block, self.words, render_mode)
        self.utterance = self.letters
        self.action_space = spaces.Discrete(len(alphabet))
        self._letters = np.arange(tokenizer.size) < len(alphabet)
        self._start = tokenizer.id("<start>")

    @property
    def options(self) -> dict[str, Any]:
        """What makes the same game: a number where the words are evolab's own, else the words."""
        return {"words": self._own, "letters": self.letters, "tries": self.tries, "alphabet": self.alphabet}

    def begin(self, start: Any) -> tuple[Round, Sequence[int]]:
        """A game whose secret is `start`, any word of the right length."""
        if not self._is_word(start):
            raise ValueError(
                f"the secret is {start!r}; expected {self.letters} letters of {self.alphabet!r}."
            )
        return Round(start, []), [self._start]

    def hear(self, state: Round, token: int) -> Reply:
        """Type a letter; the last one of a guess is answered."""
        state.typed += self.alphabet[token]
        if len(state.typed) < self.letters:
            return Reply()
        guess, state.typed = state.typed, ""
        state.guesses.append(guess)
        if guess == state.secret:
            return Reply(reward=0.0, terminated=True)
        if len(state.guesses) + state.lost >= self.tries:
            return Reply(reward=-1.0, terminated=True)
        return Reply(self.answer_tokens(guess, state.secret), -1.0)

    def legal(self, state: object) -> np.ndarray:
        """Bool [V]: the letters."""
        return self._letters

    def answer_tokens(self, guess: str, secret: str) -> list[int]:
        """The tokens that answer a guess, one for each letter and its colour."""
        size = len(self.alphabet)
        return [
            size + 3 * self.alphabet.index(letter) + COLOURS.index(colour)
            for letter, colour in zip(guess, colours(guess, secret), strict=True)
        ]

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game; `options={"secret": "crane"}` chooses the word, as "start" does."""
        chosen = (options or {}).get("secret")
        return super().reset(seed=seed, options=options if chosen is None else {"start": chosen})

    def step(self, action: int | str) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Type a letter (its token), or guess a word (text)."""
        if isinstance(action, str):
            action = action if self._is_word(action) else action.strip().lower()
        game = self._game
        if (
            game is None
            or game.over
            or not isinstance(action, str)
            or self._is_word(game.state.typed + action)
        ):
            return super().step(action)
        game.state.lost += 1
        ended = len(game.state.guesses) + game.state.lost >= self.tries
        game.over = game.episode.terminated = ended
        return self._observation(game), -1.0, ended, False, self._info(game)

    @property
    def board(self) -> Board:
        """The game that is going on, as it looks.

        Raises:
            ResetNeeded: there is none yet.
        """
        if self._game is None:
            self.reset()
        assert self._game is not None
        state = self._game.state
        return Board(state.secret, tuple(state.guesses), self.tries, state.typed, state.lost)

    def render(self) -> Any:
        """The board: text for a terminal ("ansi"), or a picture, uint8 [H, W, 3] ("rgb_array")."""
        if self.render_mode is None or self._game is None:
            return None
        return self.board.ansi() if self.render_mode == "ansi" else self.board.frame()

    def _info(self, game: Game) -> dict[str, Any]:
        """Beside the contract's entries the guesses so far, and their answers such as "BYGBB"."""
        guesses = tuple(game.state.guesses)
        answers = tuple(colours(guess, game.state.secret) for guess in guesses)
        return super()._info(game) | {"guesses": guesses, "answers": answers}

    def _is_word(self, text: object) -> bool:
        return (
            isinstance(text, str)
            and len(text) == self.letters
            and all(letter in self.alphabet for letter in text)
        )

    def __repr__(self) -> str:
        return f"{self.name}({len(self.words)} words of {self.letters} letters, {self.tries} tries): .reset(), .step(token)"


def _alphabet(alphabet: str) -> str:
    twice = len(set(alphabet)) != len(alphabet) or not alphabet
    clash = any(letter in COLOURS or letter.isspace() for letter in alphabet)
    if twice or clash:
        raise ValueError(
            f"alphabet is {alphabet!r}; expected different letters, none of them a space or one of {COLOURS} "
            "(the colours)."
        )
    return alphabet
