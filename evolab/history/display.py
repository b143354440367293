"""How records show themselves: tables in plain text and in HTML, everything escaped.

Pure functions of duck-typed records, so that `events` and `history` at the bottom of
the house can use them without knowing the panels at the top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

_CELL = "padding:2px 10px;border:none;font-variant-numeric:tabular-nums"
# Words may break where a page is narrow, numbers never do.
_WORDS = f"{_CELL};text-align:left;white-space:normal;vertical-align:top"
_NUMBERS = f"{_CELL};text-align:right;white-space:nowrap;vertical-align:top"


def number(value: float | None, digits: int = 4) -> str:
    """A number with as many digits as a reader needs: "231.4", "0.0012", "3.1e-05", "not measured".

    >>> [number(x) for x in (231.4377, 0.001, 100000, float("nan"), None)]
    ['231.4', '0.001', '100000', 'nan', '']
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
    return f"{value:.{digits - 1}g}"


def count(value: int) -> str:
    """A whole number with thin groups: 120 000."""
    return f"{value:,}".replace(",", "\u202f")


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

    def cells(tag: str, row: Sequence[str], weight: str) -> str:
        return "".join(
            f'<{tag} style="{_WORDS if name in left else _NUMBERS};font-weight:{weight}">'
            f"{escape(cell)}</{tag}>"
            for name, cell in zip(names, row, strict=True)
        )

    body = "".join(
        f"<tr>{cells('td', row, '600' if i == strong else '400')}</tr>" for i, row in enumerate(rows)
    )
    head = f"<thead><tr>{cells('th', names, '500')}</tr></thead>"
    title = f'<div style="margin:4px 0 6px">{escape(caption)}</div>' if caption else ""
    style = "border-collapse:collapse;font-size:13px"
    return f'<div>{title}<table style="{style}">{head}<tbody>{body}</tbody></table></div>'


def show_generation(generation: Any, most: int | None = None) -> tuple[str, str]:
    """One generation in words: fitness best first, who survived, who mutated how.

    Args:
        generation: an `events.Generation`.
        most: so many of the best agents; None for all.

    Returns:
        Plain text and HTML.
    """
    children: dict[int, list[Any]] = {}
    for birth in generation.births:
        children.setdefault(birth.parent, []).append(birth)
    changes: dict[int, str] = {
        e.agent: ", ".join(_heir(birth, e.agent) for birth in children.get(e.agent, []))
        for e in generation.evaluations
    }
    names = ("agent", "parent", "fitness", "episodes", "parameters", "hidden", "survives as")
    rows = [
        (
            str(e.agent),
            "" if e.parent is None else str(e.parent),
            _earned(e.fitness),
            str(e.episodes),
            count(e.parameters),
            "x".join(str(width) for width in e.hidden),
            changes[e.agent] or "not selected",
        )
        for e in generation.evaluations[:most]
    ]
    caption = (
        f"Generation {generation.number}: best {_earned(generation.fitness)} (agent {generation.best.agent}), "
        f"{count(generation.total_steps)} training steps"
    )
    if generation.confirmed is not None:
        caption += f", confirmed {number(generation.confirmed)}"
    faults = [
        f"{fault.kind}{'' if fault.agent is None else f' in agent {fault.agent}'}: {fault.detail}"
        for fault in generation.faults
    ]
    archived = [b for b in generation.births if b.parent not in changes]
    if archived:
        caption += "; out of the archive " + ", ".join(_heir(birth, birth.parent) for birth in archived)
    left = ("hidden", "survives as")
    text = "\n".join([caption, plain_table(names, rows, left), *(f"fault: {line}" for line in faults)])
    html = html_table(names, rows, left, caption, strong=0)
    return text, html + "".join(f"<div>&#9888; {escape(line)}</div>" for line in faults)


def _earned(fitness: float) -> str:
    return number(fitness) if math.isfinite(fitness) else "diverged"


def _heir(birth: Any, parent: int) -> str:
    if birth.agent == parent:
        return f"{birth.agent} ({'elite' if birth.kind == 'elite' else 'survives'})"
    detail = birth.detail or ("unchanged" if birth.kind == "none" else birth.kind)
    return f"{birth.agent} ({detail})"


def show_history(history: Any) -> tuple[str, str]:
    """A history in one sentence, and its newest ten generations as a table.

    Returns:
        Plain text and HTML.
    """
    generations = list(history.generations)
    if not generations:
        return "History(no generation yet: call exp.step())", (
            "<div>No generation yet: call <code>exp.step()</code>.</div>"
        )
    best = max((g.best for g in generations), key=lambda e: _or_low(e.fitness))
    last = generations[-1]
    summary = (
        f"{len(generations)} generations of {len(last.evaluations)} agents, "
        f"best {number(best.fitness)} by agent {best.agent} in generation {best.generation}, "
        f"now {number(last.fitness)}, {count(last.total_steps)} training steps"
    )
    names = ("generation", "training steps", "best", "median", "worst", "best agent", "came from")
    births = {b.agent: b for b in generations[-11].births} if len(generations) > 10 else {}
    rows = []
    for generation in generations[-10:]:
        values = sorted(e.fitness for e in generation.evaluations if not math.isnan(e.fitness)) or [math.nan]
        birth = births.get(generation.best.agent)
        rows.append(
            (
                str(generation.number),
                count(generation.total_steps),
                number(generation.fitness),
                number(values[len(values) // 2]),
                number(values[0]),
                str(generation.best.agent),
                "" if birth is None else birth.detail or birth.kind,
            )
        )
        births = {b.agent: b for b in generation.births}
    return f"History({summary})", html_table(names, rows, ("came from",), summary, strong=len(rows) - 1)


def _or_low(value: float) -> float:
    return -math.inf if math.isnan(value) else value
