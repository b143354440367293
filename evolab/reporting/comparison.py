"""Many runs side by side: a table of what is in a folder, and anytime curves with their spread over seeds."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from evolab.history.history import History
from evolab.storage import lock
from evolab.storage.files import Damaged, read_json
from evolab.training.generation_folders import ABOUT

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

COLUMNS = (
    "run", "environment", "algorithm", "population", "seed", "generation", "total_steps", "best_fitness",
    "elite_fitness", "seconds", "saved", "in_use_by", "folder",
)  # fmt: skip
DEEPEST = 4
"""Levels of folders that are searched for runs."""

COLOURS = ("#0066aa", "#c44f00", "#00805d", "#a87400", "#b04a86", "#6b6f78", "#7a5230")
DASHES = ("solid", "dash", "dot", "dashdot")
APART = ("seed", "device", "checkpoint_every", "keep", "trackers", "target")
"""Options that do not make two runs different in kind."""


@runtime_checkable
class Run(Protocol):
    """A run that is at hand, such as an `Experiment`."""

    @property
    def history(self) -> History:
        """Every finished generation."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Every option as plain values."""


Source: TypeAlias = "str | PathLike[str] | History | Run"
"""A folder of a run, its history, or the run itself."""


def runs(folder: str | PathLike[str] = "runs") -> pd.DataFrame:
    """The saved runs below a folder, one row each, the newest first.

    Columns: run (its folder's name), environment, algorithm, population, seed, generation,
    total_steps, best_fitness (of a single evaluation), elite_fitness (confirmed by fresh
    episodes), seconds (of training), saved (when), in_use_by (the process that writes there
    now), folder. A run that cannot be read is named in a warning and left out.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    import pandas as pd

    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}. exp.save('runs/lander') makes one.")
    rows = []
    for place in _places(path, 0):
        try:
            about = _about(place)
        except (Damaged, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{place} is left out: {error}", stacklevel=2)
            continue
        holder = lock.holder(place)
        rows.append(
            {
                **{name: about.get(name) for name in COLUMNS},
                "run": str(place.relative_to(path)) if place != path else place.name,
                "saved": pd.Timestamp(float(about.get("saved") or 0), unit="s"),
                "in_use_by": f"{holder['pid']} on {holder['host']}" if holder else "",
                "folder": str(place),
            }
        )
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("best_fitness", "elite_fitness", "seconds"):
        frame[name] = pd.to_numeric(frame[name])
    frame = frame.sort_values("saved", ascending=False, ignore_index=True)
    frame["saved"] = pd.to_datetime(frame["saved"]).dt.round("s")
    return frame


def compare(
    what: Mapping[str, Source | Iterable[Source]] | Iterable[Source] | Source,
    *,
    interval: float = 0.5,
    axis: str = "total_steps",
) -> Figure:
    """Anytime curves: the best fitness found so far over training steps, as a plotly figure.

    Runs that differ in their seed alone are one curve: the median over them, with the interval
    that holds the middle of them shaded.

    Args:
        what: runs to compare: folders, experiments or histories; or a mapping from a label to one or
            several of them; or one folder, for all runs below it.
        interval: share of the runs that the shaded interval holds, 0.5 for the quartiles, 1 for all of them.
        axis: "total_steps", "generations" or "seconds" (of training and evaluation).

    Raises:
        ValueError: nothing to compare, or an unknown axis.
        FileNotFoundError: a folder holds no run.
    """
    import plotly.graph_objects as go

    from evolab.reporting.panels.figures import finish

    if axis not in ("total_steps", "generations", "seconds"):
        raise ValueError(f"axis is {axis!r}; 'total_steps', 'generations' or 'seconds' is expected.")
    if not 0 < interval <= 1:
        raise ValueError(f"interval is {interval}; a share of the runs above 0, and 1 at most, is expected.")
    groups = _groups(what)
    if not groups:
        raise ValueError("there is nothing to compare: no run with a finished generation.")
    chart = go.Figure()
    for index, (label, histories) in enumerate(groups.items()):
        curves = [_anytime(history, axis) for history in histories]
        xs = np.unique(np.concatenate([x for x, _ in curves]))
        xs = xs[(xs >= max(x[0] for x, _ in curves)) & (xs <= min(x[-1] for x, _ in curves))]
        if not len(xs):  # runs that share no stretch: the longest speaks for all
            xs = max((x for x, _ in curves), key=len)
        table = np.array([y[np.searchsorted(x, xs, side="right").clip(1) - 1] for x, y in curves])
        low, middle, high = np.quantile(table, [(1 - interval) / 2, 0.5, (1 + interval) / 2], axis=0)
        colour = COLOURS[index % len(COLOURS)]
        name = f"{label} ({len(curves)} runs)" if len(curves) > 1 else label
        if len(curves) > 1:
            chart.add_scatter(
                x=np.concatenate([xs, xs[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself", mode="lines",
                line={"width": 0, "color": colour}, opacity=0.2, hoverinfo="skip", showlegend=False, legendgroup=label,
            )  # fmt: skip
        chart.add_scatter(
            x=xs, y=middle, mode="lines" if len(xs) > 1 else "markers", name=name, legendgroup=label,
            line={"color": colour, "width": 3, "shape": "hv", "dash": DASHES[index // len(COLOURS) % len(DASHES)]},
        )  # fmt: skip
    words = {
        "total_steps": "training steps of the population",
        "generations": "generation",
        "seconds": "seconds",
    }
    return finish(chart, "Best fitness so far", words[axis], "fitness")


def _anytime(history: History, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Where each generation ended, and the best fitness up to there."""
    generations = [g for g in history if math.isfinite(g.fitness)]
    y = np.maximum.accumulate(np.array([g.fitness for g in generations], dtype=float))
    if axis == "seconds":
        return np.cumsum([sum(g.seconds.values()) for g in generations]), y
    return np.array(
        [g.number if axis == "generations" else g.total_steps for g in generations], dtype=float
    ), y


