"""How options show themselves: what they are, as Python writes it, and what to call with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

Kind = TypeVar("Kind", bound=type)


def own_name(value: object) -> str:
    """What a function or a class is called; of another object its class."""
    return getattr(value, "__name__", None) or type(value).__name__


def plainly(value: object) -> str:
    """What a value is, without what to call with it; options within options too."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return repr(value)
    options = [field.name for field in dataclasses.fields(value) if field.repr]
    return (
        f"{type(value).__name__}({', '.join(f'{name}={plainly(getattr(value, name))}' for name in options)})"
    )


class Plain:
    """Shows a value without what to call with it."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return plainly(self.value)


def shows_calls(calls: str) -> Callable[[Kind], Kind]:
    """Decorates a dataclass of options: whoever looks at one reads what to call next.

    Args:
        calls: with {made} for the call that made it and {kind} for the name of its class:
            "ev.Experiment(env, selection={made})".

    >>> @shows_calls("ev.Experiment(env, selection={made})")
    ... @dataclasses.dataclass(frozen=True)
    ... class Widest:
    ...     size: int = 2
    >>> Widest.__module__ = "mine"
    >>> Widest()
    Widest(size=2): ev.Experiment(env, selection=Widest(...))
    """

    def decorated(kind: Kind) -> Kind:
        def show(self: object) -> str:
            name, home = type(self).__name__, type(self).__module__.partition(".")[0]
            made = f"{'ev.' if home == 'evolab' else ''}{name}(...)"
            return f"{plainly(self)}: {calls.format(kind=name, made=made)}"

        kind.__repr__ = show  # type: ignore[assignment]
        return kind

    return decorated
