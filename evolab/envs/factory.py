"""Makes environments: from an id, from a callable, or around a vector environment that exists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from evolab.core.checks import positive_integer, unknown
from evolab.core.composite_actions import joined
from evolab.core.machine_memory import require
from evolab.core.shown import own_name
from evolab.envs.adapter import Adapter
from evolab.envs.device_adapter import DeviceAdapter
from evolab.envs.envpool import Pool, drawable, longest, pool_of, spaces_of
from evolab.envs.examine import examine_spaces, rehearse
from evolab.envs.faults import FaultPolicy
from evolab.envs.given_vectors import around, is_vector
from evolab.envs.goals import goals_of
from evolab.envs.guard import Guard
from evolab.envs.ids import current_id
from evolab.envs.in_process import Loop
from evolab.envs.memory_needs import environments
from evolab.envs.on_device import DeviceEnvironments
from evolab.envs.one_environment import check_call, drawn, maker_of
from evolab.envs.ray_batches import RayBatches
from evolab.envs.stateful_wrappers import notice_memory, refuse_normalisers
from evolab.envs.vector import VectorEnvironments
from evolab.envs.workers import Workers

MODES = {
    "next_step": AutoresetMode.NEXT_STEP,
    "same_step": AutoresetMode.SAME_STEP,
    "disabled": AutoresetMode.DISABLED,
}
VECTORIZATIONS = ("sync", "async", "ray", "envpool")


@dataclass(frozen=True)
class VectorMaker:
    """What makes vector environments of any size: what `vector=` stands for where a single environment is expected.

    Args:
        function: `(num_envs, seed)` to a Gymnasium vector environment (`gymnasium.make_vec`, PufferLib's) or
            an object of EnvPool's, or one with the same interface that gives tensors (`envs.tensors.TensorVector`).
    """

    function: Callable[[int, int], Any]

    def __call__(self, num_envs: int, seed: int) -> Any:
        """A vector environment of this size."""
        check_call("vector", self.function, num_envs, seed)
        made = self.function(num_envs, seed)
        if not is_vector(made):
            raise TypeError(
                f"vector gave {type(made).__name__}; expected a Gymnasium vector environment, one of EnvPool's, or an "
                "object with num_envs, single_observation_space, single_action_space, reset and step that gives tensors."
            )
        return made


Source = str | EnvSpec | VectorMaker | Callable[..., gymnasium.Env] | VectorEnv | None


def make(
    environment: Source = None,
    population: int = 1,
    num_envs: int = 1,
    seed: int = 0,
    vectorization: str = "sync",
    autoreset: str | AutoresetMode | None = None,
    timeout: float = 60.0,
    *,
    vector: Callable[[int, int], Any] | None = None,
    on_fault: str | FaultPolicy | None = None,
    examine: Callable[[gymnasium.Space, gymnasium.Space], None] | None = None,
    frame_stack: int = 1,
    **env_kwargs: Any,
) -> VectorEnvironments:
    """Environments for a population: [P, E] of them behind one `step`.

    Args:
        environment: an id ("LunarLander-v3", or "my_envs:Warehouse-v0" to import a module first), a
            `gymnasium.envs.registration.EnvSpec`, a callable that makes one environment, or a Gymnasium vector
            environment with population * num_envs environments, whatever its autoreset mode. One whose
            environments share a kernel (as `gymnasium.make_vec` gives for CartPole) takes one seed for all.
        population: P, the number of agents.
        num_envs: E, environments of each agent.
        seed: for the first reset; other resets go on with their own generators.
        vectorization: "sync" steps one after the other, measured fastest for small
            environments; "async" gives each a process, for slow ones, and survives an environment that hangs or
            kills its process; so does "ray", with batches of them in actors of Ray, on a cluster perhaps;
            "envpool" takes EnvPool's own implementation of the id.
        autoreset: how a vector environment begins the next episode, "next_step", "same_step" or
            "disabled"; None goes by its metadata. With an id or callable it chooses the mode of
            Gymnasium's `SyncVectorEnv`; None and "sync" take evolab's own loop.
        timeout: seconds that a step or reset of one may take ("async", "ray").
        vector: in place of `environment`, makes vector environments of any size:
            `lambda n, seed: gymnasium.make_vec("CartPole-v1", num_envs=n)`.
        on_fault: "survive" drops the episode of an environment that fails and shows the first failure of each
            kind; "raise" ends with it; None raises what an environment raises that has never worked, and
            survives everything else.
        examine: is called with both spaces as soon as they are known, before the other environments are made.
        frame_stack: newest observations that are given as one; see `FrameStack`. Above 1 Atari's games are preprocessed
            as well: every fourth frame, of 84 x 84 grey values.
        **env_kwargs: for `gymnasium.make`, the callable or `envpool.make`.

    Returns:
        The environments; `reset` them first.

    Raises:
        ValueError: for an unknown id, an unsupported space, an observation outside its space, or more environments
            than the machine has memory for.
        ImportError: if the package of the environment or of EnvPool is missing.
    """
    if vector is not None:
        if environment is not None:
            raise ValueError("environment and vector are given; expected one of the two.")
        environment = VectorMaker(vector)
    population = positive_integer("population", population)
    num_envs = positive_integer("num_envs", num_envs)
    seed, frame_stack = (
        positive_integer("seed", seed, minimum=0),
        positive_integer("frame_stack", frame_stack),
    )
    mode, policy = _mode(autoreset), FaultPolicy.of(on_fault)
    again_made = isinstance(on_fault, FaultPolicy)  # for evaluation: what there is to say was said
    if vectorization not in VECTORIZATIONS:
        raise unknown("vectorization", vectorization, VECTORIZATIONS)

    def again(episodes: int, agents: int) -> VectorEnvironments:
        own = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0] >> 1)
        ways = (vectorization, autoreset, timeout)
        return make(
            source, agents, episodes, own, *ways, on_fault=policy, frame_stack=frame_stack, **env_kwargs
        )

    count = population * num_envs
    of = f"population x num_envs = {population:,} x {num_envs:,}"
    require([environments(count, vectorization, of, "population or num_envs")])
    whole = isinstance(environment, VectorMaker) or is_vector(environment)
    if frame_stack > 1 and (whole or vectorization == "envpool"):
        raise ValueError(
            f"frame_stack={frame_stack}: {called(environment)} makes many environments at once. Have it stack them "
            "itself: EnvPool by env_kwargs={'stack_num': 4}, others by ev.envs.FrameStack around each."
        )
    if whole:
        source: Source = environment
        maker = environment if isinstance(environment, VectorMaker) else None
        given = environment if maker is None else maker(count, seed)
        anew = None if maker is None else partial(maker, count)
        refuse_normalisers(called(environment), given)
        backend, about = around(given, (population, num_envs), mode, anew)
        kind = DeviceEnvironments if isinstance(backend, DeviceAdapter) else VectorEnvironments
        size: dict[str, Any] = {
            "population": population,
            "num_envs": num_envs,
            "seed": seed,
            "on_fault": policy,
        }
        return kind(backend, **size, **about, again=None if maker is None else again)
    finished = partial(
        VectorEnvironments, population=population, num_envs=num_envs, seed=seed, on_fault=policy
    )
    if vectorization == "envpool":
        if not isinstance(environment, str):
            raise ValueError(f"{called(environment)} is no id; EnvPool makes its own environments, by id.")
        source = environment
        pool, about = _pooled(environment, count, env_kwargs, examine)
        shown = env_kwargs | ({"render_mode": "rgb_array"} if drawable(pool.vector) else {})
        alone = partial(make, environment, 1, 1, seed, vectorization, on_fault=policy, **shown)
        return finished(pool, **about, again=again, render=lambda: alone().as_single())
    source = current_id(environment) if isinstance(environment, str) else environment
    factory = maker_of(source, env_kwargs, frame_stack)
    # The first is also the one that is examined; it goes on as (0, 0) in evolab's own loop.
    first = Guard(factory, called(source) if isinstance(source, str | EnvSpec) else None, (0, 0))
    name = first.name
    refuse_normalisers(name, first.inner)
    examine_spaces(name, first.observation_space, first.action_space)
    if examine is not None:
        examine(first.observation_space, first.action_space)
    goals = goals_of(name, first.inner)
    makers = [partial(Guard, factory, name, divmod(index, num_envs)) for index in range(count)]
    if vectorization in ("async", "ray"):
        _, remembering = rehearse(name, first, seed, stepping=False)
        first.close()
        apart = Workers if vectorization == "async" else RayBatches
        backend = apart(makers, name, timeout, first.observation_space)
    else:
        worked, remembering = rehearse(name, first, seed)
        policy.note(worked)
        if mode is None:
            backend = Loop([first, *(maker() for maker in makers[1:])])
        else:
            first.close()
            backend = Adapter(SyncVectorEnv(makers, autoreset_mode=mode), mode, guarded=True)
    if not again_made:
        notice_memory(name, remembering)
    limit = env_kwargs.get("max_episode_steps", first.limit)
    about = {"action_space": first.action_space, "name": name, "max_episode_steps": limit, "goals": goals}
    return finished(backend, **about, again=again, render=partial(drawn, factory, name))


def _pooled(
    name: str,
    count: int,
    arguments: dict[str, object],
    examine: Callable[[gymnasium.Space, gymnasium.Space], None] | None,
) -> tuple[Pool, dict[str, Any]]:
    """EnvPool's own environments of an id as a backend, and what `VectorEnvironments` is told of them."""
    pool = pool_of(name, count, arguments)
    chosen = joined(spaces_of(name, pool.vector)[1])
    examine_spaces(name, pool.space, chosen)
    if examine is not None:
        examine(pool.space, chosen)
    limit = arguments.get("max_episode_steps", longest(pool.vector))
    return pool, {"action_space": chosen, "name": name, "max_episode_steps": limit}


def called(source: object) -> str:
    """What messages call a source of environments."""
    if isinstance(source, EnvSpec):
        return source.id
    if isinstance(source, VectorMaker):
        return "vector"
    return source if isinstance(source, str) else own_name(source)


def _mode(autoreset: str | AutoresetMode | None) -> AutoresetMode | None:
    if autoreset is None or isinstance(autoreset, AutoresetMode):
        return autoreset
    if autoreset not in MODES:
        raise unknown("autoreset", autoreset, MODES)
    return MODES[autoreset]
