"""EnvPool's own implementations of common environments, in C++: an optional extra.

Checked against EnvPool 1.2.5: its environments reset in the step after an episode's end
(NEXT_STEP), seeds are given when a pool is made, and returned arrays are not overwritten.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from evolab.core.checks import missing, unknown
from evolab.envs.adapter import Adapter
from evolab.envs.backend import Faults

IN_MEMORY = ("atari", "box2d", "classic_control", "minigrid", "toy_text")
"""Families of EnvPool's that draw pictures without OpenGL."""


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

    def close(self) -> None:
        """Close the pool, which has threads and no processes; it is none of Gymnasium's vectors."""
        self.vector.close()

    def picture(self) -> np.ndarray | None:
        """[H, W, 3], the first environment as it is now; None where the pool was not made to be drawn."""
        drawn = self.vector.render()
        return None if drawn is None else np.asarray(drawn[0])

    def _call_reset(
        self, seed: int | list[int] | None, options: dict[str, object] | None
    ) -> tuple[Any, dict[str, Any]]:
        return self.vector.reset()

    def _call_step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self.vector.step(action.astype(np.int32) if action.dtype.kind in "iu" else action)


def is_pool(value: object) -> bool:
    """True for an object that EnvPool made: it has a class of EnvPool's own."""
    return any(kind.__module__.partition(".")[0] == "envpool" for kind in type(value).__mro__)


def pool_size(pool: Any) -> int:
    """N, environments of a pool."""
    return int(pool.config["num_envs"])


def spaces_of(name: str, pool: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Of one observation and one action.

    Raises:
        TypeError: the pool is of DeepMind's interface, which has no spaces.
        ValueError: several agents act in each of its environments.
    """
    if (players := int(pool.config.get("max_num_players", 1))) != 1:
        raise ValueError(
            f"{name} has {players} agents in each environment, and agents here act alone: it can't be used."
        )
    with _quiet():
        if not hasattr(pool, "observation_space"):
            raise TypeError(f'{name} has no spaces: make it with envpool.make(..., env_type="gymnasium").')
        return pool.observation_space, pool.action_space


def drawable(pool: object) -> bool:
    """True for pools that draw in memory. Others need OpenGL, and where there is none EnvPool ends the process."""
    modules = (kind.__module__.split(".") for kind in type(pool).__mro__)
    return any(len(parts) > 1 and parts[0] == "envpool" and parts[1] in IN_MEMORY for parts in modules)


def pool_of(name: str, count: int, arguments: dict[str, object]) -> Pool:
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
        with _quiet():
            pool = envpool.make(name, **own)
        spaces_of(name, pool)  # made once, when they are first asked for
        return pool

    pool = make(list(range(count)))
    return Pool(make, _bounded(name, spaces_of(name, pool)[0]), pool)


def _bounded(name: str, theirs: spaces.Space) -> spaces.Space:
    """Gymnasium's observation space of the same id, which has bounds, where it has the same shape; else EnvPool's."""
    if name not in gymnasium.registry:
        return theirs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium's own words on old versions
            env = gymnasium.make(name, disable_env_checker=True)
    except Exception:  # retired, or its package is not there: EnvPool needs neither
        return theirs
    try:
        ours = env.observation_space
        return ours if (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype) else theirs
    finally:
        env.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of the precision in which EnvPool writes its bounds."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*precision lowered")
        yield


def longest(pool: object) -> int | None:
    """The most steps that an episode of a pool can have; None where it does not say so."""
    steps = getattr(getattr(getattr(pool, "spec", None), "config", None), "max_episode_steps", None)
    return int(steps) if steps else None
