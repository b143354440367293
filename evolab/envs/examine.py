"""The examination of an environment before time is spent on it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from evolab.core.actions import FINITE, is_finite
from evolab.core.composite_actions import joined
from evolab.core.rng import global_states
from evolab.core.space_trees import leaf_spaces
from evolab.core.trees import Tree
from evolab.envs.actions import middle
from evolab.envs.batches import leaf_dtype
from evolab.envs.guard import Guard
from evolab.envs.masks import MASK, permitted_action, source_of
from evolab.envs.stateful_wrappers import SeededReset, has_own

LEAVES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
SLACK = 1e-4  # relative: bounds are often written in another precision than observations

MEND = "Mend the space or the observation."


def examine_spaces(name: str, observation: spaces.Space, action: spaces.Space) -> None:
    """Refuse spaces that no network or no action range can be made for.

    Raises:
        ValueError: names the space and what is supported.
    """
    if (hollow := _empty(observation, "observation")) is not None:
        raise ValueError(f"{name}: {hollow} has no parts. Leave it out, or give what is seen.")
    for keys, leaf in leaf_spaces(observation):
        path = "".join(f"[{key!r}]" for key in keys)
        if not isinstance(leaf, LEAVES):
            raise ValueError(
                f"{name}: observation{path} is {leaf}; supported are Box, Discrete, MultiDiscrete, "
                f"MultiBinary, and Dict and Tuple of them. {_fitting(observation, keys, leaf)}"
            )
        if not np.prod(leaf.shape or (1,)):
            raise ValueError(
                f"{name}: observation{path} is {leaf}, which has no entries. Leave it out, or give what is seen."
            )
    if isinstance(action, spaces.Box):
        if not action.low.size:
            raise ValueError(
                f"{name}: its action space is {action}, which has no entries: nothing can be chosen."
            )
        if not is_finite(action):
            raise ValueError(f"{name}: its action space {action} has no finite bounds. {FINITE}")
    elif not isinstance(action, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise ValueError(
            f"{name}: its action space is {action}; supported are Box with finite bounds, "
            "Discrete, MultiDiscrete and MultiBinary, and Dict and Tuple of them."
        )


def _fitting(whole: spaces.Space, keys: tuple[object, ...], leaf: spaces.Space) -> str:
    """What to do about a part of no fixed size: which wrapper leaves it out, or what to make of it."""
    size = {
        spaces.Text: "a MultiDiscrete of its characters or words, filled up to the longest",
        spaces.Sequence: "an array filled up to the longest, beside how long it is",
        spaces.Graph: "a Box with a row for each node that there can be, zeros where there is none",
    }
    made = next((how for kind, how in size.items() if isinstance(leaf, kind)), "a Box")
    convert = f"gymnasium.wrappers.TransformObservation makes {made} of it."
    others = [key for key in whole if key != keys[0]] if isinstance(whole, spaces.Dict) else []
    if len(keys) != 1 or not others:
        return convert
    return f"gymnasium.wrappers.FilterObservation(env, {others}) leaves it out; {convert[0].lower()}{convert[1:]}"


def _empty(space: spaces.Space, path: str) -> str | None:
    """Where a Dict or Tuple has no parts."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return None
    parts = list(space.items() if isinstance(space, spaces.Dict) else enumerate(space))
    found = (_empty(part, f"{path}[{key!r}]") for key, part in parts)
    return next(filter(None, found), None) if parts else f"{path} is {space}, which"


def examine_observation(name: str, space: spaces.Space, observation: Tree, moment: str) -> None:
    """Refuse an observation that is not what its space says.

    Args:
        name: what the message calls the environment.
        space: its observation space.
        observation: what it gave.
        moment: "reset" or "step", for the message.

    Raises:
        ValueError: if structure, shape or dtype differ, or a value lies outside the bounds. NaN
            and infinite values pass: they are faults of a moment, which are survived.
    """
    _examine(f"{name}: the observation of {moment}", space, observation)


