"""Configurations: every option of an experiment as plain values, and back.

Only evolab's own options are made from a file; what is the user's own (a callable
environment, an algorithm or a network of theirs) is named in the configuration and has to be
passed in again.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.core.registry import ALGORITHMS

OPTIONS = {
    "Float": "evolab.core.ranges",
    "Integer": "evolab.core.ranges",
    "Choice": "evolab.core.ranges",
    "MLP": "evolab.networks.mlp.mlp",
    "CNN": "evolab.networks.cnn.cnn",
    "MultiInput": "evolab.networks.multi_input",
    "GPT": "evolab.networks.gpt.gpt",
    "WordGame": "evolab.envs.language.word_game",
    "RandomWalks": "evolab.envs.language.random_walks",
    "Tournament": "evolab.evolution.selection.tournament",
    "Truncation": "evolab.evolution.selection.truncation",
    "Gap": "evolab.evolution.selection.gap",
    "MFPBT": "evolab.evolution.selection.mfpbt",
    "Mutations": "evolab.evolution.mutation.mutations",
    "FQE": "evolab.evaluation.fqe.fqe",
    "Racing": "evolab.evaluation.racing",
    **ALGORITHMS,
}


def to_plain(value: Any) -> Any:
    """An option as numbers, strings, lists and dicts; an evolab object becomes {"type": name, ...}."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if type(value).__name__ in OPTIONS and hasattr(value, "options"):  # a language environment
        return {"type": type(value).__name__, **to_plain(value.options)}
    if isinstance(value, dict):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(part) for part in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return getattr(value, "__name__", None) or type(value).__name__


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain` for evolab's own options.

    Raises:
        ValueError: an unknown type or an unknown option of it.
    """
    if isinstance(value, list):
        return [from_plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "type" not in value:
        return {key: from_plain(part) for key, part in value.items()}
    name = value["type"]
    if name not in OPTIONS:
        raise checks.unknown("type in the configuration", name, OPTIONS)
    kind = getattr(import_module(OPTIONS[name]), name)
    options = {key: from_plain(part) for key, part in value.items() if key != "type"}
    if name == "Choice":
        return kind(*options["options"])
    if dataclasses.is_dataclass(kind):
        known = [field.name for field in dataclasses.fields(kind)]
    else:
        known = [name for name in inspect.signature(kind).parameters if name != "render_mode"]
    for option in options:
        if option not in known:
            raise checks.unknown(f"option of {name}", option, known)
    return kind(**options)


def read(source: Any) -> dict[str, Any]:
    """A configuration from a dict, or from the path of a .json, .yaml or .yml file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no mapping, or is not well formed.
    """
    if isinstance(source, dict):
        return dict(source)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"no configuration at {path}. Write one with: evolab demo --help, or exp.config."
        )
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            value = json.loads(text)
        else:
            import yaml

            value = yaml.safe_load(text)
    except Exception as error:
        raise ValueError(f"{path}: not well formed: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: a mapping of options is expected, {type(value).__name__} came.")
    return value
