"""Rules of the word game: lists of words, the colours of a guess, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

BLACK, YELLOW, GREEN = "B", "Y", "G"
COLOURS = BLACK + YELLOW + GREEN
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
LONGEST = 10  # letters of a word: 3^10 answers fit 16 bits
LARGEST = 2**22  # bytes of a file of words


def colours(guess: str, secret: str) -> str:
    """The answer to a guess, one colour a letter: G in its place, Y elsewhere in the word, B not in it.

    A letter is coloured as often as the secret has it: the green ones first, then yellow from
    the left.

    >>> colours("crane", "react"), colours("eerie", "beech"), colours("level", "below")
    ('YYGBY', 'YGBBB', 'YGBBB')
    """
    left = [there for said, there in zip(guess, secret, strict=True) if said != there]
    answer = []
    for said, there in zip(guess, secret, strict=True):
        if said == there:
            answer.append(GREEN)
        elif said in left:
            left.remove(said)
            answer.append(YELLOW)
        else:
            answer.append(BLACK)
    return "".join(answer)


class Words(Sequence[str]):
    """A checked list of words, and what every guess among them would be answered.

    Args:
        words: the words; all different, all of `letters` letters of `alphabet`.
        letters: of each word.
        alphabet: the letters that words are made of.
        source: what messages call the list.

    Raises:
        ValueError: the list is empty, or a word is too long or short, has another letter, or
            stands twice; the message names it and its place.
    """

    def __init__(
        self, words: Iterable[str], letters: int = 5, alphabet: str = ALPHABET, source: str = "words"
    ) -> None:
        self._words = tuple(words)
        known: dict[str, int] = {}
        for place, word in enumerate(self._words, 1):
            if not isinstance(word, str):
                raise TypeError(
                    f"{source}: entry {place} is {word!r} ({type(word).__name__}); expected a word."
                )
            if len(word) != letters:
                raise ValueError(
                    f"{source}: word {place}, {word[:40]!r}, has {len(word)} letters; expected {letters}. Leave it "
                    f"out, or play with letters={len(word)}."
                )
            strange = next((letter for letter in word if letter not in alphabet), None)
            if strange is not None:
                cure = "Write it in small letters." if strange.lower() in alphabet else "Pass alphabet=."
                raise ValueError(
                    f"{source}: word {place}, {word!r}, has {strange!r}, which is not in the alphabet "
                    f"{alphabet!r}. {cure}"
                )
            if word in known:
                raise ValueError(
                    f"{source}: word {place}, {word!r}, stands there as word {known[word]} already."
                )
            known[word] = place
        if not self._words:
            raise ValueError(f"{source} holds no word; expected one a line.")
        self._places = {word: place - 1 for word, place in known.items()}

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # a word, or a tuple for a slice
        """The word at a place."""
        return self._words[place]

    def __contains__(self, word: object) -> bool:
        return word in self._places

    def place(self, word: str) -> int:
        """Where a word stands."""
        return self._places[word]

    @cached_property
    def answers(self) -> np.ndarray:
        """uint16 [N, N], `answers[guess, secret]`: the colours as a number in base 3."""
        letters = np.array([[ord(letter) for letter in word] for word in self._words])  # [N, L]
        size, length = letters.shape
        powers = 3 ** np.arange(length)
        table = np.empty((size, size), dtype=np.uint16)
        for place, guess in enumerate(letters):
            green = letters == guess  # [N, L]
            taken = green.copy()
            answer = (2 * green) @ powers
            for i in range(length):  # yellow from the left, for letters that are still free
                free = (letters == guess[i]) & ~taken
                found = free.any(1) & ~green[:, i]
                taken[np.flatnonzero(found), free[found].argmax(1)] = True
                answer += powers[i] * found
            table[place] = answer
        return table


def read_words(
    words: int | str | Path | Iterable[str] | None, letters: int = 5, alphabet: str = ALPHABET
) -> Words:
    """A list of words from what a user gives.

    Args:
        words: None for evolab's own 236 words of five letters, a number for the first of them,
            the path of a text file with one word a line (empty lines and lines that begin with
            "#" are skipped), or the words themselves.
        letters: of each word.
        alphabet: the letters that words are made of.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: it is nothing of this kind.
        ValueError: the file is no text, or see `Words`.
    """
    if words is None or isinstance(words, int):
        own = _lines(Path(__file__).with_name("words.txt"))
        if words is not None and (isinstance(words, bool) or not 1 <= words <= len(own)):
            raise ValueError(
                f"words is {words}; evolab's own list has {len(own)}, so expected 1 to {len(own)}."
            )
        return Words(own[:words], letters, alphabet, "evolab's own list")
    if isinstance(words, (str, Path)):
        return Words(_lines(Path(words).expanduser()), letters, alphabet, Path(words).name)
    if not isinstance(words, Iterable) or isinstance(words, Mapping):
        raise TypeError(
            f"words is {words!r} ({type(words).__name__}); expected None, a number, the path of a file or a list "
            f"of words."
        )
    return Words(words, letters, alphabet)


def _lines(path: Path) -> list[str]:
    """The words of a text file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; expected a text file with one word a line.")
    if path.stat().st_size > LARGEST:
        raise ValueError(
            f"{path.name} has {path.stat().st_size >> 20} MiB; at most {LARGEST >> 20} are read."
        )
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text in UTF-8 ({error.reason}); save it as such.") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
