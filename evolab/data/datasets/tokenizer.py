"""A tokenizer of whole names: text as numbers and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from evolab.core.checks import nearest


class Tokenizer:
    """A vocabulary of names, and text as the numbers of names.

    Text is cut into the longest names that fit, from left to right; white space stands between
    names where it is no name itself.

    Args:
        vocabulary: the names; a token is a name's place. No two are equal.
        pad: the name that fills rows up and is never said.
        separator: what `decode` writes between names.

    Raises:
        ValueError: a name is empty or stands twice, or `pad` is missing.

    >>> tokenizer = Tokenizer(["a", "b", "ab", "<pad>"])
    >>> tokenizer.encode("abba"), tokenizer.decode([2, 1, 0])
    ([2, 1, 0], 'abba')
    """

    def __init__(self, vocabulary: Sequence[str], pad: str = "<pad>", separator: str = "") -> None:
        self.vocabulary = tuple(vocabulary)
        self.separator = separator
        self._ids = {name: token for token, name in enumerate(self.vocabulary)}
        twice = [name for token, name in enumerate(self.vocabulary) if self._ids[name] != token]
        if twice or not all(isinstance(name, str) and name for name in self.vocabulary):
            raise ValueError(
                f"The vocabulary has the name {(twice or [''])[0]!r} twice or empty; leave it out."
            )
        if pad not in self._ids:
            raise ValueError(f"The vocabulary has no {pad!r}, which fills rows up; add it to the names.")
        self.pad = self._ids[pad]
        longest_first = sorted(self.vocabulary, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(name) for name in longest_first))

    @property
    def size(self) -> int:
        """V, the number of names."""
        return len(self.vocabulary)

    def id(self, name: str) -> int:
        """The token of a name.

        Raises:
            ValueError: there is no such name.
        """
        if name not in self._ids:
            hint = nearest(name, self.vocabulary)
            raise ValueError(
                f"{name!r} is not in the vocabulary of {self.size} names{'; ' + hint if hint else '.'}"
            )
        return self._ids[name]

    def encode(self, text: str) -> list[int]:
        """Text as tokens.

        Raises:
            ValueError: some of the text is no name.
        """
        tokens, at = [], 0
        while at < len(text):
            match = self._pattern.match(text, at)
            if match is not None:
                tokens.append(self._ids[match.group()])
                at = match.end()
            elif text[at].isspace():
                at += 1
            else:
                raise ValueError(
                    f"{text!r}: no name of the vocabulary begins at {text[at : at + 12]!r}. "
                    f"Names are such as {', '.join(map(repr, self.vocabulary[:5]))}."
                )
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """Tokens as text, pad left out."""
        return self.separator.join(self.vocabulary[int(t)] for t in tokens if int(t) != self.pad)

    def __eq__(self, other: object) -> bool:
        """True where both give the same tokens for the same text."""
        return isinstance(other, Tokenizer) and (self.vocabulary, self.pad) == (other.vocabulary, other.pad)

    def __hash__(self) -> int:
        return hash((self.vocabulary, self.pad))

    def __repr__(self) -> str:
        return f"Tokenizer({self.size} names: {' '.join(self.vocabulary[:8])} ...)"
