"""`pytest --nbval tutorials notebooks` runs the notebooks in their shortened form, in minutes.

The cells that are compared show the same in both forms. EVOLAB_SHORT=0 runs them in full.
"""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Kernels that nbval starts inherit the environment."""
    if config.getoption("nbval", default=False) or config.getoption("nbval_lax", default=False):
        os.environ.setdefault("EVOLAB_SHORT", "1")
        os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
