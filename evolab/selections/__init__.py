"""Who becomes a parent: interchangeable rules of selection, one per file."""

from __future__ import annotations

from evolab.selections.gap import Gap
from evolab.selections.mfpbt import MFPBT
from evolab.selections.selection import Selected, Selection
from evolab.selections.tournament import Tournament
from evolab.selections.truncation import Truncation

__all__ = ["MFPBT", "Gap", "Selected", "Selection", "Tournament", "Truncation"]
