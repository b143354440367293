"""Views that refuse to be changed, in one sentence that says what to call instead."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from evolab.core import checks
from evolab.core.option_types import check_made, parameters_of
from evolab.core.shown import Plain, shows_calls

Kind = TypeVar("Kind", bound=type)


def _refusal(self: ReadOnly | ReadOnlyList, *names: object, **_: object) -> NoReturn:
    known = f", {names[0]!r} too" if names and isinstance(names[0], str) else ""
    raise TypeError(f"{self._what} can be read only{known}. {self._advice}")


class ReadOnlyList(list[Any]):
    """A list among read-only values; `list(values)`, `values.copy()` and `values + other` can be changed."""

    def __init__(self, values: Iterable[object], what: str, advice: str) -> None:
        super().__init__(_read_only(value, what, advice) for value in values)
        self._what, self._advice = what, advice

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refusal  # type: ignore[assignment]
    append = extend = insert = pop = remove = clear = sort = reverse = _refusal  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)


class ReadOnly(dict[str, Any]):
    """Values by name that can be read only; `dict(values)`, `values.copy()` and `values | other` can be changed.

    Args:
        values: by name; dicts and lists among them become read-only as well.
        what: they are, in the plural: "an agent's hyperparameters".
        advice: what to call instead, a sentence.

    >>> ReadOnly({"lr": 0.1}, "values", "Call set().")["lr"] = 0.2
    Traceback (most recent call last):
    TypeError: values can be read only, 'lr' too. Call set().
    """

    def __init__(self, values: Mapping[str, object], what: str, advice: str) -> None:
        super().__init__({name: _read_only(value, what, advice) for name, value in values.items()})
        self._what, self._advice = what, advice

    __setitem__ = __delitem__ = __ior__ = _refusal  # type: ignore[assignment]
    update = pop = setdefault = popitem = clear = _refusal  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._shown())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.pretty(self._shown())  # IPython's way with a dict

    def _shown(self) -> dict[str, Any]:
        return {
            name: Plain(value) if dataclasses.is_dataclass(value) else value for name, value in self.items()
        }

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def _read_only(value: object, what: str, advice: str) -> Any:
    if type(value) is dict:
        return ReadOnly(value, what, advice)
    return ReadOnlyList(value, what, advice) if type(value) is list else value


def write_as_dicts() -> None:
    """Have YAML write read-only values as it writes dicts and lists; without PyYAML there is nothing to do."""
    try:
        from yaml.representer import Representer, SafeRepresenter
    except ImportError:
        return
    for representer in (SafeRepresenter, Representer):
        representer.add_representer(ReadOnly, SafeRepresenter.represent_dict)
        representer.add_representer(ReadOnlyList, SafeRepresenter.represent_list)


def frozen_options(how: str, calls: str) -> Callable[[Kind], Kind]:
    """Decorates a frozen dataclass of options: who sets one is told how a changed copy is put in its place.

    Who makes one with an unknown option, or with a switch that is neither True nor False, is told too, and
    who looks at one is told what to call with it. Tables of the class itself can be read only: they are those of
    everything in the process.

    Args:
        how: the call, with {name} and {value}: "exp.mutations = replace(exp.mutations, {name}={value})".
        calls: see `core.shown.shows_calls`.
    """

    def decorated(kind: Kind) -> Kind:
        names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        for name, value in vars(kind).copy().items():  # such as an algorithm's hyperparameters
            if type(value) is dict and not name.startswith("_"):
                advice = f"A class of your own says others: {name} = {{**{kind.__name__}.{name}, ...}}."
                setattr(kind, name, ReadOnly(value, f"{name} of {kind.__name__}", advice))

        def refuse(self: object, name: str, value: object = None) -> None:
            if name not in names and type(self) is not kind:
                object.__setattr__(self, name, value)  # a class of the user's own, which is no dataclass
                return
            if name not in names:
                raise dataclasses.FrozenInstanceError(
                    str(checks.unknown(f"option of {type(self).__name__}", name, names))
                )
            call = how.format(name=name, value=repr(value), kind=type(self).__name__)
            raise dataclasses.FrozenInstanceError(
                f"{type(self).__name__} can be read only: {name} is not set. Change a copy: {call}."
            )

        made = kind.__init__  # type: ignore[misc]

        @functools.wraps(made)
        def make(self: object, *arguments: object, **options: object) -> None:
            behind = dict(zip(parameters_of(made)[1:], arguments, strict=False))  # after `self`
            check_made(kind, {**behind, **options}, options)
            made(self, *arguments, **options)

        kind.__init__ = make  # type: ignore[misc]
        kind.__setattr__ = kind.__delattr__ = refuse  # type: ignore[assignment, method-assign]
        return shows_calls(calls)(kind)

    return decorated
