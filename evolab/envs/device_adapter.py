"""Vector environments that give tensors, as a backend: whatever their way to begin the next episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from evolab.core.trees import Tree, leaves, map_leaves
from evolab.envs.backend import Faults, StepRows, VectorBackend
from evolab.envs.masks_on_device import TensorMasks
from evolab.envs.metrics import MOST, Metrics
from evolab.envs.tensors import Reader, TensorVector, chosen

FINAL = ("final_obs", "final_observation")
"""Keys of `info` under which environments that reset in the same step give the true last observations."""


class DeviceAdapter(VectorBackend):
    """As `Adapter`, for tensors: they stay what they are, in the environment's own memory.

    Where an environment writes its observations over those of the step before, they are copied, on the device.

    Attributes:
        reader: of what it gives; knows the device once there was a reset.
    """

    def __init__(self, vector: TensorVector, mode: AutoresetMode, name: str) -> None:
        self.vector, self.mode, self.space = vector, mode, vector.single_observation_space
        self.count = int(vector.num_envs)
        self.reader = Reader(name, self.count, self.space)
        self._ended: Tensor | None = None
        self._last: Any = None  # the environment's own, held so that its memory cannot be given to another
        self._overwrites = False
        self._info: Mapping[str, Any] = {}
        self._masks = TensorMasks(vector.single_action_space, self.reader)

    @property
    def forbidding(self) -> Tensor | None:
        """[N], True where the newest step forbade everything, and the episode goes on; None without masks."""
        return self._masks.nothing

    @property
    def partial(self) -> bool:
        """True where some can be reset by themselves."""
        return not self.self_reset

    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | Tensor | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes in all, by one seed made of theirs, or in those of a `mask` [N]; see `VectorBackend.reset`."""
        seed = None if seeds is None else int(np.random.SeedSequence(seeds).generate_state(1)[0] >> 1)
        some = None if mask is None else torch.as_tensor(mask, device=self.reader.device)
        options: dict[str, object] | None = None if some is None else {"reset_mask": some}
        given, info = self.vector.reset(seed=seed, options=options)
        observation = self.reader.observation(given)
        if self._ended is None or some is None:
            self._ended = torch.zeros(self.count, dtype=torch.bool, device=self.reader.device)
        else:
            self._ended = self._ended & ~some
        self.masks = self._masks.begun(info, some)
        self._last = observation
        return map_leaves(
            Tensor.clone, observation
        ), {}  # nobody knows yet whether the next step writes over it

    def step(self, action: np.ndarray | Tensor, resting: np.ndarray | Tensor) -> StepRows:
        """Step all; rows of those that rest mean nothing."""
        assert self._ended is not None
        assert isinstance(action, Tensor)
        if not self.self_reset and bool(self._ended.any()):
            self.reset(
                None, self._ended
            )  # finished ones may not be stepped in this mode, so they play on unseen
        given, reward, terminated, truncated, info = self.vector.step(self.reader.handed(action))
        before, self._info = self._ended, info if isinstance(info, Mapping) else {}
        observation = self._owned(self.reader.observation(given))
        rows = StepRows(
            observation,
            self._kept(self.reader.reward(reward)),
            self._kept(self.reader.flags(terminated, "terminated")),
            self._kept(self.reader.flags(truncated, "truncated")),
            before if self.mode is AutoresetMode.NEXT_STEP else torch.zeros_like(before),
        )
        self._ended = rows.terminated | rows.truncated
        rows.masks = self._masks.stepped(info, self._ended, self.mode is AutoresetMode.SAME_STEP)
        self.masks = self._masks.now
        if self.mode is AutoresetMode.SAME_STEP:
            rows.reset = observation
            rows.observation = self._final(observation, info)
        return rows

    def told(self, ended: Tensor) -> dict[int, Metrics]:
        """Numbers in the newest `info` of the episodes that ended [N], by index."""
        told = self._info.get("final_info", self._info)
        found: dict[int, Metrics] = {}
        if not isinstance(told, Mapping):
            return found
        columns = {
            name: value
            for name, value in told.items()
            if not name.startswith("_") and isinstance(value, Tensor) and value.shape == (self.count,)
        }
        for index in ended.nonzero().flatten().tolist():
            own = {name: float(value[index]) for name, value in list(columns.items())[:MOST]}
            if own:
                found[index] = own
        return found

    def close(self) -> None:
        """Close the environment, if it can be closed."""
        close = getattr(self.vector, "close", None)
        if callable(close):
            close()

    def picture(self) -> np.ndarray | None:
        """[H, W, 3], the first environment as it is now; None where it was not made to be drawn."""
        if getattr(self.vector, "render_mode", None) != "rgb_array":
            return None
        drawn = self.vector.render()  # type: ignore[attr-defined]
        first = None if drawn is None else drawn[0]
        return (
            first.cpu().numpy() if isinstance(first, Tensor) else None if first is None else np.asarray(first)
        )

    def _owned(self, observation: Tree) -> Any:
        """The observations, copied where the environment writes them over the last ones."""
        if not self._overwrites:
            pairs = zip(leaves(observation), leaves(self._last), strict=True)
            self._overwrites = any(new.data_ptr() == old.data_ptr() for new, old in pairs)
        self._last = observation
        return map_leaves(Tensor.clone, observation) if self._overwrites else observation

    def _kept(self, values: Tensor) -> Tensor:
        return values.clone() if self._overwrites else values

    def _final(self, observation: Tree, info: Mapping[str, object]) -> Any:
        """`observation` with the true last ones where an episode ended."""
        assert self._ended is not None
        key = next((one for one in FINAL if info.get(one) is not None), None)
        if key is not None:
            return chosen(self._ended, self.reader.observation(info[key], f"info[{key!r}]"), observation)
        if bool(self._ended.any()):
            raise ValueError(
                f"{self.reader.name} resets in the same step but gives no info['final_obs'], so that an episode's last "
                "observation is lost. Use it in NEXT_STEP mode, or pass autoreset= what it really does."
            )
        return observation
