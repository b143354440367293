"""Configurations: every option of an experiment as plain values, and back.

Only evolab's own options are made from a file; what is the user's own (a callable
environment, an algorithm or a network of theirs) is named in the configuration and has to be
passed in again.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any


def read(source: Any) -> dict[str, Any]:
    """A configuration from a dict, or from the path of a .json, .yaml or .yml file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no mapping, or is not well formed.
    """
    if isinstance(source, dict):
        return _without_racing(source)
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
    return _without_racing(value)


def _without_racing(options: dict[str, Any]) -> dict[str, Any]:
    """Options of evolab 0.1, of which one is gone."""
    if options.get("racing"):
        warnings.warn("racing is gone: all agents now play equally many evaluation episodes.", stacklevel=4)
    return {name: value for name, value in options.items() if name != "racing"}
