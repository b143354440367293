"""DatasetReport: what was found in a data set, in words, in HTML and as a small figure."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from gymnasium import Space

from evolab.core.actions import bounds
from evolab.core.space_trees import leaf_spaces
from evolab.core.trees import Tree, named_leaves
from evolab.data.datasets import spaces
from evolab.data.datasets.choices import choices_of, note_of
from evolab.data.datasets.columns import Columns
from evolab.data.datasets.mapped import release_pages
from evolab.data.datasets.scan import Scan
from evolab.history.display import html_facts

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLE = 1_000_000  # actions looked at for the entropy
BINS = 24


@dataclass(frozen=True)
class DatasetReport:
    """What a data set holds, and what was done to it.

    Attributes:
        name: what messages call the data set.
        format: the format found.
        rows: rows stored.
        transitions: rows one can learn from.
        episodes: number of episodes.
        mean_return: mean undiscounted return of the episodes that the recording saw to their end, over all rows.
        returns: quantiles of the returns, by 0, 0.25, 0.5, 0.75 and 1.
        lengths: quantiles of the lengths, in rows, likewise.
        terminals: episodes that ended by themselves.
        truncations: episodes that were cut.
        repairs: terminal flags one row early, taken back.
        dropped: rows without a stored successor, left out.
        nan: entries that were NaN or infinite, by column; their transitions are left out.
        casts: dtypes that were converted, by column.
        observations: the observation space.
        actions: the action space.
        action_range: smallest and largest action, by column.
        outside: share of the actions outside the action space, 0..1.
        entropy: entropy of the behaviour's actions as a share of a uniform policy's, 0..1: of
            all actions together, so an upper bound on what it is given the observation.
        notes: other oddities, in words.
        choices: space of actions that are whole numbers stored as floats, where nobody has said what they are; else None.
        histogram: counts of the returns in bins of equal width from the smallest to the largest.
    """

    name: str
    format: str
    rows: int
    transitions: int
    episodes: int
    mean_return: float
    returns: Mapping[float, float]
    lengths: Mapping[float, float]
    terminals: int
    truncations: int
    repairs: int
    dropped: int
    nan: Mapping[str, int]
    casts: Mapping[str, str]
    observations: str
    actions: str
    action_range: Mapping[str, tuple[float, float]]
    outside: float
    entropy: float
    notes: tuple[str, ...]
    histogram: tuple[int, ...] = field(repr=False, default=())
    choices: Space | None = None

    def lines(self) -> list[tuple[str, str]]:
        """Every finding as (what, value), in the order shown."""
        left_out = self.rows - self.transitions
        found = [
            ("rows", f"{_count(self.rows)}, {_count(self.transitions)} usable as transitions"),
            ("episodes", _count(self.episodes)),
            ("mean return", f"{self.mean_return:.2f}"),
            ("returns", _quantiles(self.returns, ".6g")),
            ("lengths", _quantiles(self.lengths, ".6g")),
            ("terminated", _count(self.terminals)),
            ("truncated", _count(self.truncations)),
            ("doubled terminals", f"{_count(self.repairs)} repaired" if self.repairs else "none"),
            (
                "rows dropped",
                f"{_count(self.dropped)} without a stored successor" if self.dropped else "none",
            ),
        ]
        if left_out > self.dropped:
            found.append(("", f"{_count(left_out - self.dropped)} with NaN or infinity"))
        found += [
            ("NaN", ", ".join(f"{key} {_count(n)}" for key, n in self.nan.items()) or "none"),
            ("dtypes cast", ", ".join(f"{key} {cast}" for key, cast in self.casts.items()) or "none"),
            ("observations", self.observations),
            ("actions", self.actions),
        ]
        for key, (low, high) in self.action_range.items():
            where = f"{self.outside:.2%} outside the space" if self.outside else "within the space"
            found.append(("action range", f"{low:.6g} to {high:.6g}{_part(key)}, {where}"))
        found.append(("behaviour entropy", f"{self.entropy:.1%} of a uniform policy's"))
        return found + [("note", note) for note in self.notes]

    def __str__(self) -> str:
        body = "\n".join(f"  {what:<18} {value}" for what, value in self.lines())
        return f"{self.name} ({self.format})\n{body}\n  {'return histogram':<18} {_bars(self.histogram)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        svg = base64.b64encode(self._svg().encode()).decode()
        image = f'<img alt="histogram of {self.episodes} returns" src="data:image/svg+xml;base64,{svg}">'
        return html_facts(f"{self.name} ({self.format})", self.lines(), image)

    def _svg(self) -> str:
        """The histogram of returns, in a grey that is seen on light and on dark."""
        width, height = 360, 90
        top, step = max(self.histogram, default=1) or 1, width / max(1, len(self.histogram))
        bars = "".join(
            f'<rect x="{i * step:.1f}" y="{height - height * n / top:.1f}" width="{max(1.0, step - 1):.1f}" '
            f'height="{height * n / top:.1f}"/>'
            for i, n in enumerate(self.histogram)
        )
        low, high = self.returns[0.0], self.returns[1.0]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 18}" '
            f'font-family="sans-serif" font-size="11" fill="#888"><g fill="#6b8fb5">{bars}</g>'
            f'<text x="0" y="{height + 13}">{low:.6g}</text>'
            f'<text x="{width / 2:.0f}" y="{height + 13}" text-anchor="middle">return of an episode</text>'
            f'<text x="{width}" y="{height + 13}" text-anchor="end">{high:.6g}</text></svg>'
        )


def report_of(columns: Columns, scan: Scan, observation_space: Space, action_space: Space) -> DatasetReport:
    """The report of loaded columns, seen in these spaces."""
    episodes, finite = columns.episodes, columns.whole_returns
    cut = len(episodes) - int(episodes.finished.sum())
    notes = columns.notes
    if cut:
        left = (
            "left out of the returns" if cut < len(episodes) else "so that no return is that of a whole one"
        )
        notes += (f"{cut} episodes were cut off by the end of the recording, {left}",)
    choices = choices_of(columns.actions, action_space, scan.ranges)
    notes += () if choices is None else (note_of(choices),)
    share, outside = _behaviour(columns.actions, action_space, scan.ranges)
    return DatasetReport(
        name=columns.name,
        format=columns.format,
        rows=episodes.rows,
        transitions=episodes.rows - len(scan.skipped),
        episodes=len(episodes),
        mean_return=float(finite.mean()) if len(finite) else float("nan"),
        returns=_levels(finite),
        lengths=_levels(episodes.lengths),
        terminals=int(episodes.terminated.sum()),
        truncations=int((episodes.truncated & ~episodes.terminated).sum()),
        repairs=columns.doubled,
        dropped=scan.lost,
        nan=dict(scan.nan),
        casts=dict(scan.casts),
        observations=spaces.text(observation_space),
        actions=spaces.text(action_space),
        action_range={key: value for key, value in scan.ranges.items() if key.partition("/")[0] == "actions"},
        outside=outside,
        entropy=share,
        notes=notes,
        histogram=_histogram(finite),
        choices=choices,
    )


def _behaviour(tree: Tree, space: Space, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Entropy of the actions as a share of a uniform policy's, and the share outside the space."""
    shares, outside, seen = [], 0.0, 0
    stored = dict(named_leaves(tree, "actions"))  # in an order of their own
    for keys, part in leaf_spaces(space):
        path = "/".join(map(str, ("actions", *keys)))
        leaf = stored[path]
        stride = max(1, len(leaf) // SAMPLE)
        values = np.array(leaf[::stride])
        release_pages(leaf)
        values = values.reshape(len(values), -1)
        least, most = (np.broadcast_to(side, values.shape[1:]) for side in map(np.ravel, bounds(part)))
        wrong = ((values < least) | (values > most)).any(1)
        outside, seen = max(outside, float(wrong.mean())), seen + 1
        low, high = ranges[path]
        for k in range(values.shape[1]):
            if leaf.dtype.kind == "f":
                bounded = math.isfinite(least[k]) and math.isfinite(most[k])
                edges = (least[k], most[k]) if bounded else (low, max(high, low + 1e-6))
                counts = np.histogram(np.clip(values[:, k], *edges), bins=20, range=edges)[0]
            else:
                size = int(min(max(most[k] - least[k] + 1, 1), 10_000))
                counts = np.bincount(
                    np.clip(values[:, k] - int(least[k]), 0, size - 1).astype(np.int64), minlength=size
                )
            shares.append(_entropy(counts))
    return (float(np.mean(shares)) if shares else 0.0), outside


def _entropy(counts: np.ndarray) -> float:
    """Entropy of the counts over that of equal ones, 0 where there is a single choice."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum() / np.log(len(counts))) + 0.0 if len(counts) > 1 else 0.0


def _levels(values: np.ndarray) -> dict[float, float]:
    if not len(values):
        return {q: float("nan") for q in QUANTILES}
    return {q: float(level) for q, level in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def _histogram(values: np.ndarray) -> tuple[int, ...]:
    if not len(values) or values.min() == values.max():
        return (len(values),)
    return tuple(int(n) for n in np.histogram(values, bins=BINS)[0])


def _count(value: int) -> str:
    """A whole number in groups of three: 99 999."""
    return f"{value:,}".replace(",", " ")


def _quantiles(levels: Mapping[float, float], form: str) -> str:
    names = ("min", "25%", "median", "75%", "max")
    return ", ".join(f"{name} {level:{form}}" for name, level in zip(names, levels.values(), strict=True))


def _part(path: str) -> str:
    inner = path.partition("/")[2]
    return f" ({inner})" if inner else ""


def _bars(counts: tuple[int, ...]) -> str:
    """The histogram as one line of blocks."""
    top = max(counts, default=0)
    return "".join(" ▁▂▃▄▅▆▇█"[math.ceil(8 * n / top)] if top else " " for n in counts)
