"""`pytest --nbval tutorials notebooks` runs the notebooks in their shortened form, in minutes.

The cells that are compared show the same in both forms. EVOLAB_SHORT=0 runs them in full.
"""

from tests.shortened import pytest_configure, pytest_itemcollected

__all__ = ["pytest_configure", "pytest_itemcollected"]
