"""One environment of a source: made, preprocessed, stacked, and drawn."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial

import gymnasium
from gymnasium.envs.registration import EnvSpec

from evolab.core.checks import missing
from evolab.core.shown import own_name
from evolab.envs.frame_stack import FrameStack
from evolab.envs.ids import is_arcade, make_one

Maker = Callable[..., gymnasium.Env]


def maker_of(source: object, arguments: Mapping[str, object], frame_stack: int = 1) -> Maker:
    """What makes one environment of a source.

    Args:
        source: an id that Gymnasium has, an `EnvSpec`, or a callable.
        arguments: for `gymnasium.make` or the callable.
        frame_stack: observations in one. Above 1 Atari's games are preprocessed as well; see `preprocessed`.

    Raises:
        TypeError: another source.
    """
    if isinstance(source, str | EnvSpec):
        make = preprocessed if frame_stack > 1 and is_arcade(source) else make_one
        factory: Maker = partial(make, source, **arguments)
    elif callable(source):
        check_call("environment", source, **arguments)
        factory = partial(source, **arguments) if arguments else source
    else:
        raise TypeError(
            f"environment is {source!r} ({type(source).__name__}); expected an id, a callable that "
            "makes one environment, or a vector environment. An environment itself: lambda: MyEnv()."
        )
    return partial(stacked, factory, frame_stack) if frame_stack > 1 else factory


def check_call(option: str, function: Callable[..., object], *values: object, **arguments: object) -> None:
    """Refuse a callable that needs other arguments than it will be given.

    Args:
        option: that it was given as.
        function: of the user's.
        values, arguments: that it will be given.

    Raises:
        TypeError: says what it lacks.
    """
    try:
        known = inspect.signature(function)
    except ValueError:  # some builtins do not tell
        return
    try:
        known.bind(*values, **arguments)
    except TypeError as error:
        given = "num_envs and seed" if values else ", ".join(arguments) or "no arguments"
        hint = "" if values else " Arguments of the environment are env_kwargs={...}."
        raise TypeError(
            f"{option} is {own_name(function)}, which is called with {given}: {error}.{hint}"
        ) from error


def stacked(factory: Maker, count: int) -> gymnasium.Env:
    """An environment whose newest observations are one."""
    return FrameStack(factory(), count)


def preprocessed(source: str | EnvSpec, **arguments: object) -> gymnasium.Env:
    """A game of Atari's as deep Q-networks see it: every fourth frame, of 84 x 84 grey values, flicker removed.

    Source: Mnih et al. 2015, Human-level control through deep reinforcement learning, by Gymnasium's own wrapper.

    Raises:
        ImportError: OpenCV is missing; names the extra.
    """
    env = make_one(source, **({"frameskip": 1} | arguments))
    try:
        return gymnasium.wrappers.AtariPreprocessing(env)
    except gymnasium.error.DependencyNotInstalled as error:
        raise missing("frame_stack of Atari's games", "opencv-python", "atari") from error


def drawn(factory: Maker, name: str) -> gymnasium.Env:
    """One environment that renders, also from a callable without a `render_mode` argument."""
    if isinstance(factory, partial) and factory.func is stacked:
        return FrameStack(drawn(factory.args[0], name), factory.args[1])
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
