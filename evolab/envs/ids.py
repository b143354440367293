"""Environment ids: old ones mapped to today's, unknown ones answered with the nearest names."""

from __future__ import annotations

import importlib
import re
import warnings
from contextlib import suppress
from typing import Any

import gymnasium
from gymnasium import error

from evolab.core.checks import unknown

EXTRAS = {"box2d": "Box2D", "mujoco": "MuJoCo", "toy_text": "pygame", "classic_control": "pygame"}
ARCADE = "ALE"  # the namespace of Atari games, registered by a package of its own


def current_id(name: str) -> str:
    """The id that Gymnasium can make, for one that may be of another year.

    Args:
        name: an id such as "LunarLander-v2", or "module:Id-v0" to import a module first.

    Returns:
        The same id, or the newest registered version of it, with a warning.

    Raises:
        ValueError: if nothing of that name is registered; lists what is.
        ImportError: if the environment's own package is missing; names the command.
    """
    if name.startswith(ARCADE + "/"):
        _register_arcade(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium's own words on old versions; ours follow
            spec = gymnasium.spec(name)
    except error.Error:
        return _newest(name)
    if _is_retired(spec):
        return _newest(name)
    return name


def make_one(name: str, **arguments: Any) -> gymnasium.Env:
    """One environment by a current id, without Gymnasium's checker: `evolab.envs.make` checks itself.

    Raises:
        ImportError: if the environment's own package is missing; names the command.
    """
    arguments.setdefault("disable_env_checker", True)
    try:
        return gymnasium.make(name, **arguments)
    except error.DependencyNotInstalled as missing:
        entry = str(gymnasium.spec(name).entry_point)
        extra = next((extra for extra in EXTRAS if f".{extra}" in entry), None)
        if extra is None:
            raise ImportError(f"{name}: {missing}") from missing
        written = extra.replace("_", "-")
        raise ImportError(f'{name} needs {EXTRAS[extra]}: pip install "gymnasium[{written}]".') from missing


def known_ids() -> list[str]:
    """Every registered id in its newest version, without the retired ones."""
    newest: dict[str, int] = {}
    for spec in gymnasium.registry.values():
        if not _is_retired(spec):
            stem = _stem(spec.namespace, spec.name)
            newest[stem] = max(newest.get(stem, -1), -1 if spec.version is None else spec.version)
    return sorted(stem if version < 0 else f"{stem}-v{version}" for stem, version in newest.items())


def _newest(name: str) -> str:
    known = known_ids()
    wanted = re.sub(r"-v\d+$", "", name.partition(":")[2] or name)
    for candidate in known:
        if re.sub(r"-v\d+$", "", candidate) == wanted:
            warnings.warn(
                f"{name} is not in Gymnasium any more; {candidate} is used.", UserWarning, stacklevel=4
            )
            return candidate
    raise unknown("environment", name, known)


def _is_retired(spec: gymnasium.envs.registration.EnvSpec) -> bool:
    """True for entries that are kept only to say that they are gone (MuJoCo v2 and v3)."""
    return "mujoco" in str(spec.entry_point) and spec.version in (2, 3)


def _stem(namespace: str | None, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def _register_arcade(name: str) -> None:
    try:
        ale_py = importlib.import_module("ale_py")
    except ImportError as missing:
        raise ImportError(f'{name} needs ale-py: pip install "gymnasium[atari]".') from missing
    with suppress(error.Error):
        gymnasium.register_envs(ale_py)
