"""Options and records as plain values (numbers, strings, lists, dicts), and back: what JSON and YAML hold.

Only parts that the registry knows are made from a file. What is the user's own (a callable
environment, an algorithm of theirs) is named in the file and has to be passed in again.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

from evolab.core import checks, registry
from evolab.core.ranges import Choice

RETIRED: dict[str, dict[str, Any]] = {part: {"persistence": 1} for part in ("DQN", "CQN")}
"""Options of earlier versions that are none any more, by part, with the value at which leaving them out changes nothing."""


def plain(value: object) -> Any:
    """A record in JSON's own types: NumPy scalars become numbers; NaN and the infinities become strings."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def to_plain(value: Any) -> Any:
    """An option as numbers, strings, lists and dicts; a part of the registry becomes {"type": name, ...}."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        options = [field.name for field in dataclasses.fields(value) if field.repr]  # others are no options
        return {"type": type(value).__name__, **{name: to_plain(getattr(value, name)) for name in options}}
    if registry.name_of(value) is not None:  # it says its options itself, as language environments do
        return {"type": type(value).__name__, **to_plain(value.options)}
    if isinstance(value, dict):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(part) for part in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return getattr(value, "__name__", None) or type(value).__name__


def from_plain(value: object) -> Any:
    """The inverse of `to_plain` for parts of the registry.

    Raises:
        ValueError: an unknown type or an unknown option of it.
    """
    if isinstance(value, list):
        return [from_plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "type" not in value:
        return {key: from_plain(part) for key, part in value.items()}
    kind = registry.any_part(value["type"])
    options = {key: from_plain(part) for key, part in value.items() if key != "type"}
    for option, value_without in RETIRED.get(value["type"], {}).items():
        if options.pop(option, value_without) != value_without:
            checks.notice(
                f"{value['type']}({option}={value[option]}) was read as {value_without}: {option} is a hyperparameter "
                f"now. Give a new run hyperparameters={{'{option}': ...}} to have it."
            )
    known = list(inspect.signature(kind).parameters)
    for option in options:
        if option not in known:
            raise checks.unknown(f"option of {kind.__name__}", option, known)
    return kind(*options["options"]) if kind is Choice else kind(**options)
