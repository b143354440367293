"""The word game: find a secret word of five letters in six guesses, each answered by colours.

After a guess every letter is green (in its place), yellow (elsewhere in the word) or black. A wrong
guess costs 1. The secret is drawn at the start and stays, which has the same law as an answerer who
draws a new word after every guess among those that fit all answers so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evolab.core.checks import positive_integer
from evolab.core.rng import numpy_stream
from evolab.data.datasets.token_arrays import TokenEpisode
from evolab.data.datasets.tokens import TokenDataset
from evolab.envs.language import word_policies
from evolab.envs.language.word_board import Board, Boards
from evolab.envs.language.word_environment import WordEnvironment
from evolab.envs.language.word_play import WordPlay
from evolab.envs.language.word_policies import Player
from evolab.envs.language.word_rules import Words


class WordGame(WordEnvironment):
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

    def play(self, agent: object = None, secret: str | None = None, seed: int | None = None) -> WordPlay:
        """A board to play on in a notebook, against an agent where one is given, or by code.

        Args:
            agent: a trained agent (whatever has `act(observation)`), a scripted player or its name.
            secret: the first word to find; None for a random one.
            seed: of the words and the scripted player; None for a fresh one.
        """
        return WordPlay(self, agent, secret, seed)

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


def _empty(words: Words) -> word_policies.Knowledge:
    return word_policies.Knowledge(words, np.arange(len(words)))
