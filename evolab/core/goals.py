"""Goals that an environment tells beside what it shows: Dict observations in the form of gymnasium-robotics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from gymnasium import spaces

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"
"""Keys of an observation: what was reached, and what should be."""


class Goals(Protocol):
    """What an environment says of goals that it did not set."""

    def check(self) -> None:
        """Try it before time is spent; a `ValueError` says where the environment cannot answer."""

    def judge(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """What steps would have earned, had these goals been desired.

        Args:
            achieved: [N, ...], what N steps led to.
            desired: [N, ...], a goal for each.

        Returns:
            the rewards [N], float32, and [N] bool, True where the episode would have terminated; None where that does not
            depend on the goal.
        """


def has_goals(space: spaces.Space) -> bool:
    """True of observations with an achieved and a desired goal, arrays of one shape.

    >>> from gymnasium import spaces
    >>> one = spaces.MultiBinary(4)
    >>> has_goals(spaces.Dict({"observation": one, "achieved_goal": one, "desired_goal": one}))
    True
    """
    from gymnasium import spaces  # `import evolab` does without it

    if not (isinstance(space, spaces.Dict) and {ACHIEVED, DESIRED} <= set(space.spaces)):
        return False
    achieved, desired = space[ACHIEVED], space[DESIRED]
    nested = isinstance(desired, (spaces.Dict, spaces.Tuple))
    return type(achieved) is type(desired) and achieved.shape == desired.shape and not nested
