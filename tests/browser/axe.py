"""What axe-core, the engine behind most checkers of accessibility, says about a page."""

from __future__ import annotations

from typing import Any

import pytest

GRAVE = ("serious", "critical")


def grave_faults(page: Any, within: str | None = None) -> list[str]:
    """Each serious or critical violation as a line: the rule, the element, and why.

    Args:
        page: of Playwright.
        within: a selector; None for the whole page.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra test has it")
    # Without `preload` it fetches no style sheets again, which a page from a file may not.
    found = (
        axe.Axe().run(page, within, {"resultTypes": ["violations"], "preload": False}).response["violations"]
    )
    return [
        f"{rule['id']}: {node['target'][0]}: {node['failureSummary'].splitlines()[-1].strip()}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]
