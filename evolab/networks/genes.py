"""What every network's genes say of an architecture."""

from __future__ import annotations

from typing import Protocol


class Genes(Protocol):
    """The architecture of one agent: a frozen dataclass of the network's choice."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Sizes of the layers, for display."""

    @property
    def activation(self) -> tuple[str, ...]:
        """Their activations by name."""