def examine_step(name: str, env: gymnasium.Env, mask: np.ndarray | None = None) -> bool:
    """Take one step with an action from the middle of the space, and examine what comes back.

    A step that raises or is not finite is no error here: such faults may pass, and are survived.

    Args:
        name: what messages call the environment.
        env: the environment, at the beginning of an episode.
        mask: [W], what it permits there; None where reset gave none.

    Returns:
        False where it raised.

    Raises:
        ValueError: if what came back is not what Gymnasium and the spaces say.
    """
    try:
        answer: Any = env.step(middle(env.action_space) if mask is None else permitted_action(env, mask))
    except Exception:  # what a step raises is told when it is met in training
        return False
    if not isinstance(answer, tuple) or len(answer) != 5:
        came = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
        raise ValueError(
            f"{name}: step gave {came}; expected (observation, reward, terminated, truncated, info). "
            "Old environments give 4 values: separate terminated from truncated."
        )
    _examine(f"{name}: the observation of step", env.observation_space, answer[0])
    if mask is None and source_of(env, joined(env.action_space), answer[4]) is not None:
        raise ValueError(
            f"{name}: the info of step has an {MASK!r}, that of reset has none. Give it in both, so that the first "
            "action of an episode can obey as well."
        )
    if np.ndim(answer[1]) != 0 and np.size(answer[1]) != 1:
        raise ValueError(f"{name}: step gave a reward of shape {np.shape(answer[1])}; expected one number.")
    if isinstance(answer[1], (str, bytes)):
        raise ValueError(f"{name}: step gave the reward {answer[1]!r}, a text; expected a number.")
    for what, ended in zip(("terminated", "truncated"), answer[2:4], strict=True):
        if np.asarray(ended).dtype.kind not in "biuf":
            raise ValueError(f"{name}: step gave {what} = {ended!r}; expected True or False.")
    return True


def rehearse(name: str, guard: Guard, seed: int, stepping: bool = True) -> tuple[bool, list[str]]:
    """One reset and one step, so that a wrong space is reported before time is spent.

    Args:
        name: what messages call it.
        guard: the environment; closed where it is refused.
        seed: of the reset.
        stepping: False leaves the step out, which may hang or kill the process.

    Returns:
        whether the step went well; and what is to be said of what it remembers from one episode to the next.
    """
    try:
        globally = global_states()
        observation, told = guard.reset(seed=seed)
        examine_observation(name, guard.observation_space, observation, "reset")
        memory = SeededReset(guard.inner, observation, globally)
        worked = stepping and examine_step(name, guard.inner, told.get(MASK))
        if not has_own(guard.inner) or (stepping and not worked):
            return worked, []
        # The same seed again: what differs now was remembered.
        return worked, memory.told(guard.inner, guard.reset(seed=seed)[0])
    except BaseException:
        guard.close()
        raise


def _examine(what: str, space: spaces.Space, value: object) -> None:
    if isinstance(space, spaces.Dict):
        if not isinstance(value, dict) or set(value) != set(space.keys()):
            came = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"{what} is {came}; its space has the keys {sorted(space.keys())}.")
        for key, part in space.items():
            _examine(f"{what}[{key!r}]", part, value[key])
        return
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space):
            raise ValueError(f"{what} is {type(value).__name__}; its space is a tuple of {len(space)}.")
        for place, part in enumerate(space):
            _examine(f"{what}[{place}]", part, value[place])
        return
    if isinstance(value, tuple) and isinstance(space, spaces.Box):
        raise ValueError(
            f"{what} is a tuple; its space is {space}. reset returns (observation, info), "
            "step (observation, reward, terminated, truncated, info)."
        )
    array = np.asarray(value)
    if array.shape != tuple(space.shape or ()):
        raise ValueError(f"{what} has shape {array.shape}; its space says {tuple(space.shape or ())}. {MEND}")
    kinds = "iub" + ("f" if leaf_dtype(space).kind == "f" else "")
    if array.dtype.kind not in kinds:
        raise ValueError(f"{what} has dtype {array.dtype}; its space says {space.dtype}. {MEND}")
    if isinstance(space, spaces.Box):
        # The lowest of int8 has no absolute value in int8.
        room = SLACK * (1.0 + np.abs(array.astype(np.float64)))
        outside = np.isfinite(array) & ((array < space.low - room) | (array > space.high + room))
        if outside.any():
            raise ValueError(
                f"{what} has {array[outside].size} values outside its space {space}, such as "
                f"{array[outside].flat[0]:g}. Widen the space or clip the observation."
            )
    elif not space.contains(array.astype(space.dtype)[()]):
        raise ValueError(f"{what} is {value}, which is not in its space {space}.")
