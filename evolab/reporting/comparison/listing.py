"""A table of the runs below a folder, whatever wrote them."""

from __future__ import annotations

import math
import time
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.core import checks
from evolab.history.history import History
from evolab.storage import lock
from evolab.storage.files import Damaged, read_json
from evolab.training.generation_folders import ABOUT

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "run", "environment", "algorithm", "population", "seed", "generation", "total_steps",
    "evaluation_steps", "best_fitness", "elite_fitness", "seconds", "saved", "in_use_by", "folder",
)  # fmt: skip
DEEPEST = 4
"""Levels of folders that are searched for runs."""


def runs(folder: str | PathLike[str] = "runs") -> pd.DataFrame:
    """The saved runs below a folder, one row each, the newest first.

    Columns: run (its folder's name), environment, algorithm, population, seed, generation,
    total_steps (of training), evaluation_steps, best_fitness (of a single evaluation),
    elite_fitness (confirmed by fresh episodes), seconds (of training), saved (when), in_use_by
    (the process that writes there now), folder. A run that cannot be read is named in a warning and left out.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    import pandas as pd

    path = existing(folder)
    rows = []
    for place in places(path, 0):
        try:
            facts = about(place)
        except (Damaged, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{place} is left out: {error}", stacklevel=2)
            continue
        holder = lock.holder(place)
        rows.append(
            {
                **{name: facts.get(name) for name in COLUMNS},
                "run": str(place.relative_to(path)) if place != path else place.name,
                "saved": pd.Timestamp(float(facts.get("saved") or 0), unit="s"),
                "in_use_by": f"{holder['pid']} on {holder['host']}" if holder else "",
                "folder": str(place),
            }
        )
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("evaluation_steps", "best_fitness", "elite_fitness", "seconds"):
        frame[name] = pd.to_numeric(frame[name])
    frame = frame.sort_values("saved", ascending=False, ignore_index=True)
    frame["saved"] = pd.to_datetime(frame["saved"]).dt.round("s")
    return frame


def existing(folder: str | PathLike[str]) -> Path:
    """The path of a folder that is there.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    path = checks.path("folder", folder)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}. exp.save('runs/lander') makes one.")
    return path


def is_run(path: Path) -> bool:
    """True for the folder of a run."""
    return (path / ABOUT).exists() or (path / "history" / "generations.jsonl").exists()


def places(path: Path, depth: int) -> list[Path]:
    """The folders of runs below a folder, itself included; links are not followed."""
    if is_run(path):
        return [path]
    if depth >= DEEPEST:
        return []
    inner = [
        p for p in sorted(path.iterdir()) if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")
    ]
    return [place for part in inner for place in places(part, depth + 1)]


def about(path: Path) -> dict[str, Any]:
    """What is known of a run without reading its tensors."""
    if (path / ABOUT).exists() or not (path / "history").is_dir():
        facts = read_json(path / ABOUT)
        if not isinstance(facts, dict):
            raise Damaged(f"{path / ABOUT} is damaged: it is no mapping.")
        return facts
    history = History.from_json_lines(path / "history")  # results without checkpoints
    finite = [g.fitness for g in history if math.isfinite(g.fitness)]
    confirmed = [g.confirmed for g in history if g.confirmed is not None]
    last = history.generations[-1] if len(history) else None
    return {
        "generation": last.number if last else 0,
        "total_steps": last.total_steps if last else 0,
        "evaluation_steps": last.evaluation_steps if last else 0,
        "population": len(last.evaluations) if last else None,
        "best_fitness": max(finite, default=None),
        "elite_fitness": max(confirmed, default=None),
        "seconds": sum(sum(g.seconds.values()) for g in history),
        "saved": (path / "history" / "generations.jsonl").stat().st_mtime or time.time(),
    }
