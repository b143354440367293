"""Budget: what a call of training may use, in steps of all agents and in time on the clock."""

from __future__ import annotations

import math
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

    @property
    def seconds_left(self) -> float:
        """Until the time is over; without a bound where there is no limit."""
        return math.inf if self._end is None else self._end - self._clock()

    def spent(self, steps: int, generations: Sequence[Generation], longest: float = 0.0) -> str | None:
        """What learning has used up, "max_steps" or "minutes"; None where it may go on.

        Args:
            steps: of training and evaluation so far.
            generations: that have ended.
            longest: steps that the episodes take at most that agents play for their fitness alone.
        """
        if self.steps is not None and steps + self.kept_steps(generations, longest) >= self.steps:
            return "max_steps"
        if self._end is None:
            return None
        return "minutes" if self.kept_seconds(generations) >= self.seconds_left else None

    def kept_steps(self, generations: Sequence[Generation], longest: float) -> float:
        """For episodes that follow learning: as many as in the newest generation, and half of all at most for the first."""
        if longest and generations:
            return sum(one.length * one.episodes for one in generations[-1].evaluations)
        return min(longest, math.inf if self.steps is None else self.steps / 2)

    def kept_seconds(self, generations: Sequence[Generation]) -> float:
        """For what follows learning: the time that it took in the newest generations, and more."""
        took = [sum(one.seconds.values()) - one.seconds.get("train", 0.0) for one in generations[-NEWEST:]]
        return SLACK * max(took) if took else self._first
