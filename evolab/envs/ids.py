"""Environment ids: old ones mapped to today's, unknown ones answered with the nearest names."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from contextlib import suppress
from typing import Any

import gymnasium
from gymnasium import error
from gymnasium.envs.registration import EnvSpec

from evolab.core.checks import unknown

EXTRAS = {"box2d": "Box2D", "mujoco": "MuJoCo", "toy_text": "pygame", "classic_control": "pygame"}
RENAMED = {
    "LunarLander-v2": "LunarLander-v3",
    "LunarLanderContinuous-v2": "LunarLanderContinuous-v3",
    "Pendulum-v0": "Pendulum-v1",
}
"""Ids that Gymnasium has dropped, and the same task's id today. Other versions are other tasks: returns differ."""

VERSION = re.compile(r"-v\d+$")
ARCADE = "ALE"  # the namespace of Atari games, registered by a package of its own


def current_id(name: str) -> str:
    """The id that Gymnasium can make, for one that may be of another year.

    Args:
        name: an id such as "LunarLander-v2", or "module:Id-v0" to import a module first.

    Returns:
        The same id; another one, with a warning, where that is the same task under a newer name, or the
        newest where no version is named.

    Raises:
        ValueError: if nothing of that name is registered; lists what is.
        ImportError: if the environment's own package is missing, or the module; names it.
    """
    module, colon, own = name.rpartition(":")
    if colon:
        _import(module, name)
    elif name.startswith(ARCADE + "/") or "NoFrameskip" in name:
        _register_arcade(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's own words on old versions; ours follow
        with suppress(error.Error):
            if not _is_retired(gymnasium.spec(own)) and VERSION.search(name):
                return name
    return module + colon + _renamed(own)


def must_be_imported(name: str) -> str | None:
    """The module of "module:Id-v0" that is not imported yet; None where nothing has to be.

    What a person types may be imported; what a file says is not: see `Experiment.load`.
    """
    module, colon, _ = name.partition(":")
    return module if colon and module not in sys.modules else None


def make_one(name: str | EnvSpec, **arguments: Any) -> gymnasium.Env:
    """One environment by a current id or a specification, without Gymnasium's checker: `evolab.envs.make` checks itself.

    Raises:
        ImportError: if the environment's own package is missing; names the command, or the package.
    """
    arguments.setdefault("disable_env_checker", True)
    try:
        return gymnasium.make(name, **arguments)
    except ModuleNotFoundError as missing:
        raise ImportError(f"{name} needs the package {missing.name}, which is not installed.") from missing
    except error.DependencyNotInstalled as missing:
        entry = str((name if isinstance(name, EnvSpec) else gymnasium.spec(name)).entry_point)
        extra = next((extra for extra in EXTRAS if f".{extra}" in entry), None)
        if extra is None:
            raise ImportError(f"{name}: {missing}") from missing
        written = extra.replace("_", "-")
        raise ImportError(f'{name} needs {EXTRAS[extra]}: pip install "gymnasium[{written}]".') from missing


def is_arcade(name: str | EnvSpec) -> bool:
    """True for Atari's games."""
    spec = gymnasium.spec(name) if isinstance(name, str) else name
    return "ale_py" in str(spec.entry_point)


def known_ids() -> list[str]:
    """Every registered id in its newest version, without the retired ones."""
    newest: dict[str, int] = {}
    for spec in gymnasium.registry.values():
        if not _is_retired(spec):
            stem = _stem(spec.namespace, spec.name)
            newest[stem] = max(newest.get(stem, -1), -1 if spec.version is None else spec.version)
    return sorted(stem if version < 0 else f"{stem}-v{version}" for stem, version in newest.items())


def _renamed(name: str) -> str:
    known = known_ids()
    stem = VERSION.sub("", name)
    versions = [one for one in known if VERSION.sub("", one) == stem]
    if name in RENAMED or (versions and name == stem):
        today = RENAMED.get(name) or versions[0]
        why = "is not in Gymnasium any more" if name in RENAMED else "names no version"
        warnings.warn(f"{name} {why}; {today} is used.", UserWarning, stacklevel=4)
        return today
    if versions:
        raise ValueError(
            f"Unknown environment {name!r}. {versions[0]} is installed; it is another version of the task, whose "
            f"returns may differ. Name it where you mean it."
        )
    raise unknown("environment", name, known)


def _import(module: str, name: str) -> None:
    try:
        importlib.import_module(module)
    except (ImportError, ValueError) as missing:  # the latter where its name is empty
        raise ImportError(
            f"{name!r} names the module {module!r}, which can't be imported ({missing}). Its folder must be on "
            "Python's path, such as the current one with `python -m evolab`."
        ) from missing


def _is_retired(spec: EnvSpec) -> bool:
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
