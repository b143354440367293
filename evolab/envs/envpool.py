"""EnvPool's own implementations of common environments, in C++: an optional extra.

Checked against EnvPool 1.2.5: its environments reset in the step after an episode's end
(NEXT_STEP), seeds are given when a pool is made, and returned arrays are not overwritten.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from evolab.core.checks import missing, unknown
from evolab.envs.adapter import Adapter
from evolab.envs.backend import Faults


class Pool(Adapter):
    """One EnvPool; a reset with seeds makes it anew, which takes milliseconds."""

    def __init__(self, name: str, count: int, space: spaces.Space[Any], arguments: dict[str, Any]) -> None:
        """Make a pool.

        Args:
            name: an id that EnvPool knows.
            count: N environments.
            space: Gymnasium's own observation space (EnvPool's has no bounds for some).
            arguments: for `envpool.make`, such as num_threads.
        """
        try:
            self._envpool: Any = importlib.import_module("envpool")
        except ImportError as error:
            raise missing('vectorization="envpool"', "EnvPool", "envpool") from error
        known = self._envpool.list_all_envs()
        if name not in known:
            raise unknown("EnvPool environment", name, known)
        self._name, self._count, self._arguments = name, count, arguments
        pool = self._make(list(range(count)))
        theirs = pool.observation_space
        if theirs.shape != space.shape:
            raise ValueError(
                f"{name}: EnvPool's observations are {theirs}, Gymnasium's {space}. "
                'Use vectorization="sync".'
            )
        self.vector = pool
        self.space = space
        self.mode, self.guarded = AutoresetMode.NEXT_STEP, False
        self.seeds_each = self.partial = False
        self._ended = np.zeros(count, dtype=bool)
        self._lost = np.zeros(count, dtype=bool)
        self.latest: Any = None

    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes; see `VectorBackend.reset`."""
        if seeds is not None and mask is None:
            self.vector.close()
            self.vector = self._make(list(seeds))
        return super().reset(None, mask, rebuild)

    def _make(self, seeds: list[int]) -> Any:
        arguments = {"env_type": "gymnasium", "num_envs": self._count, "seed": seeds} | self._arguments
        with warnings.catch_warnings():  # of the precision in which EnvPool writes its bounds
            warnings.filterwarnings("ignore", message=".*precision lowered")
            pool = self._envpool.make(self._name, **arguments)
            _ = pool.observation_space  # made once, when it is first asked for
        return pool

    def _call_reset(self, seed: Any, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        return self.vector.reset()

    def _call_step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self.vector.step(action.astype(np.int32) if action.dtype.kind in "iu" else action)
