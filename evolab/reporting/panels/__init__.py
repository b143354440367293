"""Ways to look at a run: the live dashboard, figures, recorded episodes, a report, panels of one's own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolab.reporting.panels.dashboard import Dashboard as Dashboard
    from evolab.reporting.panels.panel import Panel as Panel
    from evolab.reporting.panels.panel import Plot as Plot
    from evolab.reporting.panels.panel import Snapshot as Snapshot
    from evolab.reporting.panels.rollout import Rollout as Rollout

_HOMES = {
    "Dashboard": "dashboard",
    "Panel": "panel",
    "Plot": "panel",
    "Rollout": "rollout",
    "Snapshot": "panel",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
