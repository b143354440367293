"""The contract of a panel: it turns a snapshot of a run into a small dict that a page can draw.

A panel never touches what is being trained: it reads the frozen records of the
history. The dict is one of four forms, so a new panel needs no JavaScript and its
static picture comes for free:

- `{"form": "lines", "x": [...], "lines": {"name": [...]}, "unit": "..."}`; with `"apart": True` a small chart for each
- `{"form": "bars", "bars": {"name": value}}`
- `{"form": "table", "columns": [...], "rows": [[...]]}`
- `{"form": "text", "text": "..."}`
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evolab.core.plain_values import plain
from evolab.history.events import Generation

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 20_000
FORMS = {"lines": ("x", "lines"), "bars": ("bars",), "table": ("columns", "rows"), "text": ("text",)}


@dataclass(frozen=True)
class Snapshot:
    """What a panel may read: finished generations and the few facts around them.

    Attributes:
        generations: all finished ones, oldest first.
        target: the fitness that the run aims at, or None.
        name: the environment's id.
        algorithm: the algorithm's name.
    """

    generations: Sequence[Generation]
    target: float | None = None
    name: str = ""
    algorithm: str = ""


class Panel(ABC):
    """One box of the dashboard. Write `data`; give it to `exp.dashboard(panels=[...])`.

    Attributes:
        title: the heading.
        empty: what the panel says before there is anything to show.
    """

    title: str = "Panel"
    empty: str = "No generation yet: press Step or call exp.step()."

    @abstractmethod
    def data(self, snapshot: Snapshot) -> dict[str, Any]:
        """The dict to draw; at most 20 kB as JSON, since it is sent again after each generation."""

    def picture(self, snapshot: Snapshot) -> Image:
        """The same as a still picture, for pages that cannot run the dashboard."""
        from evolab.reporting.dashboard.picture import draw_form

        return draw_form(self.title, checked(self, snapshot))


def checked(panel: Panel, snapshot: Snapshot) -> dict[str, Any]:
    """The panel's dict, in JSON's own types, or what is wrong with it.

    Raises:
        ValueError: if the form is unknown, a part is missing or the dict is too large.
        TypeError: if a value is not JSON-able.
    """
    name = type(panel).__name__
    if not snapshot.generations:
        return {"form": "text", "text": panel.empty}
    data = panel.data(snapshot)
    parts = FORMS.get(data.get("form", ""))
    if parts is None:
        raise ValueError(f"{name}.data gave form {data.get('form')!r}; a page can draw {', '.join(FORMS)}.")
    missing = [part for part in parts if part not in data]
    if missing:
        raise ValueError(f"{name}.data gave a {data['form']!r} without {missing[0]!r}.")
    try:
        data = plain(data)
        size = len(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}.data must give numbers, strings, lists and dicts: {error}.") from None
    if size > LARGEST:
        raise ValueError(f"{name}.data gave {size} bytes; at most {LARGEST}. Thin it, e.g. every tenth row.")
    return data
