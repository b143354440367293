"""Masks that environments give: in `info["action_mask"]` of reset and step, or by a method `action_mask()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from evolab.core.composite_actions import apart, joined
from evolab.core.masks import as_mask, counts_of, forbids_all, random_permitted

MASK = "action_mask"
"""The key in `info`, and the method."""

Source = Callable[[Mapping[str, Any]], object]
"""From the `info` of a reset or step to the mask."""


def source_of(env: gymnasium.Env, space: spaces.Space, info: object) -> Source | None:
    """Where an environment gives its masks, found out in its first `info`; None where it gives none.

    Args:
        env: the environment, wrapped or not.
        space: of its actions, joined.
        info: of a reset.
    """
    if isinstance(space, spaces.Box):
        return None
    if isinstance(info, Mapping) and info.get(MASK) is not None:
        return lambda told: told.get(MASK)
    method = env.get_wrapper_attr(MASK) if env.has_wrapper_attr(MASK) else None
    return (lambda told: method()) if callable(method) else None


def read_mask(space: spaces.Space, given: object, ended: bool) -> np.ndarray:
    """[W], the mask that an environment gave with an observation.

    At an episode's end, where nothing is left to do, it may forbid everything, and permits everything then.

    Raises:
        ValueError: it is missing, of another size, or forbids everything while the episode goes on.
    """
    if given is None:
        raise ValueError(f"info has no {MASK!r} any more; every reset and step has to give one.")
    mask = as_mask(space, given, MASK)
    if mask.ndim != 1:
        raise ValueError(f"{MASK} has shape {mask.shape}; one axis is expected.")
    if forbids_all(space, mask):
        if not ended:
            raise ValueError(f"{MASK} forbids every action, and the episode has not ended.")
        return np.ones_like(mask)
    return mask.copy()  # an environment may write its own again


def mask_now(env: gymnasium.Env, info: object) -> np.ndarray | None:
    """[W], what an environment permits now; None where it gives no masks."""
    space = joined(env.action_space)
    source = source_of(env, space, info)
    return (
        None if source is None else read_mask(space, source(info if isinstance(info, Mapping) else {}), False)
    )


def permitted_action(env: gymnasium.Env, mask: np.ndarray) -> Any:
    """An action that a mask permits, always the same one, as `env.step` takes it."""
    space = joined(env.action_space)
    return apart(space, random_permitted(space, mask, np.random.default_rng(0)))


def rows_of(masks: Mapping[int, np.ndarray], count: int, before: np.ndarray | None) -> np.ndarray | None:
    """[N, W], the masks of some of N environments among those of before, in fresh memory; None where there are none."""
    if not masks:
        return before
    if before is None:
        before = np.ones((count, len(next(iter(masks.values())))), dtype=bool)
    found = before.copy()
    for index, mask in masks.items():
        found[index] = mask
    return found


def refuse_late_masks(name: str, info: object, width: int) -> None:
    """Refuse masks that only steps have: the first action of an episode could not obey, and nobody looks for them.

    Args:
        name: what the message calls the environment.
        info: of a step, where no reset gave a mask.
        width: W, entries of a mask; 0 where actions have none.

    Raises:
        ValueError: there is one.
    """
    if width and isinstance(info, Mapping) and info.get(MASK) is not None:
        raise ValueError(
            f"{name}: the info of step has an {MASK!r}, that of reset has none. Give it in both, so that the first "
            "action of an episode can obey as well."
        )


class VectorMasks:
    """The masks of a vector environment, whose `info` has one array [N, W] of them, and under "_action_mask" who gave one.

    Args:
        vector: the environment.
        count: N.
    """

    def __init__(self, vector: gymnasium.vector.VectorEnv, count: int) -> None:
        self._vector, self._count = vector, count
        self._begun = False
        self._now: np.ndarray | None = None

    def begun(self, info: Mapping[str, object], chosen: np.ndarray | None) -> np.ndarray | None:
        """[N, W], what is permitted once the `chosen` environments [N] have begun an episode; None without masks."""
        given = info.get(MASK)
        if given is not None and self._width and (self._now is not None or not self._begun):
            masks = self._read(info)
            before = np.ones_like(masks) if self._now is None else self._now
            self._now = masks if chosen is None else np.where(chosen[:, None], masks, before)
        self._begun = True
        return self._now

    def check_absent(self, info: object) -> None:
        """Refuse masks in steps where the first reset gave none."""
        if isinstance(info, Mapping) and MASK in info:  # at most steps nothing more is asked
            refuse_late_masks(type(self._vector.unwrapped).__name__, info, self._width)

    def stepped(
        self, info: Mapping[str, object], ended: np.ndarray, later: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """What is permitted next, what the true successors permit, [N, W] each, and where nothing is.

        Args:
            info: of a step.
            ended: [N], where an episode did.
            later: [N], where `info` is of the episode that followed in the same step; None for nowhere.
        """
        assert self._now is not None
        masks = self._read(info) if info.get(MASK) is not None else np.ones_like(self._now)
        nothing = forbids_all(self._space, masks)
        over = ended if later is None else np.zeros_like(ended)
        self._now = following = masks | nothing[:, None]
        if later is not None and later.any():
            final, last = info.get("final_info"), np.ones_like(masks)
            if isinstance(final, Mapping) and final.get(MASK) is not None:
                last = self._read(final)
            following = np.where(later[:, None], last | forbids_all(self._space, last)[:, None], masks)
        return self._now, following, np.flatnonzero(nothing & ~over).tolist()

    @property
    def _width(self) -> int:
        """W; 0 of a Box, which has no masks. EnvPool's objects, which give none, have no such space to ask."""
        return sum(counts_of(self._space))

    @property
    def _space(self) -> spaces.Space:
        return joined(self._vector.single_action_space)

    def _read(self, info: Mapping[str, object]) -> np.ndarray:
        masks = as_mask(self._space, info[MASK], MASK)
        given = info.get(f"_{MASK}")
        return masks | ~np.asarray(given, dtype=bool)[:, None] if given is not None else masks.copy()
