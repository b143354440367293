"""The page's code: small JavaScript files joined into one module, and the style sheet.

No bundler and no network: the parts are plain files, one idea each, and this module
strips their comments and joins them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_DRAWN = (
    "base", "save", "fitness", "lineage", "mutations", "hyperparameters", "population", "rollout", "rates", "learning",
    "layers", "pins", "forms", "controls", "keys", "kernel", "back", "dashboard",
)  # fmt: skip
PARTS = {
    "dashboard": tuple(f"dashboard/{name}.js" for name in _DRAWN),
    "runs": (
        "dashboard/base.js", "dashboard/save.js", "dashboard/keys.js", "dashboard/kernel.js", "comparison/table.js",
        "comparison/curves.js", "comparison/settings.js", "comparison/winners.js", "comparison/runs.js",
    ),
}  # fmt: skip
PARTS["served runs"] = (*PARTS["runs"], "dashboard_server/ask.js", "dashboard_server/runs.js")
PARTS["served run"] = (*PARTS["dashboard"], "dashboard_server/ask.js", "dashboard_server/run.js")
"""The files of each page, in their order; the last one starts it."""
_HERE = Path(__file__).parents[1]


@cache
def script(name: str = "dashboard") -> str:
    """All parts of a page in order, without comments and indentation; they declare `mount`, `initialize`, `render`."""
    lines = [line.strip() for part in PARTS[name] for line in (_HERE / part).read_text("utf-8").splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))


@cache
def es_module(name: str = "dashboard") -> str:
    """The ES module that anywidget loads."""
    return script(name) + "\nexport default { initialize, render };\n"


@cache
def style() -> str:
    """The style sheet of all pages."""
    text = (_HERE / "dashboard" / "dashboard.css").read_text("utf-8")
    return "\n".join(line.strip() for line in text.splitlines())
