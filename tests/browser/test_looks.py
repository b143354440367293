"""Looks that a number can check: no sideways scrolling, no overlap, no clipped words, enough contrast.

Screenshots of both themes and widths are written to the artifacts folder, for eyes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import FAKE
from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser

WIDTHS = (1280, 800)
THEMES = ("JupyterLab Light", "JupyterLab Dark")

# Relative luminance and contrast as WCAG 2 defines them; colours may come as rgb(), rgba() or color(srgb ...).
CONTRAST = """() => {
  const parse = text => { const v = text.match(/[-.\\de]+/g).map(Number);
    return text.startsWith("color(") ? [v[0] * 255, v[1] * 255, v[2] * 255, v[3] ?? 1] : [v[0], v[1], v[2], v[3] ?? 1]; };
  const light = c => { const f = c.slice(0, 3).map(x => { x /= 255; return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const behind = node => { for (let n = node; n; n = n.parentElement) {
      const c = parse(getComputedStyle(n).backgroundColor.replace("transparent", "rgba(0,0,0,0)")); if (c[3] > 0.9) return c; }
    return [255, 255, 255, 1]; };
  const poor = [];
  for (const node of document.querySelectorAll(".evolab *")) {
    const words = [...node.childNodes].filter(n => n.nodeType === 3 && n.textContent.trim());
    if (!words.length || !node.checkVisibility() || node.closest(":disabled") || node.closest("option, style, script")) continue;
    const a = light(parse(getComputedStyle(node).color)), b = light(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.className || node.tagName} "${node.textContent.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)]; }"""

OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll(".ev-panel, .evolab header")].filter(n => n.checkVisibility())
    .map(n => [n.getAttribute("aria-label") || "header", n.getBoundingClientRect()]);
  const found = [];
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1) found.push(`${a} / ${b}`); }));
  return found; }"""

CLIPPED = """() => [...document.querySelectorAll(".evolab :is(button, h2, h3, b, .ev-kind, .ev-sub, .ev-rate span, .ev-fact, .ev-num, .ev-panel)")]
  .filter(n => n.checkVisibility() && n.scrollWidth > n.clientWidth + 1 && getComputedStyle(n).display !== "inline")
  .map(n => `${n.className || n.tagName} "${n.textContent.slice(0, 24)}" ${n.scrollWidth} > ${n.clientWidth}`)"""

SIDEWAYS = """() => [...document.querySelectorAll(".evolab, .ev-scroll, .jp-NotebookPanel-notebook, .jp-OutputArea-output")]
  .filter(n => n.scrollWidth > n.clientWidth + 1).map(n => `${n.className} ${n.scrollWidth} > ${n.clientWidth}`)"""


@pytest.fixture(scope="module")
def board(folder: Path, server: Any, chromium: Any) -> Iterator[Notebook]:
    """A dashboard with a long enough run and an episode, drawn once for all looks."""
    from tests.browser.lab import write_notebook

    cells = [FAKE.format(agents=12, generations=40), "board = Dashboard(exp)\nboard.record()\nboard"]
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
    page.set_viewport_size({"width": width, "height": 1700 if width > 1000 else 2300})
    board.theme(theme)
    page.wait_for_timeout(1500)  # the theme's style sheet and the last redraw after it
    page.screenshot(path=artifacts / f"dashboard-{theme.split()[-1].lower()}-{width}.png")
    assert page.evaluate(SIDEWAYS) == []
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate(CONTRAST) == []


def test_hover_tells_the_agents_details(board: Notebook, artifacts: Path) -> None:
    page = board.page
    page.set_viewport_size({"width": 1280, "height": 1700})
    chart = page.locator(".ev-fitness .ev-chart")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    tip = page.locator(".ev-tip")
    tip.wait_for(state="visible")
    words = tip.inner_text()
    for part in ("agent ", "generation 40", "fitness ", "lr_actor", "hidden ", "parameters"):
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
