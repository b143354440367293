"""load: what is in a path, opened: a run, an agent, or recorded data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.core.checks import nearest
from evolab.core.option_types import check_known
from evolab.data.datasets.dataset import Dataset
from evolab.data.datasets.tokens import TokenDataset
from evolab.experiment.config.island_options import FILE
from evolab.experiment.experiment import Experiment
from evolab.population.agent import Agent
from evolab.storage.files import read_json
from evolab.storage.folders import recover
from evolab.training.generation_folders import ABOUT as RUN


def load(path: str | PathLike[str], **options: Any) -> Any:
    """Open what evolab has written: `ev.load("runs/x")`.

    A run becomes an `Experiment` that goes on where it stopped, the folder of an agent (such as a run's `elite/`) an
    `Agent`, a data file a `Dataset`.

    Args:
        path: a run's folder, an agent's folder, or a file of recorded data.
        options: of `Experiment.load` (such as `environment=` where it is your own), `Agent.load` or `Dataset`.

    Raises:
        FileNotFoundError: there is nothing; says what is near.
        ValueError: a folder that holds neither a run nor an agent, or a damaged one.
        TypeError: an option that what is there does not have.
    """
    place = checks.path("path", path)
    recover(place)
    if place.is_file():
        return _opened(
            TokenDataset.load if place.suffix == ".json" else Dataset, "a data set", place, options
        )
    if (place / FILE).exists() and read_json(place / FILE).get("migration") is not None:
        return Experiment.load(place, **options)
    if (place / RUN).exists() or any(place.glob("generation-*")):
        return Experiment.load(place, **options)
    if (place / "agent.json").exists():
        return _opened(Agent.load, "Agent.load", place, options)
    if (place / "data").is_dir():  # Minari's
        return _opened(Dataset, "a data set", place, options)
    if not place.exists():
        beside = [one.name for one in place.parent.iterdir()] if place.parent.is_dir() else []
        hint = nearest(place.name, beside).capitalize()
        hint = hint and f"{hint} "
        raise FileNotFoundError(f"there is no {place}. {hint}ev.runs('runs') lists saved runs.")
    runs = sorted(one.parent.name for one in place.glob(f"*/{RUN}"))
    hint = f" There are runs inside it: {', '.join(runs[:8])}." if runs else " exp.save(folder) writes a run."
    raise ValueError(f"{place} holds neither a run nor an agent.{hint}")


def _opened(how: Callable[..., object], what: str, place: Path, options: Mapping[str, object]) -> Any:
    check_known(how, options, what)
    return how(place, **options)
