"""Committed notebooks as a reader runs them: opened in JupyterLab, every cell from top to bottom, then the buttons."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ROOT
from tests.browser.lab import Notebook, Server
from tests.browser.test_dashboard import generation, press, wait_for_generation, wait_for_state
from tests.shortened import shorten

pytestmark = pytest.mark.browser

# EVOLAB_NOTEBOOKS names others, or "all" of them; these two end with a dashboard.
WANTED = os.environ.get("EVOLAB_NOTEBOOKS") or "tutorials/quickstart.ipynb notebooks/dashboard_tour.ipynb"
ALL = sorted(str(p.relative_to(ROOT)) for d in ("tutorials", "notebooks") for p in (ROOT / d).glob("*.ipynb"))
FAULTS = """() => [...document.querySelectorAll("[data-mime-type='application/vnd.jupyter.error'],"
    + " [data-mime-type='application/vnd.jupyter.stderr']")].map(n => n.textContent.slice(0, 300))"""


@pytest.fixture(params=ALL if WANTED == "all" else WANTED.split(), ids=lambda name: Path(name).stem)
def opened(request: pytest.FixtureRequest, folder: Path, server: Server, chromium: Any) -> Iterator[Notebook]:
    source = ROOT / request.param
    contents = json.loads(source.read_text(encoding="utf-8"))
    shorten(contents["cells"])
    (folder / source.name).write_text(json.dumps(contents), encoding="utf-8")
    lab = Notebook(chromium, server, source.name)
    yield lab
    lab.close()
    assert not lab.errors
    assert not lab.refused


def test_a_notebook_runs_from_top_to_bottom(opened: Notebook, artifacts: Path) -> None:
    page, name = opened.page, Path(opened.name).stem
    opened.run_all()
    assert page.evaluate(FAULTS) == []
    shots(opened, artifacts / name)
    if not page.locator(".evolab").count():
        return
    wait_for_state(page, "ready")
    before = generation(page)
    page.get_by_role("button", name="Step", exact=True).first.click()
    wait_for_generation(page, before + 1)
    if page.locator(".evolab").count() == 1:
        # Out of reach: a run that meets its target ends by itself, and nothing is left to pause.
        opened.value("setattr(exp, 'target', 1e9)")
        press(page, "Run")
        wait_for_generation(page, before + 2)
        press(page, "Pause")
        wait_for_state(page, "paused")


def shots(lab: Notebook, folder: Path) -> None:
    """A picture of every cell with an output, for eyes; only where artifacts are asked for."""
    if "EVOLAB_ARTIFACTS" not in os.environ:
        return
    folder.mkdir(parents=True, exist_ok=True)
    cells = lab.page.locator(".jp-Notebook .jp-CodeCell")
    for i in range(cells.count()):
        if cells.nth(i).locator(".jp-OutputArea-output").count():
            cells.nth(i).screenshot(path=folder / f"{i:02d}.png")
