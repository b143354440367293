"""Looks that a number can check: no sideways scrolling, no overlap, no clipped words, enough contrast.

Screenshots of both themes and widths are written to the artifacts folder, for eyes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.axe import grave_faults
from tests.browser.conftest import FAKE
from tests.browser.lab import Notebook, eventually

pytestmark = pytest.mark.browser

WIDTHS = (1280, 1000, 800)
THEMES = ("JupyterLab Light", "JupyterLab Dark")

CHECKS = (Path(__file__).parent / "looks.js").read_text("utf-8")


@pytest.fixture(scope="module")
def board(folder: Path, server: Any, chromium: Any) -> Iterator[Notebook]:
    """A dashboard with a run so long that counts have four digits, and an episode, drawn once for all looks."""
    from tests.browser.lab import write_notebook

    quick = FAKE.format(agents=12, generations=320).replace("cost=0.25", "cost=0")
    cells = [quick, "board = Dashboard(exp)\nboard.record()\nboard"]
    write_notebook(folder / "looks.ipynb", cells)
    lab = Notebook(chromium, server, "looks.ipynb", 1280, 1700)
    lab.run_all()
    lab.page.wait_for_selector(".ev-player input")
    yield lab
    lab.close()


@pytest.mark.parametrize("theme", THEMES, ids=lambda t: t.split()[-1].lower())
@pytest.mark.parametrize("width", WIDTHS)
def test_it_looks_right(board: Notebook, artifacts: Path, width: int, theme: str) -> None:
    page = board.page
    page.set_viewport_size({"width": width, "height": 1700 if width > 1100 else 3000})
    board.theme(theme)
    page.wait_for_timeout(1500)  # the theme's style sheet and the last redraw after it
    found: dict[str, list[str]] = {}

    def looks_right() -> bool:
        found.update(page.evaluate(f"() => eval({json.dumps(CHECKS)})"))
        return not any(found.values())

    deadline = time.monotonic() + 20  # a style sheet may come late to a busy page
    while not looks_right() and time.monotonic() < deadline:
        page.wait_for_timeout(250)
    page.screenshot(path=artifacts / f"dashboard-{theme.split()[-1].lower()}-{width}.png")
    assert found == {"sideways": [], "overlaps": [], "clipped": [], "contrast": []}
    assert not grave_faults(page, ".evolab")


def test_hover_tells_the_agents_details(board: Notebook, artifacts: Path) -> None:
    page = board.page
    page.set_viewport_size({"width": 1280, "height": 1700})
    chart = page.locator(".ev-fitness .ev-chart")
    tip = page.locator(".ev-tip")

    def told() -> bool:  # a redraw between focus and key takes the tip away again
        chart.blur()  # forgets where the last key went
        chart.focus()
        page.keyboard.press("ArrowLeft")
        return tip.is_visible() and "generation 320" in tip.inner_text()

    eventually(told, "a key on the chart shows an agent", patience=30)
    words = tip.inner_text()
    for part in ("agent ", "generation 320", "fitness ", "lr_actor", "hidden ", "network size"):
        assert part in words
    page.screenshot(path=artifacts / "dashboard-hover.png")


def test_everything_is_reached_by_keyboard(board: Notebook) -> None:
    names = board.page.evaluate(
        """() => [...document.querySelectorAll(".evolab :is(button, input, select, [tabindex='0'])")]
            .filter(n => n.checkVisibility() && !n.disabled)
            .map(n => n.getAttribute("aria-label") || n.textContent || n.closest("label")?.textContent)"""
    )
    assert len(names) > 12
    assert all(names)
