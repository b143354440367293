"""Masks of vector environments that give tensors: in `info["action_mask"]` of reset and step, [N, W]."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.masks import counts_of, leaves_nothing
from evolab.envs.masks import MASK, refuse_late_masks
from evolab.envs.tensors import Reader


class TensorMasks:
    """As `VectorMasks`, for tensors; nothing waits for the device.

    Args:
        space: of one environment's actions.
        reader: of what the environment gives; knows the device once there was a reset.

    Attributes:
        now: [N, W], what may be chosen next, in memory of its own; None where the first reset gave no masks.
        nothing: [N], True where the newest step forbade everything while the episode goes on.
    """

    def __init__(self, space: spaces.Space, reader: Reader) -> None:
        self._space, self._reader, self._width = space, reader, sum(counts_of(space))
        self._begun = False
        self.now: Tensor | None = None
        self.nothing: Tensor | None = None

    def begun(self, info: object, some: Tensor | None) -> Tensor | None:
        """What is permitted once some environments [N] (None for all) have begun an episode."""
        given = self._given(info)
        if given is not None and (self.now is not None or not self._begun):
            masks = given.clone()  # an environment may write its own again
            self.now = (
                masks if some is None or self.now is None else torch.where(some[:, None], masks, self.now)
            )
        self._begun = True
        return self.now

    def stepped(self, info: object, ended: Tensor, later: bool) -> Tensor | None:
        """What the true successors permit, [N, W]; everything where nothing is left to do, and None without masks.

        Args:
            info: of a step.
            ended: [N], where an episode did.
            later: `info` is of the episodes that followed in the same step.
        """
        if self.now is None:
            refuse_late_masks(self._reader.name, info, self._width)
            return None
        given = self._given(info)
        masks = torch.ones_like(self.now) if given is None else given
        nothing = leaves_nothing(self._space, masks)
        self.nothing = nothing if later else nothing & ~ended
        self.now = masks | nothing[:, None]
        if not later:
            return self.now
        final = info.get("final_info") if isinstance(info, Mapping) else None
        last = self._given(final)
        if last is None:
            return self.now | ended[:, None]
        last = last | leaves_nothing(self._space, last)[:, None]
        return torch.where(ended[:, None], last, self.now)

    def _given(self, info: object) -> Tensor | None:
        """[N, W], what `info` permits; None where it says nothing.

        Raises:
            ValueError: it has another shape.
        """
        given = info.get(MASK) if isinstance(info, Mapping) and self._width else None
        if given is None:
            return None
        device, count = self._reader.device, self._reader.count
        found = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given), device=device)
        if tuple(found.shape) != (count, self._width):
            raise ValueError(
                f"{self._reader.name}: info[{MASK!r}] has shape {tuple(found.shape)}; {(count, self._width)} is expected, "
                "one row for each environment and 1 for what is permitted."
            )
        return found if found.dtype == torch.bool else found != 0
