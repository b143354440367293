"""Options and records as plain values (numbers, strings, lists, dicts), and back: what JSON and YAML hold.

Only parts that the registry knows are made from a file. What is the user's own (a callable
environment, an algorithm of theirs) is named in the file and has to be passed in again.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from evolab.core import checks, registry
from evolab.core.option_types import check_declared
from evolab.core.ranges import Choice
from evolab.core.shown import own_name

RETIRED: dict[str, dict[str, Any]] = {part: {"persistence": 1} for part in ("DQN", "CQN")}
"""Options of earlier versions that are none any more, by part, with the value at which leaving them out changes nothing."""

BEFORE: dict[str, dict[str, Any]] = {"PPO": {"factored": False}}
"""Options that earlier versions did not have, by part, with the value that says what was the case then."""


_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


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


def from_special(value: object) -> Any:
    """NaN and the infinities from the strings that `plain` made of them; everything else as it is."""
    return _SPECIAL.get(value, value) if isinstance(value, str) else value


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
    return own_name(value)


def from_plain(value: object, key: str = "") -> Any:
    """The inverse of `to_plain` for parts of the registry.

    Args:
        value: as `to_plain` gives it.
        key: under which it stands in its file; every error names the key of what is wrong.

    Raises:
        ValueError: an unknown type, an unknown option of it, or a value that its option does not take.
    """
    if isinstance(value, list):
        return [from_plain(part, f"{key}[{index}]") for index, part in enumerate(value)]
    if not isinstance(value, dict):
        return value
    parts = {name: from_plain(part, f"{key}.{name}" if key else name) for name, part in value.items()}
    if "type" not in value:
        return parts
    with _naming(key):
        return _made(parts.pop("type"), parts, key)


def _made(type: object, options: dict[str, Any], key: str) -> Any:
    """The part of a type with these options."""
    kind = registry.any_part(type)
    for option, value_without in RETIRED.get(kind.__name__, {}).items():
        value = options.pop(option, value_without)
        if value != value_without:
            checks.notice(
                f"{type}({option}={value}) was read as {value_without}: {option} is a hyperparameter "
                f"now. Give a new run hyperparameters={{'{option}': ...}} to have it."
            )
    options = {**BEFORE.get(kind.__name__, {}), **options}
    known = list(inspect.signature(kind).parameters)
    for option in options:
        if option not in known:
            raise checks.unknown(f"option of {kind.__name__}", option, known)
    check_declared(kind, options, key)
    return kind(*options["options"]) if kind is Choice else kind(**options)


@contextmanager
def _naming(key: str) -> Iterator[None]:
    """Put the key of a part in front of what is wrong with it."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        if not key or str(error).startswith(key):
            raise
        said = f"{error!s} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{key}: {said}") from error
