"""One environment of a vector that survives its own faults and rests when it is done."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import ClipAction
from gymnasium.wrappers import vector as vector_wrappers

from evolab.core.actions import is_finite
from evolab.core.composite_actions import ActionParts, apart, joined
from evolab.envs.backend import Failure, Faults
from evolab.envs.base import EnvironmentFault
from evolab.envs.masks import MASK, Source, read_mask, source_of
from evolab.envs.metrics import METRICS, Metrics, numbers_in

FAULT = "evolab_fault"  # key in `info` under which a survived fault is told
DETAIL = "evolab_detail"  # key in `info` of the step in which it happened, with the traceback
REBUILD = "evolab_rebuild"  # key in reset's `options` that asks for a new environment
CLIPPERS = (ClipAction, vector_wrappers.ClipAction)
ATTEMPTS = 10  # resets that may fail in a row before the fault is raised


class Guard(gymnasium.Env):
    """An environment made by a factory and made anew when it raises.

    A step that raises drops the episode: the answer is the first observation of a new
    environment with reward 0, neither terminated nor truncated, and `info` holds the
    original message under `FAULT`. Of all other entries of `info` the numbers of an episode's last step are kept,
    under `METRICS`: merging more of them over a vector costs more than a small environment's step. What the
    environment permits is under `MASK` where its first reset said so, as bool; a mask that does not fit is a fault.

    Once an episode ended, it rests: steps repeat the last observation with reward 0
    and do not reach the environment, until `reset`.
    """

    def __init__(
        self, factory: Callable[[], gymnasium.Env], name: str | None, index: tuple[int, int]
    ) -> None:
        """Make the first environment.

        Args:
            factory: makes one environment.
            name: what errors call the environment; None takes its id or its class.
            index: (p, e), its place, for errors.
        """
        self._factory = factory
        self.name = name or "environment"
        self._index = index
        self._env: gymnasium.Env | None = self._build()
        self._resting, self._steps = False, 0
        self._mask_of: Source | None = None
        self._begun = False
        self._last: Any = None
        self._seed: int | None = None
        self._builds = 0
        if name is None:
            self.name = type(self._env.unwrapped).__name__ if self._env.spec is None else self._env.spec.id
        self.observation_space = self._env.observation_space
        self.action_space = joined(chosen_from(self._env))
        self._in_parts = isinstance(self.action_space, ActionParts)
        self.metadata = self._env.metadata
        self.render_mode = self._env.render_mode
        self.spec = self._env.spec
        self._limit: int | None = None if self.spec is None else self.spec.max_episode_steps
        if self._limit is None and self._env.has_wrapper_attr("_max_episode_steps"):
            self._limit = self._env.get_wrapper_attr("_max_episode_steps")  # a TimeLimit put on by hand

    def step(self, action: object) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, rest or recover."""
        if self._resting:
            return self._last, 0.0, False, False, {}
        self._steps += 1
        try:
            taken = apart(self.action_space, action) if self._in_parts else action
            answer = self._env.step(taken)  # type: ignore[union-attr]
            observation, reward, terminated, truncated, info = answer
            if type(reward) is not float:
                reward = float(np.asarray(reward).item())  # some give an array of one
            mask = None if self._mask_of is None else self._mask(info, terminated or truncated)
        except Exception as error:  # an environment may raise anything, which is a fault of its own
            message = one_line(error)
            detail = f"in step {self._steps} of an episode, with action {_short(action)}:\n{traced(error)}"
            first, info = self._begin(None, rebuild=True)
            both = "; ".join(filter(None, [message, info.get(FAULT)]))
            return first, 0.0, False, False, {**info, FAULT: both, DETAIL: detail}
        told: dict[str, Any] = {} if mask is None else {MASK: mask}
        if not (terminated or truncated):
            return observation, reward, False, False, told
        self._resting, self._last = True, observation
        metrics = numbers_in(info) if isinstance(info, Mapping) else None
        if metrics:
            told[METRICS] = metrics
        return observation, reward, bool(terminated), bool(truncated), told

    def _mask(self, info: object, ended: bool) -> np.ndarray:
        """[W], what the environment permits."""
        assert self._mask_of is not None
        return read_mask(self.action_space, self._mask_of(info if isinstance(info, Mapping) else {}), ended)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, object] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode, in a new environment where the old one raises or `REBUILD` asks for it.

        Raises:
            EnvironmentFault: if `ATTEMPTS` resets failed in a row.
        """
        if seed is not None:
            self._seed, self._builds = int(seed), 0
        return self._begin(seed, rebuild=bool(options and options.get(REBUILD)))

    def _begin(self, seed: int | None, rebuild: bool) -> tuple[Any, dict[str, Any]]:
        messages: list[str] = []
        detail = ""
        for _ in range(ATTEMPTS):
            try:
                if rebuild or self._env is None:
                    seed = self._renew(seed)
                answer: Any = self._env.reset(seed=seed)  # type: ignore[union-attr]
                told = self._told(answer)
            except Exception as error:  # an environment may raise anything, which is a fault of its own
                messages.append(one_line(error))
                detail = f"in reset:\n{traced(error)}"
                rebuild = True
                continue
            if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)):
                raise EnvironmentFault(
                    f"{self.name}: reset gave {type(answer).__name__} in place of (observation, info). Old "
                    "environments give the observation alone: return observation, {}."
                )
            observation = answer[0]
            self._resting, self._steps = False, 0
            return observation, {**told, FAULT: messages[-1], DETAIL: detail} if messages else told
        hint = ""
        if "argument 'seed'" in messages[-1]:
            hint = ". Environments take one: def reset(self, *, seed=None, options=None)"
        raise EnvironmentFault(
            f"{self.name}: environment {self._index} failed to start an episode {ATTEMPTS} times in a row: "
            f"{messages[-1]}{hint}\n{detail}"
        )

    def _told(self, answer: object) -> dict[str, Any]:
        """The mask in what reset gave; the first one decides whether there are any."""
        if self._begun and self._mask_of is None:
            return {}
        info, self._begun = answer[1] if isinstance(answer, tuple) and len(answer) == 2 else {}, True
        self._mask_of = source_of(self.inner, self.action_space, info) or self._mask_of
        return {} if self._mask_of is None else {MASK: self._mask(info, False)}

    def _renew(self, seed: int | None) -> int | None:
        """Replace the environment; returns the seed of its first episode."""
        old, self._env = self._env, None
        if old is not None:
            with suppress(Exception):  # what raised in step may raise in close as well
                old.close()
        self._builds += 1
        self._env = self._build()
        if self._seed is None:
            return seed
        # A new environment has a new generator: keyed by its seed and the count of
        # rebuilds, so that a run with faults can be repeated.
        return int(np.random.SeedSequence([self._seed, self._builds]).generate_state(1)[0] >> 1)

    def _build(self) -> gymnasium.Env:
        env = self._factory()
        if not isinstance(env, gymnasium.Env):
            raise TypeError(f"{self.name} made {type(env).__name__}; expected a gymnasium.Env.")
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)
            if not isinstance(space, gymnasium.Space):
                came = "no space" if space is None else repr(space)
                raise TypeError(
                    f"{type(env).__name__}.{name} is {came}. An environment sets self.observation_space and "
                    "self.action_space, spaces of gymnasium.spaces, when it is made."
                )
        return env

    @property
    def inner(self) -> gymnasium.Env:
        """The environment itself."""
        assert self._env is not None
        return self._env

    @property
    def limit(self) -> int | None:
        """The most steps that an episode can have; None where nothing says so."""
        return self._limit

    def render(self) -> Any:
        """The environment's own picture."""
        return None if self._env is None else self._env.render()

    def close(self) -> None:
        """Close the environment; what it raises while closing is of no interest any more."""
        old, self._env = self._env, None
        if old is not None:
            with suppress(Exception):
                old.close()


