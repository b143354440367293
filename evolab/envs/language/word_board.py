"""A game of words as it is looked at: squares in plain text, tiles in a terminal, a notebook, a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from evolab.envs.language.word_rules import BLACK, GREEN, YELLOW, colours

if TYPE_CHECKING:
    from PIL.Image import Image

OPEN = " "  # the colour of a tile that has no answer yet
SQUARES = {GREEN: "\U0001f7e9", YELLOW: "\U0001f7e8", BLACK: "\u2b1b"}
MEANING = {GREEN: "in its place", YELLOW: "elsewhere in the word", BLACK: "not in the word", OPEN: ""}
TERMINAL = {GREEN: "30;42", YELLOW: "30;43", BLACK: "37;100", OPEN: "4"}
FILL = {GREEN: "#00805d", YELLOW: "#986900", BLACK: "#5b616b", OPEN: "#ffffff"}
EDGE, INK = "#b9bec7", "#1f2329"
# Round where the letter is yellow: nothing is told by colour alone.
ROUND = {GREEN: 4, YELLOW: 19, BLACK: 4, OPEN: 4}
TILE, GAP = 38, 5  # pixels


@dataclass(frozen=True)
class Board:
    """One game of words, finished or not.

    Attributes:
        secret: the word to be found.
        guesses: what was guessed, in order.
        tries: so many guesses there are.
        typed: letters of a guess that is not finished.
        lost: tries that were used up by something that was no guess.
        hidden: True where the letters are not to be seen, only their colours.
    """

    secret: str
    guesses: tuple[str, ...] = ()
    tries: int = 6
    typed: str = ""
    lost: int = 0
    hidden: bool = False

    @property
    def solved(self) -> bool:
        """True where the last guess is the secret."""
        return bool(self.guesses) and self.guesses[-1] == self.secret

    @property
    def over(self) -> bool:
        """True where it is solved or no try is left."""
        return self.solved or len(self.guesses) + self.lost >= self.tries

    @property
    def reward(self) -> float:
        """The return so far: -1 for each try that did not solve it."""
        return float(self.solved - len(self.guesses) - self.lost)

    @property
    def answers(self) -> tuple[str, ...]:
        """The colours of each guess, such as "BYGBB"."""
        return tuple(colours(guess, self.secret) for guess in self.guesses)

    def tiles(self) -> Iterator[list[tuple[str, str]]]:
        """The rows as (letter, colour), `tries` of them."""
        width = len(self.secret)
        answered = (
            [(" " if self.hidden else letter, colour) for letter, colour in zip(guess, answer, strict=True)]
            for guess, answer in zip(self.guesses, self.answers, strict=True)
        )
        typed = [(letter, OPEN) for letter in self.typed.ljust(width)]
        rows = chain(answered, [typed], repeat([(" ", OPEN)] * width))
        return (next(rows) for _ in range(self.tries))

    def summary(self) -> str:
        """How it stands, in words."""
        if self.solved:
            return f"solved in {len(self.guesses)}, return {self.reward:.0f}"
        if self.over:
            return f"not solved, it was {self.secret}, return {self.reward:.0f}"
        return f"{self.tries - len(self.guesses) - self.lost} tries left"

    def __str__(self) -> str:
        rows = [
            ("" if self.hidden else f"{guess} ") + "".join(SQUARES[colour] for colour in answer)
            for guess, answer in zip(self.guesses, self.answers, strict=True)
        ]
        return "\n".join([*rows, *([self.typed] if self.typed else []), self.summary()])

    __repr__ = __str__

    def ansi(self) -> str:
        """The tiles with the escape codes of a terminal."""
        rows = (
            "".join(f"\x1b[{TERMINAL[colour]}m {letter.upper()} \x1b[0m " for letter, colour in row).rstrip()
            for row in self.tiles()
        )
        return "\n".join([*rows, self.summary()])

    def html(self, caption: str = "") -> str:
        """The tiles for a page; letters are escaped."""
        tile = (
            "display:inline-block;width:{side}px;height:{side}px;line-height:{side}px;margin:0 {gap}px {gap}px 0;"
            "text-align:center;font-weight:600;font-size:18px;font-family:sans-serif;box-sizing:border-box;"
            "border-radius:{round}px;background:{fill};color:{ink};{edge}"
        )
        rows = []
        for row in self.tiles():
            cells = []
            for letter, colour in row:
                edge = f"border:2px solid {EDGE};line-height:{TILE - 4}px" if colour == OPEN else ""
                style = tile.format(
                    # An open tile takes the page's own colours, dark or light.
                    side=TILE, gap=GAP, round=ROUND[colour], fill="none" if colour == OPEN else FILL[colour],
                    ink="inherit" if colour == OPEN else "#ffffff", edge=edge,
                )  # fmt: skip
                shown = escape(letter.upper()) if letter != " " else "&nbsp;"
                cells.append(f'<span title="{MEANING[colour]}" style="{style}">{shown}</span>')
            rows.append(f'<div style="height:{TILE + GAP}px;white-space:nowrap">{"".join(cells)}</div>')
        head = f'<div style="font-weight:600;margin-bottom:4px">{escape(caption)}</div>' if caption else ""
        foot = f'<div style="font-size:13px">{escape(self.summary())}</div>'
        return f'<div style="display:inline-block;vertical-align:top;margin-right:24px">{head}{"".join(rows)}{foot}</div>'

    def picture(self) -> Image:
        """The tiles as a picture."""
        from PIL import Image, ImageDraw, ImageFont

        step = TILE + GAP
        image = Image.new("RGB", (len(self.secret) * step + GAP, self.tries * step + GAP), "#ffffff")
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(20)
        for r, row in enumerate(self.tiles()):
            for c, (letter, colour) in enumerate(row):
                x, y = GAP + c * step, GAP + r * step
                draw.rounded_rectangle(
                    (x, y, x + TILE, y + TILE),
                    ROUND[colour],
                    FILL[colour],
                    EDGE if colour == OPEN else None,
                    2,
                )
                ink = INK if colour == OPEN else "#ffffff"
                draw.text((x + TILE / 2, y + TILE / 2), letter.upper(), ink, font, anchor="mm")
        return image

    def frame(self) -> np.ndarray:
        """The picture as uint8 [H, W, 3]."""
        return np.asarray(self.picture(), dtype=np.uint8).copy()

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {"text/plain": str(self), "text/html": self.html(), "image/png": png_base64(self.picture())}


@dataclass(frozen=True)
class Boards:
    """Several games, shown beside one another.

    Attributes:
        boards: the games.
    """

    boards: tuple[Board, ...]

    def __len__(self) -> int:
        return len(self.boards)

    def __getitem__(self, place: int) -> Board:
        return self.boards[place]

    def __iter__(self) -> Iterator[Board]:
        return iter(self.boards)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.boards))

    __repr__ = __str__

    def picture(self, most: int = 6) -> Image:
        """The first boards side by side, at least one."""
        from PIL import Image

        shown = [board.picture() for board in self.boards[:most]]
        width, height = shown[0].size
        sheet = Image.new("RGB", ((width + 20) * len(shown) - 20, height), "#ffffff")
        for i, picture in enumerate(shown):
            sheet.paste(picture, (i * (width + 20), 0))
        return sheet

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": str(self)}
        if self.boards:
            bundle["text/html"] = f"<div>{''.join(board.html() for board in self.boards)}</div>"
            bundle["image/png"] = png_base64(self.picture())
        return bundle


def png_base64(image: Image) -> str:
    """A picture as PNG in base64, with a small palette."""
    file = io.BytesIO()
    image.quantize(32).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
