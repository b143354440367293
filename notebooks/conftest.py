"""`pytest --nbval tutorials notebooks` runs the notebooks in their shortened form, in minutes.

The cells that are compared show the same in both forms. EVOLAB_SHORT=0 runs them in full.
"""

from __future__ import annotations

import os

import pytest

from tests.shortened import short_source


def pytest_configure(config: pytest.Config) -> None:
    """Kernels that nbval starts inherit the environment."""
    if config.getoption("nbval", default=False) or config.getoption("nbval_lax", default=False):
        os.environ.setdefault("EVOLAB_SHORT", "1")
        os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A cell that nbval has collected is shortened before it runs."""
    cell = getattr(item, "cell", None)
    if cell is not None and os.environ.get("EVOLAB_SHORT") == "1":
        cell["source"] = short_source(cell["source"], cell["metadata"])
