"""Scripted players of the word game: yardsticks for what was learned, and the authors of its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from evolab.core.checks import probability, unknown
from evolab.envs.language.word_rules import Words


@dataclass
class Knowledge:
    """What is known within a game.

    Attributes:
        words: the list that the secret is from.
        consistent: places of the words that agree with all answers so far, in the list's order.
        guesses: places of the words that were guessed.
    """

    words: Words
    consistent: np.ndarray
    guesses: list[int] = field(default_factory=list)

    def learn(self, guess: int, answer: int) -> None:
        """Take the answer to a guess in, as `Words.answers` writes it."""
        self.consistent = self.consistent[self.words.answers[guess, self.consistent] == answer]
        self.guesses.append(guess)


Player = Callable[[Knowledge, np.random.Generator], int]


def random(knowledge: Knowledge, generator: np.random.Generator) -> int:
    """Any word of the list."""
    return int(generator.integers(len(knowledge.words)))


def consistent(knowledge: Knowledge, generator: np.random.Generator) -> int:
    """Any word that agrees with all answers."""
    return int(knowledge.consistent[generator.integers(len(knowledge.consistent))])


def mixture(share: float = 0.5) -> Player:
    """A consistent word with probability `share`, any word else, drawn anew for each guess."""
    share = probability("share", share)

    def guess(knowledge: Knowledge, generator: np.random.Generator) -> int:
        return (consistent if generator.random() < share else random)(knowledge, generator)

    return guess


def information(knowledge: Knowledge, generator: np.random.Generator) -> int:
    """The word whose answer is expected to tell most, in bits; of equals one that may be the secret.

    Ties that are left go to the first in the list, so that the player is deterministic.
    """
    possible = knowledge.consistent
    if len(possible) <= 2:
        return int(possible[0])
    answers = knowledge.words.answers[:, possible].astype(np.int64)  # [N, n]
    kinds = int(answers.max()) + 1
    rows = np.arange(len(answers))[:, None] * kinds
    counts = np.bincount((answers + rows).ravel(), minlength=len(answers) * kinds)
    shares = counts.reshape(len(answers), kinds) / len(possible)
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(1)  # [N]
    entropy[possible] += 1e-9
    return int(entropy.argmax())


def repeat(knowledge: Knowledge, generator: np.random.Generator) -> int:
    """Any word at first, then the same one again and again."""
    return knowledge.guesses[0] if knowledge.guesses else random(knowledge, generator)


PLAYERS: dict[str, Player] = {
    "random": random,
    "repeat": repeat,
    "mixture": mixture(),
    "consistent": consistent,
    "information": information,
}


def player(given: str | Player) -> Player:
    """A player by its name, or the one given.

    Raises:
        ValueError: for an unknown name.
    """
    if callable(given):
        return given
    if given not in PLAYERS:
        raise unknown("scripted player", given, PLAYERS)
    return PLAYERS[given]


def guesses(
    play: Player,
    words: Words,
    secret: int,
    tries: int,
    generator: np.random.Generator,
    first: int | None = None,
) -> list[int]:
    """Places of the words that a player guesses until the secret is found or the tries are used up.

    Args:
        play: the player.
        words: the list.
        secret: place of the secret.
        tries: at most so many guesses.
        generator: for the player.
        first: the first guess, where it is known already.
    """
    knowledge = Knowledge(words, np.arange(len(words)))
    for _ in range(tries):
        known = first is not None and not knowledge.guesses
        guess = first if known and first is not None else play(knowledge, generator)
        knowledge.learn(guess, int(words.answers[guess, secret]))
        if guess == secret:
            break
    return knowledge.guesses
