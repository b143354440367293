"""Still pictures of a run, drawn with Pillow: what GitHub, nbconvert and untrusted notebooks show.

Light page, twice the size it is shown at, the same colours and shapes as everywhere else.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from evolab.history.display import number
from evolab.reporting.figures.colours import CLOUD, INK, KINDS, MUTED, OTHER, TARGET, WINNER

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

    from evolab.reporting.dashboard.store import Store

WIDTH, CHART = 1520, 520  # pixels; shown at half of that
MANY = 10  # agents; see _tree
LEFT_AND_TOP = (50, CHART + 120)  # of the tree
GRID, PAGE = "#e4e6ea", "#ffffff"
Box = tuple[float, float, float, float]


def run_picture(store: Store, target: float | None, title: str) -> Picture:
    """Fitness of every agent above the family tree of the newest generations."""
    from PIL import Image, ImageDraw

    rows = store.compact()
    size = max((len(row["id"]) for row in _newest(rows)), default=0)  # a population may have been larger
    pitch = max(12, min(40, 480 / max(1, size)))
    tree = int(size * pitch) + 190 if rows else 0
    image = Image.new("RGB", (WIDTH, CHART + tree + 60), PAGE)
    draw = ImageDraw.Draw(image)
    _text(draw, (24, 16), title, 28, INK[0])
    if not rows:
        _text(draw, (24, 120), "No generation yet: call exp.step().", 26, MUTED[0])
        return image
    margin = 40 if target is None else 100
    _fitness(draw, (110, 104, WIDTH - margin, CHART), rows, store, target)
    _tree(draw, (*LEFT_AND_TOP, WIDTH - 40, LEFT_AND_TOP[1] + size * pitch), _newest(rows), store, pitch)
    return image


def png_bytes(image: Picture) -> bytes:
    """The picture as PNG; few colours, so a small palette keeps it small, and an octree finds it fast."""
    from PIL import Image

    file = io.BytesIO()
    image.quantize(48, method=Image.Quantize.FASTOCTREE).save(file, "PNG", compress_level=9)
    return file.getvalue()


def draw_form(title: str, data: dict[str, Any]) -> Picture:
    """The still picture of a panel's dict; see `evolab.reporting.dashboard.panel` for the forms."""
    from PIL import Image, ImageDraw

    lines = [title]
    if data["form"] == "text":
        lines += str(data["text"]).splitlines()
    elif data["form"] == "table":
        lines += ["   ".join(map(str, data["columns"]))]
        lines += ["   ".join(_cell(v) for v in row) for row in data["rows"][:30]]
    elif data["form"] == "bars":
        lines += [f"{name}: {_cell(value)}" for name, value in data["bars"].items()]
    chart = 320 if data["form"] == "lines" else 0
    axis = 50 if chart else 0  # room for the numbers below
    image = Image.new("RGB", (WIDTH, 60 + 34 * len(lines) + chart + axis), PAGE)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        _text(draw, (24, 20 + 34 * i), line, 28 if i == 0 else 22, INK[0] if i == 0 else MUTED[0])
    if data["form"] == "lines":
        _form_lines(draw, (110, 70, WIDTH - 260, 70 + chart), data)
    return image


def _form_lines(draw: ImageDraw, box: Box, data: dict[str, Any]) -> None:
    values = [v for line in data["lines"].values() for v in line if v is not None]
    if not values:
        return
    x, y = _axes(draw, box, (min(data["x"]), max(data["x"])), (min(values), max(values)))
    ends: list[tuple[float, str, str]] = []
    for i, (name, line) in enumerate(data["lines"].items()):
        colour = INK[0] if i == 0 else CLOUD[0]
        _path(draw, [None if v is None else (x(a), y(v)) for a, v in zip(data["x"], line)], colour, 4)
        last = next((v for v in reversed(line) if v is not None), None)
        if last is not None:
            ends.append((y(last) - 12, name, colour))
    free = -math.inf
    for height, name, colour in sorted(ends):  # lines that end together must not write over each other
        free = max(height, free + 26)
        _text(draw, (box[2] + 14, free), name, 20, colour)


