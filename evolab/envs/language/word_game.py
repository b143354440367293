"""The word game: find a secret word of five letters in six guesses, each answered by colours.

After a guess every letter is green (in its place), yellow (elsewhere in the word) or black. A wrong
guess costs 1. The secret is drawn at the start and stays, which has the same law as an answerer who
draws a new word after every guess among those that fit all answers so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from evolab.core.checks import positive_integer
from evolab.core.rng import numpy_stream
from evolab.data.datasets.tokens import TokenDataset, TokenEpisode, Tokenizer
from evolab.envs.language import word_policies
from evolab.envs.language.environment import LanguageEnvironment, Reply
from evolab.envs.language.turns import Game
from evolab.envs.language.word_board import Board, Boards
from evolab.envs.language.word_play import WordPlay
from evolab.envs.language.word_policies import Player
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


class WordGame(LanguageEnvironment):
    """Find a secret word by its colours; the return is minus the number of wrong guesses.

    A guess is five tokens, one a letter; the answer is five tokens, one for each (letter, colour).
    Any five letters may be guessed. `step` takes letters, or a word as text. A text of another
    length is no guess: it costs 1 and a try, and changes nothing else. `info` tells the guesses so
    far and their answers, such as "BYGBB" (black, yellow, green).

    Args:
        words: the secrets: None for evolab's own 236, a number for the first of them, the path of
            a text file with one word a line, or the words.
        letters: of each word, 1 to 10.
        tries: so many guesses.
        alphabet: the letters of words.
        render_mode: None, "ansi" (tiles for a terminal) or "rgb_array" (a picture of them).

    Raises:
        ValueError: a word has another length or alphabet, or stands twice; see `Words`.

    >>> game = WordGame(100)
    >>> observation, info = game.reset(options={"start": "happy"})
    >>> game.step("apple")[1], game.board.answers
    (-1.0, ('YYGBB',))
    """

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
        block = 1 + tries * letters + (tries - 1) * letters  # nobody answers the last guess
        super().__init__(tokenizer, block, self.words, render_mode)
        self.return_range = (-float(tries), 0.0)
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

    def legal(self, state: Any) -> np.ndarray:
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
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
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

    def boards(self, data: TokenDataset) -> Boards:
        """The games of a data set, to be looked at.

        Raises:
            DatasetError: it is not of this game.
        """
        self.check(data)
        chosen = [
            self.tokenizer.decode(row[mask].tolist())
            for row, mask in zip(data.tokens, data.action_mask, strict=True)
        ]
        size = self.letters
        games = []
        for said, start in zip(chosen, data.starts, strict=True):
            whole = len(said) // size * size
            guesses = tuple(said[i : i + size] for i in range(0, whole, size))
            games.append(Board(str(start), guesses, self.tries, said[whole:]))
        return Boards(tuple(games))

    def record(
        self,
        player: str | Player,
        episodes: int | None = None,
        seed: int = 0,
        secrets: Sequence[str] | None = None,
    ) -> TokenDataset:
        """Games of a scripted player.

        Args:
            player: "random" (any word of the list), "repeat" (the same word all along), "mixture"
                (half random, half consistent), "consistent" (any word that agrees with all
                answers), "information" (the word that is expected to tell most); or a function
                of (knowledge, generator) that gives a place in `words`.
            episodes: so many games; None for one on every secret.
            seed: of the secrets and the player.
            secrets: drawn from in turn; None for `words`, at random where `episodes` are given.

        Raises:
            ValueError: for an unknown player, or a secret that is not in the list.
        """
        play = word_policies.player(player)
        stream = numpy_stream(seed, "record")
        places = self._places(episodes, secrets, stream)
        first = play(_empty(self.words), stream) if play is word_policies.information else None
        played = []
        for place in places:
            found = word_policies.guesses(play, self.words, place, self.tries, stream, first)
            played.append(self._episode(self.words[place], [self.words[guess] for guess in found]))
        return TokenDataset.of(played, self.tokenizer, self.name)

    def yardsticks(self, seed: int = 0, repeats: int = 20) -> Mapping[str, float]:
        """Mean return of every scripted player over all secrets, each played `repeats` times."""
        return {
            name: self.record(
                name, seed=seed, secrets=self.words[:] * (1 if name == "information" else repeats)
            ).mean_return
            for name in word_policies.PLAYERS
        }

    def play(self, agent: Any = None, secret: str | None = None, seed: int | None = None) -> WordPlay:
        """A board to play on in a notebook, against an agent where one is given, or by code.

        Args:
            agent: a trained agent (whatever has `act(observation)`), a scripted player or its name.
            secret: the first word to find; None for a random one.
            seed: of the words and the scripted player; None for a fresh one.
        """
        return WordPlay(self, agent, secret, seed)

    def _info(self, game: Game) -> dict[str, Any]:
        """Beside the contract's entries the guesses so far, and their answers such as "BYGBB"."""
        guesses = tuple(game.state.guesses)
        answers = tuple(colours(guess, game.state.secret) for guess in guesses)
        return super()._info(game) | {"guesses": guesses, "answers": answers}

    def _places(
        self, episodes: int | None, secrets: Sequence[str] | None, stream: np.random.Generator
    ) -> list[int]:
        if secrets is not None:
            strange = [secret for secret in secrets if secret not in self.words]
            if strange:
                raise ValueError(
                    f"the secret {strange[0]!r} is not among the {len(self.words)} words of the game."
                )
            count = len(secrets) if episodes is None else positive_integer("episodes", episodes)
            return [self.words.place(secrets[i % len(secrets)]) for i in range(count)]
        if episodes is None:
            return list(range(len(self.words)))
        drawn = stream.integers(len(self.words), size=positive_integer("episodes", episodes))
        return [int(place) for place in drawn]

    def _episode(self, secret: str, guesses: Sequence[str]) -> TokenEpisode:
        """A finished game as tokens."""
        episode = TokenEpisode(secret)
        state, prompt = self.begin(secret)
        episode.hear(prompt)
        for guess in guesses:
            for letter in guess:
                token = self.alphabet.index(letter)
                reply = self.hear(state, token)
                episode.say(token, reply.reward)
                episode.hear(reply.tokens)
        episode.terminated = True
        return episode

    def _is_word(self, text: Any) -> bool:
        return (
            isinstance(text, str)
            and len(text) == self.letters
            and all(letter in self.alphabet for letter in text)
        )

    def __repr__(self) -> str:
        """The list and the sizes."""
        return f"WordGame({len(self.words)} words of {self.letters} letters, {self.tries} tries)"


def _empty(words: Words) -> word_policies.Knowledge:
    return word_policies.Knowledge(words, np.arange(len(words)))


def _alphabet(alphabet: str) -> str:
    twice = len(set(alphabet)) != len(alphabet) or not alphabet
    clash = any(letter in COLOURS or letter.isspace() for letter in alphabet)
    if twice or clash:
        raise ValueError(
            f"alphabet is {alphabet!r}; expected different letters, none of them a space or one of {COLOURS} "
            "(the colours)."
        )
    return alphabet
