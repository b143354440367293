"""The dashboard of runs in a real JupyterLab: filled while runs are made, sorted, filtered, two winners side by side."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.axe import grave_faults
from tests.browser.lab import Notebook
from tests.browser.test_dashboard import far_too_slow, slowness
from tests.browser.test_looks import CHECKS, THEMES
from tests.reporting.comparison.made import config, make_long_runs, make_runs, write_run
from tests.reporting.dashboard.fake import make_history

pytestmark = pytest.mark.browser


@pytest.fixture
def lab(notebook: Callable[..., Notebook], tmp_path: Path) -> Notebook:
    make_runs(tmp_path / "runs", 20)
    made = notebook(f"import evolab as ev\nboard = ev.dashboard({str(tmp_path / 'runs')!r})\nboard")
    made.run_all()
    made.page.wait_for_selector(".ev-runs tbody tr")
    made.until("() => document.querySelector('.ev-fitness .ev-legend span')")
    return made


# The table of so many runs, all of them read, and curves, from when the cell was asked to run.
FROM_START_TO_PAINT = """([i, runs]) => new Promise(resolve => {
    const cell = window.jupyterapp.shell.currentWidget.content.widgets[i], start = performance.now();
    const look = () => {
        const steps = [...cell.node.querySelectorAll(".ev-runs tbody tr")].map(r => r.children[4].textContent.trim());
        const read = steps.filter(s => s !== "\u2013").length >= runs;
        if (read && cell.node.querySelector(".ev-fitness .ev-legend span")) resolve(performance.now() - start);
        else setTimeout(look, 4);
    };
    look(); })"""


def names(page: Any) -> list[str]:
    return [row.locator("td").nth(1).inner_text().strip() for row in page.locator(".ev-runs tbody tr").all()]


def test_the_table_is_sorted_filtered_and_saved(lab: Notebook) -> None:
    page = lab.page
    assert len(names(page)) == 12
    page.get_by_role("button", name="run", exact=True).click()
    upwards = names(page)
    assert [name for name in upwards if "h64" in name and "0.001" in name] == [
        f"lr0.001-h64/seed{i}" for i in (1, 2, 3)
    ]
    page.get_by_role("button", name="run \u2191").click()
    assert names(page) == upwards[::-1]
    page.get_by_role("button", name="best", exact=True).click()
    best = [float(cell) for cell in page.locator(".ev-runs tbody td:nth-child(8)").all_inner_texts()]
    assert best == sorted(best, reverse=True)
    find = page.get_by_role("searchbox", name="Filter runs")
    find.fill("lr_actor<0.001 seed=2")
    lab.until("() => document.querySelectorAll('.ev-runs tbody tr').length === 2")
    assert all("seed2" in name for name in names(page))
    find.fill("h128")
    lab.until("() => document.querySelectorAll('.ev-runs tbody tr').length === 6")
    page.get_by_role("button", name="Save Runs").click()
    with page.expect_download() as waiting:
        page.get_by_role("menuitem", name="CSV table").first.click()
    rows = list(csv.reader(io.StringIO(waiting.value.path().read_text("utf-8"))))
    assert len(rows) == 7
    assert "lr_actor" in rows[0]


def test_it_fills_while_another_process_writes(lab: Notebook, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "late", config(9, 1e-2), make_history(3, 4, seed=9))
    lab.page.get_by_text("late", exact=True).first.wait_for()
    lab.until("() => [...document.querySelectorAll('.ev-tiles b')][0].textContent === '13'")
    write_run(tmp_path / "runs" / "late", config(9, 1e-2), make_history(30, 4, seed=9))
    lab.until(
        r"""() => [...document.querySelectorAll('.ev-runs tr')].some(r => /^late/.test(r.innerText.trim())
            && /\b30\b/.test(r.innerText))"""
    )


def test_two_chosen_runs_show_their_winners_side_by_side(lab: Notebook) -> None:
    page = lab.page
    for name in ("lr0.001-h64/seed1", "lr0.0003-h128/seed2"):
        page.get_by_role("checkbox", name=f"Choose {name}").click()
        page.get_by_role("article", name=name).get_by_text("hidden units").wait_for()
    assert page.locator(".ev-last .ev-card").count() == 2


def test_fifty_runs_of_a_thousand_generations_paint_soon(
    notebook: Callable[..., Notebook], tmp_path: Path
) -> None:
    make_long_runs(tmp_path / "runs")

    def paint() -> float:
        made = notebook("import evolab as ev", f"board = ev.dashboard({str(tmp_path / 'runs')!r})\nboard")
        made.run_cell(0)
        made.start_cell(1)
        return float(made.page.evaluate(FROM_START_TO_PAINT, [1, 50]) / 1000 / slowness(made.page))

    assert not far_too_slow(paint, goal=2.0)


@pytest.mark.parametrize("theme", THEMES, ids=lambda t: t.split()[-1].lower())
@pytest.mark.parametrize("width", [1280, 800])
def test_it_looks_right(lab: Notebook, artifacts: Path, width: int, theme: str) -> None:
    page = lab.page
    page.set_viewport_size({"width": width, "height": 1700 if width > 1000 else 2400})
    page.get_by_role("checkbox", name="Choose lr0.001-h64/seed1").click()
    lab.theme(theme)
    page.wait_for_timeout(1500)
    page.screenshot(path=artifacts / f"runs-{theme.split()[-1].lower()}-{width}.png")
    found = page.evaluate(f"() => eval({json.dumps(CHECKS)})")
    assert found == {"sideways": [], "overlaps": [], "clipped": [], "contrast": []}
    assert not grave_faults(page, ".evolab")
