"""The page's code: small JavaScript files joined into one module, and the style sheet.

No bundler and no network: the parts are plain files, one idea each, and this module
strips their comments and joins them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

PARTS = (
    "base.js", "save.js", "fitness.js", "lineage.js", "mutations.js", "hyperparameters.js", "population.js", "rollout.js",
    "rates.js", "learning.js", "pins.js", "forms.js", "controls.js", "keys.js", "dashboard.js",
)  # fmt: skip
_HERE = Path(__file__).parent


@cache
def script() -> str:
    """All parts in order, without comments and indentation; declares `mount`, `initialize`, `render`."""
    lines = [line.strip() for part in PARTS for line in (_HERE / part).read_text("utf-8").splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))


@cache
def es_module() -> str:
    """The ES module that anywidget loads."""
    return script() + "\nexport default { initialize, render };\n"


@cache
def style() -> str:
    """The style sheet."""
    return "\n".join(line.strip() for line in (_HERE / "dashboard.css").read_text("utf-8").splitlines())