def chosen_from(env: gymnasium.Env | VectorEnv) -> gymnasium.Space:
    """The space of one action, with the bounds that `ClipAction` clips to but does not tell."""
    name = "single_action_space" if isinstance(env, VectorEnv) else "action_space"
    told = space = getattr(env, name)
    layer: Any = env
    while isinstance(space, spaces.Box) and not is_finite(space):
        if isinstance(layer, SyncVectorEnv):
            space = chosen_from(layer.envs[0])
            break
        if isinstance(layer, CLIPPERS):
            space = getattr(layer.env, name)
        elif (
            not isinstance(layer, (gymnasium.Wrapper, VectorWrapper)) or getattr(layer.env, name) is not space
        ):
            break  # it changes actions in its own way
        layer = layer.env
    return space if isinstance(space, spaces.Box) and is_finite(space) else told


@dataclass
class Told:
    """What the `info`s of guarded environments tell in one call, by index.

    Attributes:
        faults: that were survived.
        metrics: the numbers in the last `info` of episodes that ended.
        masks: [W] each, what is permitted next.
    """

    faults: Faults = field(default_factory=dict)
    metrics: dict[int, Metrics] = field(default_factory=dict)
    masks: dict[int, np.ndarray] = field(default_factory=dict)

    def note(self, index: int, info: Mapping[str, Any]) -> None:
        """Note the `info` of one of them."""
        if METRICS in info:
            self.metrics[index] = info[METRICS]
        if FAULT in info:
            self.faults[index] = Failure("raise", info[FAULT], info[DETAIL])
        if MASK in info:
            self.masks[index] = info[MASK]


def one_line(error: BaseException) -> str:
    """An exception in one line: its type and its message."""
    return f"{type(error).__name__}: {error}"


def traced(error: BaseException) -> str:
    """The traceback of an exception, without the frame that caught it."""
    frames = error.__traceback__ and (error.__traceback__.tb_next or error.__traceback__)
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _short(action: object) -> str:
    text = repr(action)
    return text if len(text) <= 200 else f"{text[:197]}..."
