"""Who becomes a parent: interchangeable rules of selection, one per file."""

from __future__ import annotations

from evolab.evolution.selection.base import Selected, Selection
from evolab.evolution.selection.gap import Gap
from evolab.evolution.selection.mfpbt import MFPBT
from evolab.evolution.selection.tournament import Tournament
from evolab.evolution.selection.truncation import Truncation

__all__ = ["MFPBT", "Gap", "Selected", "Selection", "Tournament", "Truncation"]
