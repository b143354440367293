"""The public names of `ev.panels`: the live dashboard, panels of one's own, figures, recorded episodes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolab.reporting.dashboard.dashboard import Dashboard as Dashboard
    from evolab.reporting.dashboard.panel import Panel as Panel
    from evolab.reporting.dashboard.panel import Snapshot as Snapshot
    from evolab.reporting.figures.plot import Plot as Plot
    from evolab.reporting.rollout import Rollout as Rollout

_HOMES = {
    "Dashboard": "dashboard.dashboard",
    "Panel": "dashboard.panel",
    "Plot": "figures.plot",
    "Rollout": "rollout",
    "Snapshot": "dashboard.panel",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"evolab.reporting.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
