"""A notebook in its shortened form: the tests run it in seconds, and a reader never sees how.

A code cell carries in its metadata what is replaced: `"short": {"generations=12": "generations=1"}`. Cells with the
tag `remove-cell` hold what is asserted; the pages leave them out and JupyterLab shows them closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pytest


def short_source(source: str, metadata: Mapping[str, Any]) -> str:
    """The source of a code cell after the replacements that its metadata names.

    Raises:
        ValueError: a text that is to be replaced does not stand in the cell exactly once.
    """
    for text, instead in metadata.get("short", {}).items():
        if source.count(text) != 1:
            raise ValueError(f"{text!r} stands {source.count(text)} times in a cell, not once:\n{source}")
        source = source.replace(text, instead)
    return source


def shorten(cells: Iterable[dict[str, Any]]) -> None:
    """Replace the sources of these cells, as JSON has them (a text, or a list of lines), by their short ones."""
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["source"] = short_source("".join(cell["source"]), cell["metadata"])


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
