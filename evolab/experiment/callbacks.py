"""Callbacks: what the user has done at the end of each generation, which may end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from evolab.history.events import Event, Finished, Generation

Callback: TypeAlias = "Callable[[Generation], Any]"
"""Is called with each finished generation; returning True, or raising StopIteration, ends the run."""


def followed(
    events: Iterator[Event], callback: Callback | None, ended: Callable[[Event], None]
) -> Iterator[Event]:
    """The same events; after each generation, once it is written down, `callback` is called.

    Args:
        events: of training.
        callback: of the user; None for none. What it raises ends the run, which can be gone on with.
        ended: is told where the callback has ended the run.

    Raises:
        TypeError: `callback` cannot be called.
    """
    if callback is None:
        return events
    if not callable(callback):
        raise TypeError(
            f"callback is {callback!r}; a function of the finished generation is expected: "
            "callback=lambda generation: generation.fitness > 200."
        )
    return _followed(events, callback, ended)


def _followed(events: Iterator[Event], callback: Callback, ended: Callable[[Event], None]) -> Iterator[Event]:
    for event in events:
        if not isinstance(event, Generation):
            yield event
            continue
        finished, ends = Finished("callback", event.number, event.total_steps, event.fitness), True
        try:
            ends = callback(event) is True
        except StopIteration:
            pass
        except BaseException:
            ended(finished)
            raise
        yield event
        if ends:
            ended(finished)
            yield finished
            return
