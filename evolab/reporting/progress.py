"""A progress bar over one generation after the other, in a terminal or in a notebook; elsewhere a line a minute.

In a notebook it is a piece of HTML that is emptied at the end, so that a saved notebook
keeps nothing of it; a widget or written lines would stand in it half done for ever.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from evolab.history.display import count

if TYPE_CHECKING:
    from evolab.history.events import Progress
    from evolab.reporting.outlook import Outlook

PATIENCE = 0.5  # seconds before a notebook's bar appears: what is over at once needs none
LINE_EVERY = 60.0  # seconds between two lines where there is neither a terminal nor a notebook
PERIOD = 0.25  # seconds between two updates, which a page cannot refuse


@contextlib.contextmanager
def bar(
    title: str, total: int, shown: bool = True, outlook: Outlook | None = None
) -> Iterator[Callable[[Progress], None]]:
    """A function that shows how far a run is, for as long as the context lasts.

    Args:
        title: until the first progress is told.
        total: steps until then, at least 1.
        shown: False for nothing.
        outlook: says how far the whole run is.
    """
    # In a notebook tqdm does not look at its own variable.
    if not shown or os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        yield lambda progress: None
        return
    made: _Notebook | _Terminal | _Lines
    if in_notebook():
        made = _Notebook(outlook)
    else:
        made = _Terminal(title, total, outlook) if sys.stderr.isatty() else _Lines(outlook)
    try:
        yield made.show
    finally:
        made.close()


def write_line(text: str) -> None:
    """A line of the standard output, above the bar where a terminal shows one."""
    if "tqdm.std" in sys.modules:
        sys.modules["tqdm.std"].tqdm.write(text)
    else:
        print(text)
    sys.stdout.flush()


def in_notebook() -> bool:
    """True where what is shown goes to a page, and not to a terminal."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def _label(progress: Progress, outlook: Outlook | None) -> str:
    doing = {"fill": "filling the buffer", "train": "training", "evaluate": "evaluating"}
    words = doing.get(progress.phase, progress.phase)
    if not progress.generation or progress.phase == "fill":
        return words
    place = f"generation {progress.generation}" if outlook is None else outlook.place(progress.generation)
    return f"{place} · {words}"


def _rest(progress: Progress, outlook: Outlook | None) -> str:
    """What follows the numbers: " · about 2 min left", or nothing."""
    words = "" if outlook is None else outlook.rest(progress)
    return words and f" · {words}"


class _Lines:
    """A line a minute, for logs and pipes, where a bar would fill megabytes."""

    due = time.monotonic() + LINE_EVERY  # of the whole process: many short generations make no more lines

    def __init__(self, outlook: Outlook | None) -> None:
        self.outlook = outlook

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < _Lines.due:
            return
        _Lines.due = now + LINE_EVERY
        steps = f"{count(progress.done)} / {count(progress.total)}"
        label, rest = _label(progress, self.outlook), _rest(progress, self.outlook)
        print(f"{label} {steps}, {count(progress.total_steps)} training steps{rest}", file=sys.stderr)

    def close(self) -> None:
        pass


class _Terminal:
    def __init__(self, title: str, total: int, outlook: Outlook | None) -> None:
        from tqdm.std import tqdm

        # tqdm's own time left is that of a phase, beside which the run's would be misread.
        form = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
        self.line = tqdm(total=total, desc=f"{title}: ", leave=False, mininterval=PERIOD, bar_format=form)
        self.outlook = outlook
        self.shown = ("", 0)

    def show(self, progress: Progress) -> None:
        now = (_label(progress, self.outlook), progress.total)
        if self.shown != now:
            self.shown = now
            self.line.reset(total=progress.total)
            self.line.set_description(now[0], refresh=False)
        self.line.set_postfix_str(_rest(progress, self.outlook).removeprefix(" · "), refresh=False)
        self.line.update(progress.done - self.line.n)

    def close(self) -> None:
        self.line.close()


class _Notebook:
    def __init__(self, outlook: Outlook | None) -> None:
        self.handle: Any = None
        self.outlook = outlook
        self.due = time.monotonic() + PATIENCE

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + PERIOD
        words = f"{_label(progress, self.outlook)} {count(progress.done)} / {count(progress.total)}"
        words += _rest(progress, self.outlook)
        self._put(
            '<div style="display:flex;align-items:center;gap:12px;font-size:13px">'
            f'<progress value="{progress.done}" max="{max(1, progress.total)}" style="width:240px"></progress>'
            f'<span style="font-variant-numeric:tabular-nums">{words}</span></div>',
            words,
        )

    def _put(self, html: str, text: str) -> None:
        from IPython.display import DisplayHandle

        bundle = {"text/html": html, "text/plain": text}
        if self.handle is None:
            self.handle = DisplayHandle()
            self.handle.display(bundle, raw=True)
        else:
            self.handle.update(bundle, raw=True)

    def close(self) -> None:
        if self.handle is not None:
            self._put("", "")
