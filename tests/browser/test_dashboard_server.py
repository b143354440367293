"""The dashboard of `evolab board` in a real Chromium: all runs, one run, read on while another process writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolab.history.history import History
from evolab.reporting.dashboard_server.server import DashboardServer
from tests.browser.axe import grave_faults
from tests.browser.lab import PATIENCE, until
from tests.browser.test_looks import CHECKS
from tests.reporting.comparison.made import config, write_run
from tests.reporting.dashboard.fake import make_history

pytestmark = pytest.mark.browser

WHOLE = make_history(42, 8, seed=2)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for seed in (2, 3):
        write_run(tmp_path / f"seed{seed}", config(seed, target=200.0), History(WHOLE.generations[:40]))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "experiment.json").write_text("{")
    return tmp_path


@pytest.fixture
def page(place: Path, chromium: Any) -> Iterator[Any]:
    """The board's page; an error on its console fails the test."""
    board = DashboardServer(place, port=0)
    thread = threading.Thread(target=board.serve)
    thread.start()
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    made, said = context.new_page(), []
    made.set_default_timeout(1000 * PATIENCE)
    made.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: said.append(str(error)))
    made.goto(board.url)
    yield made
    context.close()
    board.close()
    thread.join()
    assert said == []


def sound(page: Any) -> None:
    """Nothing overlaps, is cut or scrolls sideways, in both themes and at two widths."""
    for width in (1280, 800):
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 1400})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(1500)  # the last redraw of a new width and theme
            found = page.evaluate(f"() => eval({json.dumps(CHECKS)})")
            assert not any(found.values()), (width, scheme, found)
    assert not grave_faults(page, ".evolab")


def test_all_runs_are_listed_and_one_is_opened(page: Any) -> None:
    until(page, "() => document.querySelectorAll('.ev-runs tbody tr').length === 3")
    until(page, "() => document.querySelector('.ev-fitness .ev-legend span')")
    sound(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("link", name="seed2").click()
    until(page, "() => document.querySelector('.ev-tiles b')?.textContent === '40'")
    assert page.locator("#back").inner_text() == "all runs / seed2"
    assert page.get_by_role("button", name="Run", exact=True).count() == 0  # it only reads
    sound(page)


def test_a_page_is_told_what_is_new_and_nothing_else(page: Any, place: Path) -> None:
    """Every answer held the whole run."""
    page.get_by_role("link", name="seed3").click()
    until(page, "() => document.querySelector('.ev-tiles b')?.textContent === '40'")
    answers: list[Any] = []
    page.on("requestfinished", lambda one: answers.append(one))  # Playwright marks what it is given
    page.wait_for_timeout(2500)  # it asks once a second
    told = [one.response().json() for one in answers if "/frame?" in one.url]
    assert told
    assert not any("rows" in one for one in told)
    answers.clear()
    WHOLE.to_json_lines(place / "seed3" / "history")
    until(page, "() => document.querySelector('.ev-tiles b').textContent === '42'")
    told = [one.response().json() for one in answers if "/frame?" in one.url]
    assert [row["n"] for one in told for row in one.get("rows", [])] == [41, 42]
