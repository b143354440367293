"""What the pages of the reference must hold: every public name, and a docstring for each."""

from __future__ import annotations

import importlib
import re
from typing import Any

from sphinx.util import logging

log = logging.getLogger(__name__)

MODULES = ("evolab", "evolab.envs", "evolab.reporting.panels", "evolab.testing")
ROOMS = {"envs", "panels", "testing"}
"""Public names that are modules; their own names are listed instead."""


PARAMETERS = re.compile(r"<dl>(\n(?:<dd><em class=\"sig-param.*?</dd>\n)+)</dl>")
"""A signature over several lines, as Sphinx writes it."""


def public_names() -> dict[str, Any]:
    """Every public object by the name that users write."""
    found = {}
    for module in MODULES:
        room = importlib.import_module(module)
        names = getattr(room, "__all__", None) or [one for one in dir(room) if one.startswith("check_")]
        prefix = {"evolab.reporting.panels": "evolab.panels"}.get(module, module)
        found |= {f"{prefix}.{name}": getattr(room, name) for name in names if name not in ROOMS}
    return found


def _said(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    if not any(line.strip() for line in lines) and what not in ("attribute", "data"):
        log.warning("%s %s has no docstring", what, name, type="evolab", subtype="docstring")


def _is_plain(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Attributes stand in their class's own docstring already; methods and properties are listed."""
    return None if callable(value) or isinstance(value, (property, classmethod, staticmethod)) else True


def _complete(app: Any, env: Any) -> None:
    listed = {name for name, *_ in env.get_domain("py").get_objects()}
    for name in sorted(set(public_names()) - listed):
        log.warning("the reference does not list %s", name, type="evolab", subtype="reference")


def _readable(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Parameters of a signature are terms of nothing: a list, for readers who hear the page."""
    if "body" in context:
        context["body"] = PARAMETERS.sub(
            lambda found: '<dl role="list">' + found[1].replace("<dd>", '<dd role="listitem">') + "</dl>",
            context["body"],
        )


def setup(app: Any) -> dict[str, Any]:
    """Check while the pages are built."""
    app.connect("autodoc-process-docstring", _said, priority=100)
    app.connect("autodoc-skip-member", _is_plain)
    app.connect("html-page-context", _readable)
    app.connect("env-check-consistency", _complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
