"""How many updates a group has made, and how many environment steps are not yet answered by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """The counts of a group.

    Attributes:
        learn_step: environment steps of an agent per update.
        updates: since the group was laid out; decides when a delayed policy is due.
        credit: environment steps not yet answered by updates.
    """

    learn_step: int
    updates: int = 0
    credit: float = 0.0

    def restart(self) -> None:
        """Begin anew: no update was made, and no step is unanswered."""
        self.updates, self.credit = 0, 0.0

    def earn(self, steps: float) -> None:
        """Environment steps were taken."""
        self.credit += steps

    def forgive(self, but: float = 0.0) -> None:
        """Leave unanswered what there is, but for so many steps."""
        self.credit = min(self.credit, but)

    def due(self, ratio: float) -> int:
        """Updates that are owed now, at so many a transition; whoever asks makes them."""
        due = int(self.credit * ratio // self.learn_step)
        self.credit -= due * self.learn_step / ratio
        return due

    def count(self, updates: int = 1) -> None:
        """So many updates were made."""
        self.updates += updates

    def go_on_from(self, updates: int) -> None:
        """Count from here on: an agent alone has made its own updates, a recording begins where it was made."""
        self.updates = updates
