"""One colour and one shape per meaning, everywhere: figures, pictures, the dashboard, the report.

The hues are those of Okabe and Ito, which people with any colour vision tell apart,
darkened until each stands 3:1 or better on white. No kind relies on colour alone:
each has its own shape. Blue means the winner's line and nothing else.

Source: Okabe and Ito 2008, Color Universal Design.
"""

from __future__ import annotations

from typing import NamedTuple


class Look(NamedTuple):
    """How a kind of birth looks.

    Attributes:
        label: what readers call it.
        light: colour on a white page.
        dark: colour on a dark page.
        symbol: plotly's name of the shape; the dashboard and the pictures draw the same ones.
    """

    label: str
    light: str
    dark: str
    symbol: str


KINDS: dict[str, Look] = {
    "first": Look("first population", "#6b6f78", "#a5a9b4", "circle-open"),
    "elite": Look("elite, kept", "#6b6f78", "#a5a9b4", "star"),
    "revived": Look("archived elite, revived", "#6b6f78", "#a5a9b4", "star-open"),
    "migrated": Look("from another island", "#6b6f78", "#a5a9b4", "cross"),
    "none": Look("none", "#6b6f78", "#a5a9b4", "circle"),
    "architecture": Look("architecture", "#00805d", "#2fc49a", "square"),
    "parameters": Look("parameters", "#c44f00", "#f58549", "triangle-up"),
    "activation": Look("activation", "#b04a86", "#e593c2", "triangle-down"),
    "hyperparameters": Look("hyperparameters", "#a87400", "#e9ae2b", "diamond"),
}
UNCHANGED = ("elite", "revived", "migrated")  # births that brought nothing new, so that they have no gain
OTHER = Look("own mutation", "#7a5230", "#c69c72", "hexagon")

WINNER = ("#0066aa", "#5ab8f0")
CLOUD = ("#8a8f99", "#8d929c")
TARGET = ("#3b3f46", "#d5d8de")
INK = ("#1f2329", "#e6e8ec")
MUTED = ("#5b616b", "#a9aeb8")


def look(kind: str) -> Look:
    """The look of a kind; a user's own kinds share one look and keep their name."""
    return KINDS.get(kind) or OTHER._replace(label=kind)
