"""How numbers and tables are written, in plain text and in HTML, everything escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Sequence
from html import escape

_CELL = "padding:2px 5px;border:none;font-variant-numeric:tabular-nums"
# Words may break where a page is narrow, numbers never do.
_WORDS = f"{_CELL};text-align:left;white-space:normal;vertical-align:top"
_NUMBERS = f"{_CELL};text-align:right;white-space:nowrap;vertical-align:top"
_HEADS = f"{_CELL};vertical-align:bottom;text-align:"  # headings may break as well
LONG = 16
"""Letters from which on a cell of words is long."""


def number(value: float | None, digits: int = 4) -> str:
    """A number with as many digits as a reader needs: "231.4", "0.012", "1.2e-3", and "" for what was not measured.

    >>> [number(x) for x in (231.4377, 0.001, 0.00083333, 0.99613, 0.99964, 100000, float("nan"), None)]
    ['231.4', '1.0e-3', '8.3e-4', '0.996', '0.9996', '100000', 'nan', '']
    >>> number(123456.7), number(-0.5), number(1e30)
    ('1.23e+05', '-0.5', '1e+30')
    """
    if value is None:
        return ""
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    if 1 <= abs(value) < 1e5:
        return f"{value:.1f}" if abs(value) >= 100 else f"{value:.{digits - 2}f}"
    if abs(value) < 1e-2:
        mantissa, exponent = f"{value:.{max(0, digits - 3)}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if abs(value) < 1:  # a discount of 0.9996 is not 1
        digits = max(digits, math.ceil(-math.log10(1 - abs(value))) + 1)
    return f"{value:.{digits - 1}g}"


def ticked(value: float | None) -> str:
    """A mean over fresh episodes, told from what was seen once by its tick.

    >>> ticked(494.6), ticked(None)
    ('494.6 ✓', '')
    """
    return "" if value is None else f"{number(value)} ✓"


def change(detail: str) -> str:
    """What a birth changed, as a reader wants it; the record itself keeps all its digits.

    >>> change("lr 0.001 -> 0.0008333"), change("hidden 64x64 -> 64x96")
    ('lr 1.0e-3 → 8.3e-4', 'hidden 64×64 → 64×96')
    """
    text = re.sub(r"(?<![\w.])\d+\.\d+(?:e[-+]?\d+)?(?![\w.])", lambda m: number(float(m[0])), detail)
    text = re.sub(r"(?<![\w.])\d+e[-+]?\d+(?![\w.])", lambda m: number(float(m[0])), text)
    return re.sub(r"(?<=\d)x(?=\d)", "×", text.replace(" -> ", " → "))


def count(value: int) -> str:
    """A whole number with thin groups: 120 000."""
    return f"{value:,}".replace(",", "\u202f")


def some(value: int, what: str) -> str:
    """So many of something.

    >>> some(1, "agent"), some(1200, "agent")
    ('1 agent', '1\u202f200 agents')
    """
    return f"{count(value)} {what}{'' if value == 1 else 's'}"


def plain_table(names: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str] = ()) -> str:
    """Columns aligned by spaces; numbers to the right, the columns named in `left` to the left."""
    widths = [max([len(name), *(len(row[i]) for row in rows)]) for i, name in enumerate(names)]
    lines = []
    for row in (names, *rows):
        cells = [
            cell.ljust(w) if name in left else cell.rjust(w)
            for cell, w, name in zip(row, widths, names, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def said_once(
    names: Sequence[str], rows: Sequence[Sequence[str]], may_go: Container[str]
) -> tuple[list[str], list[list[str]], str]:
    """A table without columns that say the same in all of its rows, and a sentence that says it once.

    Args:
        names: the headings.
        rows: cells, already formatted.
        may_go: headings of columns that may be left out so.

    >>> said_once(("agent", "hidden"), [("0", "64"), ("1", "64")], ["hidden"])
    (['agent'], [['0'], ['1']], 'The same for all agents: hidden 64')
    """
    same = [
        len(rows) > 1 and name in may_go and len({row[i] for row in rows}) == 1
        for i, name in enumerate(names)
    ]
    kept = [i for i, shared in enumerate(same) if not shared]
    told = " · ".join(f"{name} {rows[0][i]}" for i, name in enumerate(names) if same[i])
    sentence = f"The same for all agents: {told}" if told else ""
    return [names[i] for i in kept], [[row[i] for i in kept] for row in rows], sentence


def html_facts(title: str, facts: Sequence[tuple[str, str]], below: str = "") -> str:
    """Facts as (what, value) under a title; text is escaped, `below` is HTML."""
    cell = "padding:1px 12px 1px 0;border:none;text-align:left;vertical-align:top"
    rows = "".join(
        f'<tr><th style="{cell};font-weight:500;white-space:nowrap">{escape(what)}</th>'
        f'<td style="{cell}">{escape(value)}</td></tr>'
        for what, value in facts
    )
    table = f'<table style="border:none;border-collapse:collapse">{rows}</table>'
    return f'<div><div style="font-weight:600">{escape(title)}</div>{table}{below}</div>'


def html_table(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Sequence[str] = (),
    caption: str = "",
    strong: int | None = None,
) -> str:
    """A table that looks alike in light and dark themes; cells are text and are escaped.

    Args:
        names: the headings.
        rows: cells, already formatted.
        left: headings of columns that hold words.
        caption: a sentence above.
        strong: index of a row to emphasise.
    """
    # Long words keep a width to be read in, where a page is narrower than the table.
    long = {name for i, name in enumerate(names) if any(len(row[i]) > LONG for row in rows)}

    def aligned(tag: str, name: str) -> str:
        if tag == "th":
            return f"{_HEADS}{'left' if name in left else 'right'}"
        return _WORDS if name in left else _NUMBERS

    def cells(tag: str, row: Sequence[str], weight: str) -> str:
        return "".join(
            f'<{tag} style="{aligned(tag, name)}'
            f'{";min-width:8em" if name in left and name in long else ""};font-weight:{weight}">'
            f"{_breaks(cell) if tag == 'th' else escape(cell)}</{tag}>"
            for name, cell in zip(names, row, strict=True)
        )

    body = "".join(
        f"<tr>{cells('td', row, '600' if i == strong else '400')}</tr>" for i, row in enumerate(rows)
    )
    head = f"<thead><tr>{cells('th', names, '500')}</tr></thead>"
    title = f'<div style="margin:4px 0 6px">{escape(caption)}</div>' if caption else ""
    style = "border-collapse:collapse;font-size:13px"
    return f'<div style="overflow-x:auto">{title}<table style="{style}">{head}<tbody>{body}</tbody></table></div>'


def _breaks(name: str) -> str:
    """A heading as HTML that may go on in the next line behind an underscore."""
    return escape(name).replace("_", "_<wbr>")
