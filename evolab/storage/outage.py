"""Storage that is away for a while, as a network's may be: told from a file that was there, and waited for."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

from evolab.storage.files import draft_of

PATIENCE = 600.0
"""Seconds that storage may be away, before that is an error."""

PERIOD = 0.3
"""Seconds between two looks at whether it is back."""

REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""What storage says that is there, and takes nothing: no waiting helps."""


def is_away(mark: Path, written: bool = False) -> bool:
    """True where a file that has been there cannot be read now.

    Args:
        mark: the file.
        written: also where no other one can be written beside it.
    """
    try:
        with mark.open("rb") as file:
            file.read(1)  # what is known of a name may be an old answer; its content is asked for anew
        if written:
            probe = draft_of(mark)
            probe.touch()
            probe.unlink()
    except OSError as error:
        return error.errno not in REFUSALS
    return False


def wait_for(mark: Path, written: bool = False, given_up: Callable[[], bool] = lambda: False) -> None:
    """Wait until a file can be read again.

    Args:
        mark: the file.
        written: and until another one can be written beside it.
        given_up: ends the waiting where it says so.

    Raises:
        OSError: that takes too long.
    """
    ends = time.monotonic() + PATIENCE
    while is_away(mark, written) and not given_up():
        if time.monotonic() > ends:
            raise OSError(
                errno.ETIMEDOUT,
                f"storage has been away for {PATIENCE / 60:.0f} minutes; nothing is lost that had been written",
                str(mark.parent),
            )
        time.sleep(PERIOD)
