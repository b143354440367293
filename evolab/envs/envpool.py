"""EnvPool's own implementations of common environments, in C++: an optional extra.

Checked against EnvPool 1.2.5: its environments reset in the step after an episode's end
(NEXT_STEP), seeds are given when a pool is made, and returned arrays are not overwritten.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from evolab.core.checks import missing, unknown
from evolab.envs.adapter import Adapter
from evolab.envs.backend import Faults


class Pool(Adapter):
    """One EnvPool; a reset with seeds makes it anew, which takes milliseconds."""

    def __init__(self, make: Callable[[list[int]], Any] | None, space: spaces.Space, pool: Any) -> None:
        """Take a pool.

        Args:
            make: gives a pool for the seeds of its environments; None where nothing can, so that seeds are ignored.
            space: of one observation.
            pool: the first one.
        """
        self._make_pool = make
        super().__init__(pool, AutoresetMode.NEXT_STEP, space=space, count=pool_size(pool), seeds_each=False)

    def reset(
        self, seeds: Sequence[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, Faults]:
        """Start episodes; see `VectorBackend.reset`."""
        if seeds is not None and mask is None and self._make_pool is not None:
            self.vector.close()
            self.vector = self._make_pool(list(seeds))
        return super().reset(None, mask, rebuild)

    def _call_reset(self, seed: Any, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        return self.vector.reset()

    def _call_step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self.vector.step(action.astype(np.int32) if action.dtype.kind in "iu" else action)


def is_pool(value: Any) -> bool:
    """True for an object that EnvPool made: it has a class of EnvPool's own, and is no vector of Gymnasium's."""
    return any(kind.__module__.partition(".")[0] == "envpool" for kind in type(value).__mro__)


def pool_size(pool: Any) -> int:
    """N, environments of a pool."""
    return int(pool.config["num_envs"])


def pool_of(name: str, count: int, arguments: dict[str, Any]) -> Pool:
    """A pool of an id that EnvPool knows, whether Gymnasium knows it or not.

    Args:
        name: the id.
        count: N environments.
        arguments: for `envpool.make`, such as num_threads.

    Raises:
        ImportError: EnvPool is not installed.
        ValueError: EnvPool has no such environment; names the nearest.
    """
    try:
        envpool: Any = importlib.import_module("envpool")
    except ImportError as error:
        raise missing('vectorization="envpool"', "EnvPool", "envpool") from error
    known = envpool.list_all_envs()
    if name not in known:
        raise unknown("EnvPool environment", name, known)

    def make(seeds: list[int]) -> Any:
        own = {"env_type": "gymnasium", "num_envs": count, "seed": seeds} | arguments
        with warnings.catch_warnings():  # of the precision in which EnvPool writes its bounds
            warnings.filterwarnings("ignore", message=".*precision lowered")
            pool = envpool.make(name, **own)
            _ = pool.observation_space  # made once, when it is first asked for
        return pool

    pool = make(list(range(count)))
    return Pool(make, _bounded(name, pool.observation_space), pool)


def _bounded(name: str, theirs: spaces.Space) -> spaces.Space:
    """Gymnasium's observation space of the same id, which has bounds, where it has the same shape; else EnvPool's."""
    if name not in gymnasium.registry:
        return theirs
    try:
        env = gymnasium.make(name, disable_env_checker=True)
    except gymnasium.error.Error:
        return theirs
    try:
        ours = env.observation_space
        return ours if (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype) else theirs
    finally:
        env.close()


def longest(pool: Any) -> int | None:
    """The most steps that an episode of a pool can have; None where it does not say so."""
    steps = getattr(getattr(getattr(pool, "spec", None), "config", None), "max_episode_steps", None)
    return int(steps) if steps else None
