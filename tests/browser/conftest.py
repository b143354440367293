"""One server and one folder of notebooks for all browser tests; a page of the suite's one Chromium for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Notebook, Server, write_notebook

ROOT = Path(__file__).parents[2]

EXPERIMENT = """
import evolab as ev
exp = ev.Experiment("CartPole-v1", algorithm="DQN", population=4, num_envs=2, network=ev.MLP([16]),
                    steps_per_generation=60, eval_steps=60, target=195.0, seed=1)
exp.fill(300)
"""
FAKE = """
from tests.reporting.dashboard.fake import FakeExperiment
from evolab.reporting.panels import Dashboard
exp = FakeExperiment(agents={agents}, cost=0.25, seed=2)
exp.run({generations})
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder, ROOT)
    yield made
    made.close()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(os.environ.get("EVOLAB_ARTIFACTS") or tmp_path_factory.mktemp("artifacts"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def notebook(
    folder: Path, server: Server, chromium: Any, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Makes a notebook of cells and opens it; closed after the test, which fails on any error of the page."""
    made: list[Notebook] = []

    def make(*cells: str, width: int = 1280, height: int = 1000) -> Notebook:
        name = f"{request.node.name.replace('[', '-').replace(']', '')}-{len(made)}.ipynb"
        write_notebook(folder / name, cells)
        made.append(Notebook(chromium, server, name, width, height))
        return made[-1]

    yield make
    for open_notebook in made:
        open_notebook.close()
    for open_notebook in made:
        assert not open_notebook.errors
        assert not open_notebook.refused