def _groups(
    what: Mapping[str, Source | Iterable[Source]] | Iterable[Source] | Source,
) -> dict[str, list[History]]:
    """Histories with at least one fitness, by label."""
    if isinstance(what, Mapping):
        named = {str(label): [_history(one) for one in _listed(part)] for label, part in what.items()}
    else:
        sources = _listed(what)
        if isinstance(what, (str, PathLike)) and not (Path(what) / ABOUT).exists():
            sources = list(_places(Path(what).expanduser(), 0))
        histories = [_history(one) for one in sources]
        named = _labelled(list(zip([_config(one) for one in sources], histories)))
    kept = {
        label: [history for history in histories if any(math.isfinite(g.fitness) for g in history)]
        for label, histories in named.items()
    }
    return {label: histories for label, histories in kept.items() if histories}


def _listed(part: Source | Iterable[Source]) -> list[Source]:
    if isinstance(part, (str, PathLike, History, Run)):
        return [part]
    return list(part)


def _history(one: Source) -> History:
    if isinstance(one, History):
        return one
    if isinstance(one, Run):
        return one.history
    path = Path(one).expanduser()
    if not (path / "history" / "generations.jsonl").exists():
        raise FileNotFoundError(f"there is no saved run at {path}.")
    until = _about(path).get("generation")
    return History.from_json_lines(path / "history", until=until)


def _config(one: Source) -> dict[str, Any]:
    if isinstance(one, History):
        return {}
    if isinstance(one, Run):
        return dict(one.config)
    return dict(_about(Path(one).expanduser()).get("config") or {"run": Path(one).name})


def _labelled(runs: Sequence[tuple[dict[str, Any], History]]) -> dict[str, list[History]]:
    """Runs of one kind together, called by what sets the kinds apart."""
    kinds: dict[str, tuple[dict[str, Any], list[History]]] = {}
    for config, history in runs:
        options = {name: value for name, value in config.items() if name not in APART}
        kinds.setdefault(json.dumps(options, sort_keys=True, default=str), (options, []))[1].append(history)
    known = [options for options, _ in kinds.values()]
    differing = [
        name
        for name in dict.fromkeys(name for options in known for name in options)
        if len({json.dumps(options.get(name), sort_keys=True, default=str) for options in known}) > 1
    ]
    names = [name for name in ("algorithm", "environment") if name in differing or len(known) == 1]
    names += [name for name in differing if name not in names]
    labels: dict[str, list[History]] = {}
    for options, histories in kinds.values():
        words = [_word(name, options.get(name)) for name in names[:4] if name in options]
        label = ", ".join(words) or "run"
        while label in labels:
            label += "'"
        labels[label] = histories
    return labels


def _word(name: str, value: Any) -> str:
    if isinstance(value, dict):
        parts = [str(value.get("type", ""))] if "type" in value else []
        if name == "network" and "hidden" in value:
            parts.append("x".join(map(str, value["hidden"])))
        value = " ".join(parts) or "..."
    text = str(value)[:40].replace("<", "&lt;")
    return text if name in ("algorithm", "environment", "run") else f"{name} {text}"


def _places(path: Path, depth: int) -> list[Path]:
    """The folders of runs below a folder, itself included; links are not followed."""
    if (path / ABOUT).exists() or (path / "history" / "generations.jsonl").exists():
        return [path]
    if depth >= DEEPEST:
        return []
    inner = [
        p for p in sorted(path.iterdir()) if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")
    ]
    return [place for part in inner for place in _places(part, depth + 1)]


def _about(path: Path) -> dict[str, Any]:
    """What is known of a run without reading its tensors."""
    if (path / ABOUT).exists() or not (path / "history").is_dir():
        about = read_json(path / ABOUT)
        if not isinstance(about, dict):
            raise Damaged(f"{path / ABOUT} is damaged: it is no mapping.")
        return about
    history = History.from_json_lines(path / "history")  # results without checkpoints
    finite = [g.fitness for g in history if math.isfinite(g.fitness)]
    confirmed = [g.confirmed for g in history if g.confirmed is not None]
    last = history.generations[-1] if len(history) else None
    return {
        "generation": last.number if last else 0,
        "total_steps": last.total_steps if last else 0,
        "population": len(last.evaluations) if last else None,
        "best_fitness": max(finite, default=None),
        "elite_fitness": max(confirmed, default=None),
        "seconds": sum(sum(g.seconds.values()) for g in history),
        "saved": (path / "history" / "generations.jsonl").stat().st_mtime or time.time(),
    }
