"""The types that a part declares for its options, as the forms that plain values of a file have to have."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from evolab.core import checks, schema
from evolab.core.schema import Form

WHOLE = schema.either(int)

SIMPLE: dict[Any, Form] = {
    bool: schema.flag,
    int: WHOLE,
    float: schema.finite_number,
    str: schema.word,
}


def check_declared(kind: Callable[..., object], options: Mapping[str, object], key: str = "") -> None:
    """Refuse an option of another type than a part declares for it, before the part is made.

    Args:
        kind: the part's class, or a dataclass of its own.
        options: by name, parts within them made already.
        key: under which they stand in their file.

    Raises:
        ValueError: names the key.

    >>> from evolab.core.ranges import Integer
    >>> check_declared(Integer, {"low": 1, "high": "x"}, "search_space.batch_size")
    Traceback (most recent call last):
    ValueError: search_space.batch_size.high is 'x' (str); a whole number is expected.
    """
    forms = _forms(kind)
    for name, value in options.items():
        if name in forms:
            forms[name](f"{key}.{name}" if key else name, value)


def check_made(kind: type, given: Mapping[str, object], options: Iterable[str]) -> None:
    """Refuse unknown options, and switches and sizes that are none, before a constructor looks at them.

    Args:
        kind: the part's class.
        given: arguments by name.
        options: those that stand by their own name.

    Raises:
        TypeError: says which option is near, or what is expected.
    """
    check_known(kind, options, kind.__name__)
    for name, form in _forms(kind).items():
        if form is schema.flag and name in given:
            checks.flag(f"{kind.__name__}: {name}", given[name])
        elif form is WHOLE and not isinstance(given.get(name, 0), Real):
            raise TypeError(f"{kind.__name__}: {name} is {given[name]!r}; a whole number is expected.")


def check_known(call: Callable[..., object], options: Iterable[str], what: str) -> None:
    """Refuse options that a class or a function does not have.

    Args:
        call: that takes them.
        options: by name.
        what: messages call it.

    Raises:
        TypeError: says which option is near.
    """
    known = parameters_of(call)
    for name in options:
        if name not in known:
            raise TypeError(str(checks.unknown_option(what, name, known)))


@cache
def parameters_of(call: Callable[..., object]) -> tuple[str, ...]:
    """Names of what a class or a function takes, in order; looked up once, as parts are made at every step of a search."""
    return tuple(inspect.signature(call).parameters)


@cache
def _forms(kind: Callable[..., object]) -> dict[str, Form]:
    """The form of every option of a part."""
    made = kind.__init__ if inspect.isclass(kind) else kind  # type: ignore[misc]
    try:
        hints = get_type_hints(kind if dataclasses.is_dataclass(kind) else made) | get_type_hints(made)
    except (NameError, TypeError):  # a part of another package, whose types are known to its checker alone
        return {}
    forms = {name: _form(hint) for name, hint in hints.items() if name != "return"}
    several = [
        each.name for each in inspect.signature(kind).parameters.values() if each.kind is each.VAR_POSITIONAL
    ]
    return forms | {name: schema.listing(forms[name]) for name in several if name in forms}


def _form(hint: object) -> Form:
    origin, parts = get_origin(hint), get_args(hint)
    if hint in SIMPLE:
        return SIMPLE[hint]
    if origin in (Union, UnionType):
        forms = [_form(part) for part in parts if part is not NoneType]
        form = forms[0] if len(forms) == 1 else schema.one_of(*forms)
        return schema.maybe(form) if NoneType in parts else form
    if origin is Literal:
        return schema.one_of(*(_form(type(part)) for part in parts))
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return schema.mapping(_form(parts[1]))
    if inspect.isclass(origin) and issubclass(origin, Collection):
        return schema.listing(_form(parts[0]))
    return schema.anything
