"""collect: a data set of one's own, recorded from an environment and written in a common format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box

from evolab.core import checks
from evolab.core.actions import actions_of, is_finite
from evolab.core.checks import missing, positive_integer
from evolab.core.composite_actions import ActionParts, apart, together
from evolab.core.machine_memory import Need, require
from evolab.core.masks import random_permitted
from evolab.core.trees import Tree, first_leaf, map_leaves
from evolab.data.datasets.dataset import Dataset
from evolab.data.datasets.minari import ID, root
from evolab.data.datasets.writers import rows, write_hdf5, write_minari
from evolab.envs.base import Actor, Environments
from evolab.envs.compatibility import check_fits
from evolab.envs.memory_needs import row_size
from evolab.population.agent import Agent
from evolab.population.population import Population

SUFFIXES = (".h5", ".hdf5")
FORMATS = ("hdf5", "minari")
Policy = Callable[[Tree, Any, np.ndarray], np.ndarray]
"""Observations [E, ...], masks [E, W] or None, and where an episode begins [E], to actions [E, ...]."""


def collect(
    env: str | Callable[..., gymnasium.Env],
    policy: Actor | Callable[..., object] | str | os.PathLike[str] = "random",
    steps: int = 10_000,
    path: str | os.PathLike[str] | None = None,
    seed: int = 0,
    num_envs: int = 8,
    format: str | None = None,
) -> Dataset:
    """Act in an environment and keep what happened, true final observations included.

    Args:
        env: an environment id, or a callable that makes one environment.
        policy: "random"; an agent or its folder, asked for `act(observation)`; or a callable from a batch
            of observations [E, ...] to actions [E, ...], or from one observation to one action.
        steps: rows to record, over all environments; episodes still going on at the end are
            truncated there.
        path: a file ending in .h5 or .hdf5 is written as D4RL has it (an existing one is
            replaced); any other path, or a Minari id such as "cartpole/random-v0", becomes a
            Minari data set, which needs the extra `minari`; None keeps the data in memory.
        seed: decides the environments' first states and the random actions.
        num_envs: E, environments that run beside each other.
        format: "hdf5" or "minari", where the path should not decide.

    Raises:
        ValueError: `format` is unknown, the suffix is, the policy's actions have a wrong shape, or the rows need more
            memory than the machine has.
        FileExistsError: there is such a Minari data set.
        ImportError: Minari is asked for and not installed.
    """
    from evolab.envs import make

    steps, num_envs = positive_integer("steps", steps, 2), positive_integer("num_envs", num_envs)
    target = None if path is None else checks.path("path", path)
    kind = _format(path, format)
    minari_place = _minari_place(path) if path is not None and kind == "minari" else None
    envs = make(env, population=1, num_envs=min(num_envs, steps), seed=seed)
    try:
        # Each row has what is seen before and after, a reward and two ends.
        row = 2 * row_size(envs.single_observation_space) + row_size(envs.single_action_space) + 6
        require([Need("recording", steps * row, f"steps={steps:,}", "steps")])
        act = _policy(policy, envs, seed)
        columns = _record(envs, act, steps)
    finally:
        envs.close()
    chosen = envs.single_action_space
    spaces: dict[str, Any] = {
        "observation_space": envs.single_observation_space,
        "action_space": chosen.parts if isinstance(chosen, ActionParts) else chosen,
    }
    columns["actions"] = apart(chosen, columns["actions"])
    if target is None:
        return Dataset(columns, envs.name, clip=True, **spaces)
    if minari_place is not None:
        data = write_minari(
            minari_place, columns, envs.name if isinstance(env, str) else None, policy, spaces
        )
        return Dataset(data, clip=True, **spaces)
    write_hdf5(target, columns)
    return Dataset(target, clip=True, **spaces)


def _format(path: str | os.PathLike[str] | None, format: str | None) -> str | None:
    if format is not None and format not in FORMATS:
        raise ValueError(f"format is {format!r}; expected 'hdf5' or 'minari'.")
    if path is None:
        return None
    suffix = Path(path).suffix.lower()
    if format is None and suffix and suffix not in SUFFIXES:
        raise ValueError(f"path ends in {suffix!r}; expected .h5 or .hdf5, or none for a Minari data set.")
    return format or ("hdf5" if suffix else "minari")


def _policy(
    policy: Actor | Callable[..., object] | str | os.PathLike[str], envs: Environments, seed: int
) -> Policy:
    """A function from a batch of observations, [E, ...], masks, [E, W] or None, and where episodes begin, [E], to actions.

    Random actions and agents keep to the masks; a callable knows itself what is permitted.
    """
    space = envs.single_action_space
    if isinstance(policy, str) and policy == "random":
        return _random(space, seed)
    if isinstance(policy, (str, os.PathLike)):
        if not Path(policy).expanduser().is_dir():
            raise ValueError(f"policy is {policy!r}; expected 'random', an agent, its folder, or a callable.")
        policy = Agent.load(policy)
    if isinstance(policy, Agent):
        check_fits(policy.table, envs)
        return _agent(policy, space)
    if isinstance(policy, Population):
        raise TypeError("policy is a population; expected one agent of it, such as population[0].")
    function, shape = policy.act if isinstance(policy, Actor) else policy, space.shape or ()
    if not callable(function):
        raise TypeError(f"policy is {type(policy).__name__}; expected 'random', an agent, or a callable.")
    batched: list[bool] = []  # found out at the first step

    def act(observation: Tree, mask: np.ndarray | None, begins: np.ndarray) -> np.ndarray:
        count = _length(observation)
        if not batched:
            batched.append(_takes_batches(function, observation, space, count))
        if batched[0]:
            action = np.asarray(together(space, function(observation)))
        else:
            single = [together(space, function(rows(observation, i))) for i in range(count)]
            action = np.stack([np.asarray(one) for one in single])
        if action.shape != (count, *shape):
            raise ValueError(
                f"policy gave actions of shape {action.shape}; expected {(count, *shape)} for {count} "
                f"observations, or {shape} for one."
            )
        return action

    return act


def _takes_batches(function: Callable[[Tree], object], observation: Tree, space: Space, count: int) -> bool:
    """True if batches of 1 and of E observations both give as many actions."""
    for size in {1, count}:
        batch = rows(observation, slice(size))
        try:
            fits = np.shape(together(space, function(batch))) == (size, *(space.shape or ()))
        except (IndexError, ValueError, TypeError, KeyError):  # written for one observation
            fits = False
        if not fits:
            return False
    return True


def _agent(agent: Agent, space: Space) -> Policy:
    """Greedy actions of an agent, which may remember what it saw."""
    memory = agent.memory()

    def act(observation: Tree, mask: np.ndarray | None, begins: np.ndarray) -> np.ndarray:
        memory.begin(begins)
        return np.asarray(together(space, agent.act(observation, action_mask=mask, memory=memory)))

    return act


def _random(space: Space, seed: int) -> Policy:
    """Uniform actions; a Box without bounds is sampled as Gymnasium does."""
    if isinstance(space, Box) and not is_finite(space):
        own = deepcopy(space)
        own.seed(seed)
        return lambda observation, mask, begins: np.stack([own.sample() for _ in range(_length(observation))])
    rng, actions = np.random.default_rng(seed), actions_of(space, torch.device("cpu"), torch.float32, True)

    def act(observation: Tree, mask: np.ndarray | None, begins: np.ndarray) -> np.ndarray:
        if mask is not None:
            return random_permitted(space, mask, rng)
        return actions.random((_length(observation),), rng)

    return act


def _length(tree: Tree) -> int:
    return len(first_leaf(tree))


def _record(envs: Environments, act: Policy, steps: int) -> dict[str, Any]:
    """Columns of `steps` rows, environment by environment, so that each episode's rows are neighbours."""
    kept: list[Any] = []
    valid: list[np.ndarray] = []
    observation, count, begins = envs.reset(), 0, np.ones(envs.num_envs, dtype=bool)
    while count < steps:
        # Dropping the population's axis of 1.
        mask = None if envs.action_mask is None else envs.action_mask[0]
        action = act(map_leaves(lambda leaf: np.asarray(leaf)[0], observation), mask, begins)
        transition = envs.step(np.asarray(action)[None])
        begins = np.asarray(transition.ended)[0]
        good = np.array(transition.valid[0])
        surplus = count + int(good.sum()) - steps
        if surplus > 0:
            good[np.flatnonzero(good)[-surplus:]] = False
        kept.append(transition)
        valid.append(good)
        count += int(good.sum())
        observation = transition.reset_observation
    mask = np.stack(valid, 1)  # [E, T]

    def column(field: str) -> Any:
        parts = [getattr(transition, field) for transition in kept]
        return map_leaves(lambda *leaves: np.stack([np.asarray(leaf)[0] for leaf in leaves], 1)[mask], *parts)

    terminated, truncated = column("terminated"), column("truncated")
    # A row whose successor row is not kept ends its episode here.
    onward = np.concatenate([mask[:, 1:], np.zeros((len(mask), 1), bool)], 1)
    cut = ~onward[mask] & ~terminated
    return {
        "observations": column("observation"),
        "actions": column("action"),
        "rewards": column("reward"),
        "terminals": terminated,
        "timeouts": truncated | cut,
        "recording_ends": cut & ~truncated,
        "next_observations": column("next_observation"),
    }


def _minari_place(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Minari's root and the id under it, for an id or a folder's path."""
    if isinstance(path, str) and ID.fullmatch(path):
        place, name = root(), path
    else:
        folder = Path(path).expanduser().absolute()
        place, name = folder.parent, folder.name
    name = name if re.search(r"-v\d+$", name) else f"{name}-v0"
    if not ID.fullmatch(name):
        raise ValueError(
            f"{name!r} is no Minari id; expected letters, digits, - and _, such as 'cartpole/random-v0'."
        )
    if (place / name).exists():
        raise FileExistsError(
            f"{place / name} exists. Delete it, or raise the version at the end of the name."
        )
    try:
        import minari  # noqa: F401  (asked for before time is spent on recording)
    except ImportError as error:
        raise missing("writing Minari data sets", "minari", "minari") from error
    return place, name
