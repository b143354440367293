"""What IPython keeps of the last expressions of cells: a large object is let go once it has been shown."""

from __future__ import annotations

import sys


class Shown:
    """Stands in IPython's `Out` for an object that a cell has shown, and holds only what it said."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def release_shown(shown: object) -> None:
    """Have `Out`, `_` and their like forget an object when the cell that shows it has ended; names of the user's keep it.

    Nothing happens outside IPython.
    """
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    if shell is None:
        return

    def after(*results: object) -> None:
        shell.events.unregister("post_run_cell", after)
        said = Shown(repr(shown))
        outputs = shell.user_ns.get("_oh", {})
        own = [name for name in shell.user_ns if not name.strip("_0123456789") and name.startswith("_")]
        for place, names in (
            (shell.user_ns, own),
            (shell.user_ns_hidden, list(shell.user_ns_hidden)),
            (outputs, list(outputs)),
            (vars(shell.displayhook), ["_", "__", "___"]),
        ):
            for name in names:
                if place.get(name) is shown:
                    place[name] = said
        for result in (shell.last_execution_result, *results):
            if getattr(result, "result", None) is shown:
                result.result = said

    shell.events.register("post_run_cell", after)
