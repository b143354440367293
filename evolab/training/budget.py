"""Budget: what a call of training may use, in steps of all agents and in time on the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from evolab.history.events import Generation

SHARE = 0.25
"""Of the time, kept for the evaluation of a first generation, whose length is not known yet."""

NEWEST, SLACK = 3, 1.5
"""Generations whose longest evaluation says how much time the next one is given, and how much more that is."""


class Budget:
    """Steps and time that training may use.

    Args:
        steps: of training and evaluation together, at which learning ends; None for no limit.
        seconds: from now on, until everything stops; None for no limit.
        clock: tells the time in seconds; None for the machine's.
    """

    def __init__(
        self,
        steps: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.steps, self._clock = steps, clock or time.monotonic
        self._first = 0.0 if seconds is None else seconds * SHARE
        self._end = None if seconds is None else self._clock() + seconds

    @property
    def over(self) -> bool:
        """True where the time is over."""
        return self._end is not None and self._clock() > self._end

    def spent(self, steps: int, generations: Sequence[Generation], longest: float = 0.0) -> str | None:
        """What learning has used up, "max_steps" or "minutes"; None where it may go on.

        Args:
            steps: of training and evaluation so far.
            generations: that have ended: what follows learning is given the time that it took in the newest, and more.
            longest: steps that the episodes take at most that agents play for their fitness alone; as many as in the
                newest generation are kept for them, and half of all at most for the first.
        """
        if self.steps is not None:
            kept = min(longest, self.steps / 2)
            if longest and generations:
                kept = sum(one.length * one.episodes for one in generations[-1].evaluations)
            if steps + kept >= self.steps:
                return "max_steps"
        if self._end is None:
            return None
        took = [sum(one.seconds.values()) - one.seconds.get("train", 0.0) for one in generations[-NEWEST:]]
        kept = SLACK * max(took) if took else self._first
        return "minutes" if self._clock() + kept >= self._end else None
