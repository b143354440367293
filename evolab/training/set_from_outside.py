"""What was set from outside since the last generation ended; the record of the next one says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolab.history.events import BY_HAND


class Changes:
    """Options, and single agents' values, that hold from the next generation on.

    Args:
        values: plain, by option; under `BY_HAND` those of agents, as `Generation.changes` has them.

    Attributes:
        count: how often something was set.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self.values: dict[str, Any] = dict(values or {})
        self.count = 0

    def note(self, name: str, value: object) -> None:
        """An option was set to this plain value."""
        self.values[name] = value
        self.count += 1

    def note_agent(self, id: int, changed: Mapping[str, tuple[object, object]]) -> None:
        """An agent was given other hyperparameters: old and new value by name."""
        agents = dict(self.values.get(BY_HAND, {}))
        known = agents.get(str(id), {})
        agents[str(id)] = known | {
            name: [known[name][0] if name in known else old, new] for name, (old, new) in changed.items()
        }
        self.note(BY_HAND, agents)

    def take(self) -> dict[str, Any]:
        """Everything since the last call."""
        taken, self.values = self.values, {}
        return taken