def _fitness(
    draw: ImageDraw, box: Box, rows: Sequence[dict[str, Any]], store: Store, target: float | None
) -> None:
    line, fresh = store.line(), store.confirmed()
    values = [v for row in rows for v in row["f"] if v is not None] + [v for v in line["f"] if v is not None]
    values += [*fresh["f"]] if target is None else [*fresh["f"], target]
    if not values:
        return
    steps = (rows[0]["t"] if len(rows) > 1 else 0, rows[-1]["t"])
    x, y = _axes(draw, box, steps, (min(values), max(values)))
    ending = f"; the winner now: {number(line['f'][-1])}" if line["f"] and line["f"][-1] is not None else ""
    rings = "; rings: means of fresh episodes" if fresh["f"] else ""
    _text(draw, (24, box[1] - 40), f"fitness over steps of all agents{ending}{rings}", 20, MUTED[0])
    for before, now in pairwise(rows):
        places = {agent: i for i, agent in enumerate(before.get("id", ()))}
        near = now["n"] == before["n"] + 1 and "p" in now and bool(places)
        for i, value in enumerate(now["f"]):
            j = places.get(now["p"][i]) if near else i
            if j is None or j >= len(before["f"]) or value is None or before["f"][j] is None:
                continue
            draw.line([(x(before["t"]), y(before["f"][j])), (x(now["t"]), y(value))], "#c3c6cc", 2)
    if target is not None:
        for left in range(int(box[0]), int(box[2]), 20):
            draw.line([(left, y(target)), (min(left + 11, box[2]), y(target))], TARGET[0], 2)
        for text, height in (("target", -22), (number(target), 2)):  # where no curve can run through it
            _text(draw, (box[2] + 12, y(target) + height), text, 20, TARGET[0])
    points = [None if f is None else (x(t), y(f)) for t, f in zip(line["t"], line["f"])]
    _path(draw, points, WINNER[0], 5)
    if points and points[-1]:
        _shape(draw, "circle", *points[-1], 7, WINNER[0])
    for step, value in zip(fresh["t"], fresh["f"]):
        draw.ellipse([x(step) - 9, y(value) - 9, x(step) + 9, y(value) + 9], outline=WINNER[0], width=3)


