"""Vector environments that a user gives, as backends: Gymnasium's, EnvPool's, and those that live on a device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv

from evolab.core.composite_actions import ActionParts, joined
from evolab.envs.adapter import Adapter
from evolab.envs.backend import VectorBackend
from evolab.envs.device_adapter import DeviceAdapter
from evolab.envs.envpool import Pool, is_pool, longest, pool_size, spaces_of
from evolab.envs.examine import examine_spaces
from evolab.envs.goals import goals_of
from evolab.envs.guard import chosen_from
from evolab.envs.tensors import TensorVector, on_a_device


def is_vector(value: object) -> bool:
    """True for many environments that are stepped as one, of any library."""
    return (
        isinstance(value, VectorEnv)
        or is_pool(value)
        or (not isinstance(value, type) and isinstance(value, TensorVector))
    )


def _chosen_in(vector: VectorEnv | TensorVector) -> Space:
    """The action space of one environment, without wrappers that change actions alone."""
    return chosen_from(vector) if isinstance(vector, VectorEnv) else vector.single_action_space


def _gives_tensors(vector: VectorEnv | TensorVector, name: str) -> bool:
    """True where observations are tensors; Gymnasium's own are arrays, all others are asked by a reset.

    Raises:
        TypeError: no vector environment of Gymnasium's, and no tensors.
    """
    core: object = vector.unwrapped if isinstance(vector, VectorEnv) else None
    known = core is not None
    if type(core).__module__.partition(".")[0] == "gymnasium":
        return False
    given, _ = vector.reset(seed=0)
    if not on_a_device(given) and not known:
        raise TypeError(
            f"{name}: its observations are {type(given).__name__}, and it is no gymnasium.vector.VectorEnv. Tensors, or "
            "arrays with __dlpack__, are expected of others."
        )
    return on_a_device(given)


def around(
    vector: Any, lead: tuple[int, int], mode: AutoresetMode | None, anew: Callable[[int], object] | None
) -> tuple[VectorBackend, dict[str, Any]]:
    """A vector environment that was given, as a backend, and what `VectorEnvironments` is told of it.

    Args:
        vector: the environment.
        lead: (P, E).
        mode: how it resets; None for what its metadata say.
        anew: makes it again with a seed; None where it came ready made.
    """
    population, num_envs = lead
    pooled = is_pool(vector)
    spec = getattr(vector, "spec", None)
    name = (
        getattr(spec, "id", None) or type(vector if pooled else getattr(vector, "unwrapped", vector)).__name__
    )
    count = pool_size(vector) if pooled else vector.num_envs
    if count != population * num_envs:
        raise ValueError(
            f"{name} has {count} environments; expected population * num_envs = "
            f"{population} * {num_envs} = {population * num_envs}."
        )
    single = None if pooled else (vector.single_observation_space, _chosen_in(vector))
    observed, chosen = single or spaces_of(name, vector)
    chosen = joined(chosen)
    examine_spaces(name, observed, chosen)
    backend: VectorBackend
    if pooled:

        def seeded(seeds: list[int]) -> Any:
            assert anew is not None
            return anew(int(np.random.SeedSequence(seeds).generate_state(1)[0] >> 1))

        backend, limit = Pool(None if anew is None else seeded, observed, vector), longest(vector)
    elif _gives_tensors(vector, name):
        backend = DeviceAdapter(vector, mode or _said_by(vector, name), name)
        own = getattr(vector, "max_episode_steps", None)
        limit = getattr(spec, "max_episode_steps", None) or (own if isinstance(own, int) else None)
    else:
        backend = Adapter(
            vector, mode or _said_by(vector, name), parts=chosen if isinstance(chosen, ActionParts) else None
        )
        limit = None if spec is None else spec.max_episode_steps
    goals = goals_of(name, vector) if isinstance(backend, Adapter) and not pooled else None
    return backend, {"action_space": chosen, "name": name, "max_episode_steps": limit, "goals": goals}


def _said_by(vector: object, name: str) -> AutoresetMode:
    """How a vector environment resets, by its metadata."""
    said = (getattr(vector, "metadata", None) or {}).get("autoreset_mode")
    if said is not None:
        return AutoresetMode(said)
    warnings.warn(
        f"{name} does not say how it resets (metadata['autoreset_mode']); NEXT_STEP is assumed, "
        "Gymnasium's default. Pass autoreset= where it does otherwise.",
        UserWarning,
        stacklevel=4,
    )
    return AutoresetMode.NEXT_STEP
