"""Any Gymnasium vector environment as a backend, whatever its way to begin the next episode."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from evolab.core.composite_actions import ActionParts, apart
from evolab.core.space_trees import map_space
from evolab.core.trees import Tree, map_leaves
from evolab.envs.backend import Failure, Faults, StepRows, VectorBackend
from evolab.envs.batches import leaf_dtype, merged, put
from evolab.envs.guard import DETAIL, FAULT, REBUILD
from evolab.envs.masks import MASK, VectorMasks
from evolab.envs.metrics import rows_in

PATIENCE = 5.0  # seconds that another's processes have to close by themselves


class Adapter(VectorBackend):
    """A vector environment whose rows are told apart: transitions, and steps that only reset.

    - NEXT_STEP: the step after an episode's end ignores the action and returns the first
      observation of the next one. That row is skipped.
    - SAME_STEP: the first observation comes in the step that ends the episode, and the true
      last one in `info["final_obs"]`.
    - DISABLED: nothing happens by itself; environments are reset with `options={"reset_mask": ...}`.

    Attributes:
        latest: the newest observations.
    """

    def __init__(
        self,
        vector: gymnasium.vector.VectorEnv,
        mode: AutoresetMode,
        guarded: bool = False,
        *,
        space: spaces.Space | None = None,
        count: int | None = None,
        seeds_each: bool | None = None,
        parts: ActionParts | None = None,
    ) -> None:
        """Take the vector environment over; it is closed with the adapter.

        Args:
            vector: any vector environment.
            mode: how it resets, which decides what its rows mean.
            guarded: True where it holds `Guard`s, which can make their environments anew.
            space: of one observation; None for what the vector says.
            count: N; None for what the vector says.
            seeds_each: True where every environment takes a seed of its own; None to find out.
            parts: the action space where actions come joined and the vector takes them in parts.
        """
        self.vector, self._parts = vector, parts
        self.space: spaces.Space = vector.single_observation_space if space is None else space
        self.mode = mode
        self.guarded = guarded
        # Environments of one kernel take one seed for all, and only those in DISABLED
        # mode promise to reset some of them.
        own = (
            isinstance(vector.unwrapped, SyncVectorEnv | AsyncVectorEnv) if seeds_each is None else seeds_each
        )
        self.seeds_each = own
        self.partial = self.seeds_each or not self.self_reset
        count = vector.num_envs if count is None else count
        self._ended = np.zeros(count, dtype=bool)
        self._lost = np.zeros(count, dtype=bool)  # broken, and cannot be reset alone
        self.latest: Any = None
        self._masks = VectorMasks(vector, count)

    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes; see `VectorBackend.reset`.

        Where single environments cannot be reset, those in `mask` are left alone and their rows
        skipped until their episode is over.
        """
        if mask is not None and not self.partial:
            self._lost |= mask
            return map_leaves(finite_values, self.latest), {}
        seed: Any = seeds
        if seeds is not None and not self.seeds_each:
            seed = int(np.random.SeedSequence(seeds).generate_state(1)[0] >> 1)
        options: dict[str, Any] = {REBUILD: True} if rebuild and self.guarded else {}
        if mask is None:
            self._ended[:] = self._lost[:] = False
        else:
            options["reset_mask"] = mask.copy()
            self._ended[mask] = False
        observation, info = self._call_reset(seed, options or None)
        self.latest = self._owned(observation)
        self.masks = self._masks.begun(info, mask)
        return self.latest, faults_in(info)

    def step(self, action: np.ndarray, resting: np.ndarray) -> StepRows:
        """Step all; rows of those that rest mean nothing."""
        if not self.self_reset and self._ended.any():
            # They rest: finished ones may not be stepped in this mode, so they play on unseen.
            self.reset(None, self._ended.copy())
        observation, reward, terminated, truncated, info = self._call_step(action)
        skipped = np.zeros(len(action), dtype=bool)
        if self.mode is AutoresetMode.NEXT_STEP:
            skipped |= self._ended
        rows = StepRows(
            self._owned(observation),
            np.array(reward, dtype=np.float32),
            np.array(terminated, dtype=bool),
            np.array(truncated, dtype=bool),
            skipped,
            faults_in(info),
        )
        self._ended = rows.terminated | rows.truncated
        if self.masks is not None:
            later = self._ended if self.mode is AutoresetMode.SAME_STEP else None
            self.masks, rows.masks, nothing = self._masks.stepped(info, self._ended, later)
            rows.faults |= {index: Failure("shape", f"{MASK} forbids every action") for index in nothing}
        else:
            self._masks.check_absent(info)
        if self._ended.any() and isinstance(info, dict):
            rows.metrics = rows_in(info, self._ended)
        if self.mode is AutoresetMode.SAME_STEP:
            rows.reset = rows.observation
            if self._ended.any():
                rows.observation = self._final(rows.observation, info)
        if self._lost.any():
            rows.skipped = rows.skipped | self._lost
            rows.observation = merged(
                self._lost, map_leaves(finite_values, rows.observation), rows.observation
            )
            rows.reward[self._lost] = 0.0
            self._lost &= ~self._ended
        self.latest = rows.observation
        return rows

    def close(self) -> None:
        """Close the vector environment, which may hold processes that hang."""
        shut(self.vector)

    def picture(self) -> np.ndarray | None:
        """[H, W, 3], the first environment as it is now; None where it was not made to be drawn."""
        drawn = self.vector.render() if self.vector.render_mode == "rgb_array" else None
        return None if drawn is None else np.asarray(drawn[0])

    def _call_reset(self, seed: Any, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        return self.vector.reset(seed=seed, options=options)

    def _call_step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self.vector.step(apart(self._parts, action) if self._parts is not None else action)

    def _owned(self, observation: Tree) -> Tree:
        """A copy that the next step does not overwrite, floats as float32."""
        return map_space(lambda leaf, value: np.array(value, leaf_dtype(leaf)), self.space, observation)

    def _final(self, observation: Tree, info: dict[str, Any]) -> Any:
        """`observation` with the true last ones where an episode ended."""
        if "final_obs" not in info:
            raise ValueError(
                f"{self.vector} resets in the same step but gives no info['final_obs'], so that an episode's "
                "last observation is lost. Use it in NEXT_STEP mode, or pass autoreset= what it really does."
            )
        final = info["final_obs"]
        result = map_leaves(np.copy, observation)
        for index in np.flatnonzero(self._ended).tolist():
            # One array (or dict of arrays) for all, or an object array with one observation each.
            batched = isinstance(final, dict | tuple)
            put(self.space, result, index, map_leaves(itemgetter(index), final) if batched else final[index])
        return result


def finite_values(leaf: np.ndarray) -> np.ndarray:
    """The array with 0 in place of what is NaN or infinite."""
    return np.nan_to_num(leaf, nan=0.0, posinf=0.0, neginf=0.0) if leaf.dtype.kind == "f" else leaf


def faults_in(info: dict[str, Any]) -> Faults:
    """The faults that guarded environments survived in this call."""
    if FAULT not in info:
        return {}
    return {
        int(index): Failure("raise", str(info[FAULT][index]), str(info[DETAIL][index]))
        for index in np.flatnonzero(info["_" + FAULT])
    }


def shut(vector: gymnasium.vector.VectorEnv, patience: float = PATIENCE) -> None:
    """Close a vector environment in bounded time, whatever its processes do.

    Args:
        vector: any; only one with processes is ever closed by force.
        patience: seconds before force is used.
    """
    base: Any = vector.unwrapped
    if not isinstance(base, AsyncVectorEnv):
        vector.close()
        return
    if base.closed:
        return
    if patience > 0:
        # In a thread, since a worker that is gone or busy would never answer the request to close.
        thread = threading.Thread(target=_close, args=(vector,), daemon=True)
        thread.start()
        thread.join(patience)
        if not thread.is_alive() and base.closed:
            return
    base.closed = True
    for process in base.processes:
        if process.is_alive():
            process.kill()
    for process in base.processes:
        process.join(PATIENCE)
    for pipe in base.parent_pipes:
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _close(vector: gymnasium.vector.VectorEnv) -> None:
    with suppress(Exception):
        vector.close()
