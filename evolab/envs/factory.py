"""Makes environments: from an id, from a callable, or from a vector environment that exists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium

from evolab.checks import positive_integer
from evolab.envs.guard import Guard
from evolab.envs.loop import Loop
from evolab.envs.vector import VectorEnvironments


def make(
    environment: str | Callable[..., gymnasium.Env[Any, Any]],
    population: int = 1,
    num_envs: int = 1,
    seed: int = 0,
    vectorization: str = "sync",
    autoreset: str | None = None,
    timeout: float = 60.0,
    **env_kwargs: Any,
) -> VectorEnvironments:
    """Make population x num_envs environments behind one `step`."""
    population = positive_integer("population", population)
    num_envs = positive_integer("num_envs", num_envs)
    factory = partial(gymnasium.make, environment, **env_kwargs) if isinstance(environment, str) else partial(environment, **env_kwargs)
    name = environment if isinstance(environment, str) else getattr(environment, "__name__", repr(environment))
    members = [Guard(factory, name, divmod(index, num_envs)) for index in range(population * num_envs)]
    spec = members[0].spec
    return VectorEnvironments(
        Loop(members),
        population,
        num_envs,
        members[0].observation_space,
        members[0].action_space,
        name=name,
        autoreset="disabled",
        max_episode_steps=None if spec is None else spec.max_episode_steps,
        seed=seed,
        again=lambda episodes: make(environment, population, episodes, seed, **env_kwargs),
        render=partial(factory, render_mode="rgb_array"),
    )
