"""The word game's board in a real browser: a person plays against an agent by keyboard and by buttons.

Screenshots of both themes are written to the artifacts folder, for eyes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.lab import Notebook
from tests.browser.test_looks import THEMES

pytestmark = pytest.mark.browser

CELL = """
import evolab as ev
game = ev.envs.WordGame(words=["crane", "apple", "happy", "storm", "plate"])
board = game.play("consistent", secret="happy", seed=1)
board
"""
BOARD = ".jp-OutputArea-output .widget-html-content"
CONTRAST = """() => [...document.querySelectorAll(".jp-OutputArea-output .widget-html-content div")]
    .filter(n => !n.children.length && n.textContent.trim()).map(n => {
        const light = c => { const p = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]; };
        let behind = n;
        while (behind && /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(behind).backgroundColor))
            behind = behind.parentElement;
        const [a, b] = [light(getComputedStyle(n).color),
                        light(behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)")];
        return [n.textContent.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; })
    .filter(([text, ratio]) => ratio < 4.5)"""

WHITE = """() => [...document.querySelectorAll(".jp-OutputArea-output .widget-html-content span")]
    .filter(n => getComputedStyle(n).backgroundColor === "rgb(255, 255, 255)").length"""


@pytest.fixture
def lab(notebook: Callable[..., Notebook]) -> Notebook:
    made = notebook(CELL)
    made.run_all()
    made.page.locator(BOARD).first.wait_for()
    return made


def guesses(lab: Notebook) -> str:
    return lab.value("(board.mine.guesses, board.mine.secret)")


def test_a_person_plays_by_keyboard_and_by_buttons(lab: Notebook) -> None:
    page = lab.page
    field = page.get_by_placeholder("your guess")
    field.fill("crane")
    field.press("Enter")
    lab.until("s => document.querySelector(s).textContent.includes('5 tries left')", BOARD)
    assert guesses(lab) == "(('crane',), 'happy')"
    field.fill("no")
    page.get_by_role("button", name="Guess", exact=True).click()
    page.get_by_text("'no' is no guess; expected 5 letters").wait_for()
    assert guesses(lab) == "(('crane',), 'happy')"  # nothing is lost by it
    field.fill("apple")
    page.get_by_role("button", name="Guess", exact=True).click()
    lab.until("s => document.querySelector(s).textContent.includes('4 tries left')", BOARD)
    assert guesses(lab) == "(('crane', 'apple'), 'happy')"  # by leaving the field and by the button: once
    field.fill("HAPPY")
    field.press("Enter")
    page.get_by_text("1 game: you").wait_for()
    assert field.is_disabled()
    page.get_by_role("button", name="New word").click()
    lab.until("() => !document.querySelector('input[placeholder=\"your guess\"]').disabled")
    assert guesses(lab).startswith("((), ")
    page.get_by_role("button", name="Watch the agent").click()
    lab.until("s => document.querySelector(s).textContent.includes('5 tries left')", BOARD)
    assert lab.value("len(board.its.guesses)") == "1"


@pytest.mark.parametrize("theme", THEMES, ids=lambda t: t.split()[-1].lower())
def test_a_board_can_be_read_in_both_themes(lab: Notebook, artifacts: Path, theme: str) -> None:
    page, name = lab.page, theme.split()[-1].lower()
    lab.theme(theme)
    field = page.get_by_placeholder("your guess")
    field.fill("crane")
    field.press("Enter")
    lab.until("s => document.querySelector(s).textContent.includes('5 tries left')", BOARD)
    page.wait_for_timeout(1000)  # the theme's style sheet
    page.screenshot(path=artifacts / f"word-play-{name}-playing.png")
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(WHITE) == 0  # open tiles take the page's colour
    field.fill("happy")
    field.press("Enter")
    page.get_by_text("1 game: you").wait_for()
    page.screenshot(path=artifacts / f"word-play-{name}-over.png")
    assert page.evaluate(CONTRAST) == []
