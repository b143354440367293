"""A page so busy that anywidget gives a model up before its module is there: it dropped every message from then on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import FAKE
from tests.browser.lab import Notebook, until
from tests.browser.test_dashboard import FAKE_BOARD, wait_for_generation
from tests.reporting.comparison.made import make_runs

pytestmark = pytest.mark.browser

# anywidget waits two seconds for a module; here they are over before any module could be loaded.
TWO_SECONDS_ARE_OVER = """const asked = AbortSignal.timeout;
AbortSignal.timeout = (ms) => {
    if (ms !== 2000) return asked.call(AbortSignal, ms);
    const over = new AbortController();
    window.given_up = (window.given_up || 0) + 1;
    Promise.resolve().then(() => over.abort());
    return over.signal; };"""


def opened_late(lab: Notebook) -> None:
    lab.page.add_init_script(TWO_SECONDS_ARE_OVER)
    lab.open()
    lab.run_all()


def test_boards_hear_of_their_run_however_late_they_began(notebook: Callable[..., Notebook]) -> None:
    """The second one of a notebook stayed a still picture where much ran beside it."""
    lab = notebook(FAKE.format(agents=4, generations=2), FAKE_BOARD, "Dashboard(exp)")
    opened_late(lab)
    wait_for_generation(lab.page, 2)
    lab.value("exp.start(generations=1)")
    until(
        lab.page,
        """() => { const boards = [...document.querySelectorAll('.evolab')];
            return boards.length === 2 && boards.every(b => b.querySelector('.ev-tiles b').textContent === '3'
                && !b.querySelector('.ev-state').textContent.includes('picture')); }""",
    )
    assert lab.page.evaluate("window.given_up") >= 2


def test_a_board_of_runs_hears_of_them_however_late_it_began(
    notebook: Callable[..., Notebook], tmp_path: Path
) -> None:
    make_runs(tmp_path / "runs", 4)
    lab = notebook(f"import evolab as ev\nev.dashboard({str(tmp_path / 'runs')!r})")
    opened_late(lab)
    until(lab.page, "() => document.querySelector('.ev-state').textContent === 'live'")
    assert lab.page.evaluate("window.given_up") >= 1
