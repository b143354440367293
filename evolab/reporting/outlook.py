"""What a progress bar says of the whole run: "3 of 30", the time left, the best that was confirmed."""

from __future__ import annotations

import time
from collections.abc import Callable

from evolab.history.display import ticked
from evolab.history.events import Progress
from evolab.training.state import TrainingState

LEAST_SHARE, LEAST_SECONDS = 0.02, 3.0
"""How much of a run has to be behind it before the time left is told."""

LEARNING = 0.9
"""Share of a generation that learning seems to take; the rest is evaluation and evolution."""


class Outlook:
    """How far a call of `run` is from its goals.

    Args:
        state: of the run, before the call.
        generations: goal of the call; None for none.
        max_steps: likewise.
        minutes: likewise.
        clock: seconds.
    """

    def __init__(
        self,
        state: TrainingState,
        generations: int | None = None,
        max_steps: int | None = None,
        minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._clock = state, clock
        self._generations, self._max_steps, self._minutes = generations, max_steps, minutes
        self._first, self._began = state.generation, clock()
        self._taken = state.total_steps + state.evaluation_steps

    def place(self, generation: int) -> str:
        """Which generation of how many: "generation 3 of 30"."""
        if self._generations is None or self._generations == 1:
            return f"generation {generation}"
        now = f"{max(1, generation - self._first)} of {self._generations}"
        return f"generation {now}" if not self._first else f"generation {generation} ({now})"

    def share(self, progress: Progress) -> float:
        """[0, 1], how much of the call is behind it, by the goal that is nearest; 0 where no goal tells."""
        shares = [0.0]
        if self._generations is not None and progress.generation:
            within = (
                progress.done / max(1, progress.total) * LEARNING if progress.phase == "train" else LEARNING
            )
            shares.append((progress.generation - 1 - self._first + within) / self._generations)
        if self._max_steps is not None and self._max_steps > self._taken:
            steps = progress.total_steps + self._state.evaluation_steps
            shares.append((steps - self._taken) / (self._max_steps - self._taken))
        if self._minutes is not None:
            shares.append((self._clock() - self._began) / (60 * self._minutes))
        return min(1.0, max(shares))

    def rest(self, progress: Progress) -> str:
        """The time left, and the best that was confirmed: "about 2 min left · best confirmed 312.4 ✓"."""
        words, share, passed = [], self.share(progress), self._clock() - self._began
        if share > LEAST_SHARE and passed > LEAST_SECONDS:
            words.append(f"about {duration(passed * (1 - share) / share)} left")
        hall = self._state.hall
        if hall.elite is not None and hall.episodes:
            words.append(f"best confirmed {ticked(hall.fitness)}")
        return " · ".join(words)


def duration(seconds: float) -> str:
    """Seconds in words that can be read at a glance.

    >>> [duration(s) for s in (0.2, 42, 100, 5000)]
    ['1 s', '42 s', '2 min', '1 h 23 min']
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
