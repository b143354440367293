"""Makes environments: from an id, from a callable, or around a vector environment that exists."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from evolab.core.checks import positive_integer, unknown
from evolab.envs.adapter import Adapter, shut
from evolab.envs.backend import VectorBackend
from evolab.envs.examine import examine_observation, examine_spaces, examine_step
from evolab.envs.guard import Guard
from evolab.envs.ids import current_id, make_one
from evolab.envs.loop import Loop
from evolab.envs.vector import VectorEnvironments
from evolab.envs.workers import Workers

MODES = {
    "next_step": AutoresetMode.NEXT_STEP,
    "same_step": AutoresetMode.SAME_STEP,
    "disabled": AutoresetMode.DISABLED,
}
VECTORIZATIONS = ("sync", "async", "envpool")


def make(
    environment: str | Callable[..., gymnasium.Env[Any, Any]] | VectorEnv[Any, Any, Any],
    population: int = 1,
    num_envs: int = 1,
    seed: int = 0,
    vectorization: str = "sync",
    autoreset: str | AutoresetMode | None = None,
    timeout: float = 60.0,
    **env_kwargs: Any,
) -> VectorEnvironments:
    """Environments for a population: [P, E] of them behind one `step`.

    Args:
        environment: an id ("LunarLander-v3"; old versions are mapped to today's with a warning),
            a callable that makes one environment, or a Gymnasium vector environment with
            population * num_envs environments, whatever its autoreset mode. One whose environments
            share a kernel (as `gymnasium.make_vec` gives for CartPole) takes one seed for all.
        population: P, the number of agents.
        num_envs: E, environments of each agent.
        seed: for the first reset; other resets go on with their own generators.
        vectorization: "sync" steps one after the other, measured fastest for small
            environments; "async" gives each a process, for slow ones, and is the only one that
            survives an environment that hangs or kills its process; "envpool" takes EnvPool's
            own implementation of the id.
        autoreset: how a vector environment begins the next episode, "next_step", "same_step" or
            "disabled"; None believes its metadata. With an id or callable it chooses the mode of
            Gymnasium's `SyncVectorEnv`; None and "sync" take evolab's own loop.
        timeout: seconds that a step or reset of one may take ("async").
        **env_kwargs: for `gymnasium.make`, the callable or `envpool.make`.

    Returns:
        The environments; `reset` them first.

    Raises:
        ValueError: for an unknown id, an unsupported space, or an observation outside its space.
        ImportError: if the package of the environment or of EnvPool is missing.
    """
    population = positive_integer("population", population)
    num_envs = positive_integer("num_envs", num_envs)
    seed = positive_integer("seed", seed, minimum=0)
    mode = _mode(autoreset)
    if isinstance(environment, VectorEnv):
        return _around(environment, population, num_envs, seed, mode)
    if vectorization not in VECTORIZATIONS:
        raise unknown("vectorization", vectorization, VECTORIZATIONS)
    if isinstance(environment, str):
        environment = current_id(environment)
        given = {} if vectorization == "envpool" else env_kwargs  # those are EnvPool's own
        factory: Callable[..., Any] = partial(make_one, environment, **given)
    elif callable(environment):
        factory = partial(environment, **env_kwargs) if env_kwargs else environment
    else:
        raise TypeError(
            f"environment is {environment!r} ({type(environment).__name__}); expected an id, a callable that "
            "makes one environment, or a vector environment. An environment itself: lambda: MyEnv()."
        )
    # The first is also the one that is examined; it goes on as (0, 0) in evolab's own loop.
    first = Guard(factory, environment if isinstance(environment, str) else None, (0, 0))
    name = first.name
    examine_spaces(name, first.observation_space, first.action_space)
    backend: VectorBackend
    count = population * num_envs
    makers = [partial(Guard, factory, name, divmod(index, num_envs)) for index in range(count)]
    if vectorization == "envpool":
        if not isinstance(environment, str):
            raise ValueError(f"{name} is a callable; EnvPool makes its own environments, by id.")
        from evolab.envs.envpool import Pool

        first.close()
        backend = Pool(name, count, first.observation_space, env_kwargs)
    elif vectorization == "async":
        examine_observation(name, first.observation_space, first.reset(seed=seed)[0], "reset")
        first.close()
        backend = Workers(makers, name, timeout, first.observation_space)
    else:
        _rehearse(name, first, seed)
        if mode is None:
            backend = Loop([first, *(maker() for maker in makers[1:])])
        else:
            first.close()
            backend = Adapter(SyncVectorEnv(makers, autoreset_mode=mode), mode, guarded=True)
    again_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0] >> 1)
    return VectorEnvironments(
        backend,
        population,
        num_envs,
        first.observation_space,
        first.action_space,
        name=name,
        autoreset=_written(backend.mode),
        max_episode_steps=env_kwargs.get("max_episode_steps", first.limit),
        seed=seed,
        again=lambda episodes: make(
            environment,
            population,
            episodes,
            again_seed,
            vectorization,
            autoreset,
            timeout,
            **env_kwargs,
        ),
        render=partial(_rendering, factory, name),
    )


def _around(
    vector: VectorEnv[Any, Any, Any], population: int, num_envs: int, seed: int, mode: AutoresetMode | None
) -> VectorEnvironments:
    """Environments around a vector environment that somebody else made."""
    name = vector.spec.id if vector.spec is not None else type(vector.unwrapped).__name__
    if vector.num_envs != population * num_envs:
        raise ValueError(
            f"{name} has {vector.num_envs} environments; expected population * num_envs = "
            f"{population} * {num_envs} = {population * num_envs}."
        )
    examine_spaces(name, vector.single_observation_space, vector.single_action_space)
    if mode is None:
        said = (vector.metadata or {}).get("autoreset_mode")
        if said is None:
            warnings.warn(
                f"{name} does not say how it resets (metadata['autoreset_mode']); NEXT_STEP is assumed, "
                "Gymnasium's default. Pass autoreset= where it does otherwise.",
                UserWarning,
                stacklevel=3,
            )
        mode = AutoresetMode.NEXT_STEP if said is None else AutoresetMode(said)
    adapter = Adapter(vector, mode)
    adapter.close = partial(shut, vector)  # type: ignore[method-assign]  # it may hold processes that hang
    return VectorEnvironments(
        adapter,
        population,
        num_envs,
        vector.single_observation_space,
        vector.single_action_space,
        name=name,
        autoreset=_written(mode),
        max_episode_steps=None if vector.spec is None else vector.spec.max_episode_steps,
        seed=seed,
    )


def _rehearse(name: str, guard: Guard, seed: int) -> None:
    """One reset and one step, so that a wrong space is told before time is spent."""
    try:
        examine_observation(name, guard.observation_space, guard.reset(seed=seed)[0], "reset")
        examine_step(name, guard.inner)
    except BaseException:
        guard.close()
        raise


def _rendering(factory: Callable[..., gymnasium.Env[Any, Any]], name: str) -> gymnasium.Env[Any, Any]:
    """One environment that renders, also from a callable that knows nothing of render modes."""
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        # There is no screen: SDL, which draws many environments, would look for one and complain.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    call = factory.func if isinstance(factory, partial) else factory
    parameters = inspect.signature(call).parameters.values()
    if any(one.name == "render_mode" or one.kind is one.VAR_KEYWORD for one in parameters):
        return factory(render_mode="rgb_array")
    env = factory()
    if env.render_mode == "rgb_array":
        return env
    if "rgb_array" not in (env.metadata or {}).get("render_modes", []):
        env.close()
        raise ValueError(
            f"{name} cannot be rendered as pictures: its metadata has no render mode 'rgb_array'."
        )
    env.unwrapped.render_mode = "rgb_array"  # most environments read it only when they draw
    return env


def _mode(autoreset: str | AutoresetMode | None) -> AutoresetMode | None:
    if autoreset is None or isinstance(autoreset, AutoresetMode):
        return autoreset
    if autoreset not in MODES:
        raise unknown("autoreset", autoreset, MODES)
    return MODES[autoreset]


def _written(mode: AutoresetMode) -> str:
    return next(name for name, one in MODES.items() if one is mode)