def _newest(rows: Sequence[dict[str, object]]) -> list[dict[str, Any]]:
    """As many of the newest generations as a tree has room for."""
    return [row for row in rows if "id" in row][-int((WIDTH - 40 - LEFT_AND_TOP[0]) // 56) :]


def _tree(draw: ImageDraw, box: Box, shown: Sequence[dict[str, Any]], store: Store, pitch: float) -> None:
    step = min(150.0, (box[2] - box[0]) / max(1, len(shown) - 1))
    line = dict(zip(store.line()["n"], store.line()["id"]))
    _text(
        draw,
        (24, box[1] - 46),
        "lineage, best agent on top; blue: the winner's ancestry",
        20,
        MUTED[0],
    )

    def at(column: int, rank: int) -> tuple[float, float]:
        return box[0] + column * step, box[1] + (rank + 0.5) * pitch

    strong = []
    # With many families pale links say nothing and cost most of the bytes.
    crowded = len(shown[-1]["id"]) > MANY
    for c in range(1, len(shown)):
        places = {agent: i for i, agent in enumerate(shown[c - 1]["id"])}
        for i, (agent, parent) in enumerate(zip(shown[c]["id"], shown[c]["p"])):
            if parent in places:
                edge = [at(c - 1, places[parent]), at(c, i)]
                won = line.get(shown[c]["n"]) == agent and line.get(shown[c - 1]["n"]) == parent
                if won:
                    strong.append(edge)
                elif store.kinds[shown[c]["k"][i]] == "migrated":
                    draw.line(_arc(*edge), MUTED[0], 2)
                elif not crowded:
                    draw.line(edge, "#d3d6db", 2)
    for edge in strong:
        draw.line(edge, WINNER[0], 6)
    radius = max(4, min(11, pitch * 0.33))
    for c, row in enumerate(shown):
        for i, kind in enumerate(row["k"]):
            look = KINDS.get(store.kinds[kind], OTHER)
            _shape(draw, look.symbol, *at(c, i), radius, look.light)
        if c % max(1, math.ceil(60 / step)) == 0:
            _text(draw, (at(c, 0)[0], box[3] + 8), str(row["n"]), 18, MUTED[0], anchor="ma")
    left = box[0] - 12
    shown_kinds = {store.kinds[kind] for row in shown for kind in row["k"]}
    looks = [look for kind, look in KINDS.items() if kind in shown_kinds]
    for look in looks + [OTHER] * bool(shown_kinds - set(KINDS)):
        _shape(draw, look.symbol, left, box[3] + 56, 9, look.light)
        _text(draw, (left + 18, box[3] + 44), look.label, 20, MUTED[0])
        left += 56 + draw.textlength(look.label, font=_font(20))


def _arc(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """A line over the heads of those between: from one island to another."""
    middle = (start[0] + end[0]) / 2, min(start[1], end[1]) - 12 - abs(end[1] - start[1]) / 3

    def at(t: float) -> tuple[float, float]:
        parts = (1 - t) ** 2, 2 * t * (1 - t), t * t
        x, y = (sum(p * c[axis] for p, c in zip(parts, (start, middle, end), strict=True)) for axis in (0, 1))
        return x, y

    return [at(place / 12) for place in range(13)]


def _axes(draw: ImageDraw, box: Box, xs: tuple[float, float], ys: tuple[float, float]) -> tuple[Any, Any]:
    pad = (ys[1] - ys[0] or 1) * 0.05
    x = _linear(xs[0], xs[1], box[0] + 8, box[2] - 8)
    y = _linear(ys[0] - pad, ys[1] + pad, box[3], box[1])
    for value, words in _together(_ticks(*ys, 5)):
        draw.line([(box[0], y(value)), (box[2], y(value))], GRID, 2)
        _text(draw, (box[0] - 12, y(value)), words, 20, MUTED[0], anchor="rm")
    for value, words in _together(_ticks(*xs, 6)):
        _text(draw, (x(value), box[3] + 10), words, 20, MUTED[0], anchor="ma")
    return x, y


def _linear(low: float, high: float, start: float, end: float) -> Any:
    return lambda value: start + (value - low) / ((high - low) or 1) * (end - start)


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    raw = ((high - low) or 1) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.7)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _together(values: Sequence[float]) -> list[tuple[float, str]]:
    """The numbers of one axis with one unit and equally many decimals."""
    most = max((abs(v) for v in values), default=0.0)
    unit, name = (1e6, "M") if most >= 1e6 else (1e3, "k") if most >= 1e4 else (1.0, "")
    step = abs(values[1] - values[0]) / unit if len(values) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if digits > 5:
        return [(v, number(v)) for v in values]
    return [(v, f"{v / unit:.{digits}f}{name}" if v else "0") for v in values]


def _path(draw: ImageDraw, points: Sequence[tuple[float, float] | None], colour: str, width: int) -> None:
    for a, b in pairwise(points):
        if a and b:
            draw.line([a, b], colour, width)
            _shape(draw, "circle", *b, width / 2 - 0.5, colour)  # round joints


def _shape(draw: ImageDraw, symbol: str, x: float, y: float, r: float, colour: str) -> None:
    if symbol == "star-open":
        _shape(draw, "star", x, y, r, colour)
        return _shape(draw, "star", x, y, 0.45 * r, PAGE)
    if symbol.startswith("circle"):
        fill = PAGE if symbol.endswith("open") else colour
        draw.ellipse([x - r * 0.9, y - r * 0.9, x + r * 0.9, y + r * 0.9], fill=fill, outline=colour, width=3)
        return
    shapes: dict[str, list[tuple[float, float]]] = {
        "square": [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)],
        "triangle-up": [(0, -1), (1, 0.8), (-1, 0.8)],
        "triangle-down": [(0, 1), (1, -0.8), (-1, -0.8)],
        "diamond": [(0, -1.1), (1.1, 0), (0, 1.1), (-1.1, 0)],
        "hexagon": [(math.cos(a * math.pi / 3), math.sin(a * math.pi / 3)) for a in range(6)],
        "cross": [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3),
                  (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
        "star": [
            ((1.2 if a % 2 == 0 else 0.55) * math.sin(a * math.pi / 5),
             -(1.2 if a % 2 == 0 else 0.55) * math.cos(a * math.pi / 5))
            for a in range(10)
        ],
    }  # fmt: skip
    draw.polygon([(x + r * a, y + r * b) for a, b in shapes[symbol]], fill=colour)


def _text(
    draw: ImageDraw, at: tuple[float, float], text: str, size: int, colour: str, anchor: str = "la"
) -> None:
    draw.text(at, text, font=_font(size), fill=colour, anchor=anchor)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float | int) else str(value)
