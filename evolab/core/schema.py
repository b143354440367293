"""The form of plain values in a file, declared once and checked when it is read: every error names the key.

A form is a function of a key and a value that raises where they do not fit:

>>> record({"id": whole(), "steps": listing(whole())})("agent", {"id": 1, "steps": [2, "3"]})
Traceback (most recent call last):
ValueError: agent.steps[1] is '3' (str); a whole number >= 0 is expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

Form: TypeAlias = Callable[[str, object], None]

LARGEST = 2**62
"""The largest whole number that is accepted: tensors hold 64 bits."""


def anything(key: str, value: object) -> None:
    """Whatever there is: it is checked where it is used."""


def word(key: str, value: object) -> None:
    """A text."""
    _expect(isinstance(value, str), key, value, "a text")


def flag(key: str, value: object) -> None:
    """True or False."""
    _expect(isinstance(value, bool), key, value, "true or false")


def finite_number(key: str, value: object) -> None:
    """A finite number."""
    finite = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e308
    _expect(finite, key, value, "a finite number")  # not finite: NaN


def measured(key: str, value: object) -> None:
    """A number, or what stands for NaN and the infinities, which JSON does not have."""
    if value not in ("NaN", "Infinity", "-Infinity"):
        finite_number(key, value)


def whole(low: int = 0, high: int = LARGEST) -> Form:
    """A whole number in [low, high]."""

    def check(key: str, value: object) -> None:
        sound = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        bounds = f">= {low}" if high == LARGEST else f"in [{low}, {high}]"
        _expect(sound, key, value, f"a whole number {bounds}")

    return check


def count(key: str, value: object) -> None:
    """A whole number of 0 or more, which may be written as a float."""
    finite_number(key, value)
    sound = isinstance(value, (int, float)) and 0 <= value <= LARGEST and value == int(value)
    _expect(sound, key, value, "a whole number >= 0")


def maybe(form: Form) -> Form:
    """This form, or null."""

    def check(key: str, value: object) -> None:
        if value is not None:
            form(key, value)

    return check


def one_of(*forms: Form) -> Form:
    """One of these forms; an error speaks of the one that comes furthest into the value, or of the first."""

    def check(key: str, value: object) -> None:
        errors = []
        for form in forms:
            try:
                return form(key, value)
            except ValueError as error:
                errors.append(error)
        raise max(errors, key=lambda error: len(str(error).partition(" is ")[0]))

    return check


def either(*kinds: type) -> Form:
    """A value of one of these kinds."""

    def check(key: str, value: object) -> None:
        sound = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        finite = not isinstance(value, float) or math.isfinite(value)
        _expect(sound and finite, key, value, " or ".join(_NAMES[kind] for kind in kinds))

    return check


def listing(form: Form, least: int = 0) -> Form:
    """A list of this form, with `least` entries or more."""

    def check(key: str, value: object) -> None:
        found = value if isinstance(value, list) else []
        what = f"a list of {least} or more" if least else "a list"
        _expect(isinstance(value, list) and len(value) >= least, key, value, what)
        for index, part in enumerate(found):
            form(f"{key}[{index}]", part)

    return check


def mapping(form: Form = anything) -> Form:
    """A mapping whose values have this form."""

    def check(key: str, value: object) -> None:
        _expect(isinstance(value, dict), key, value, "a mapping")
        for name, part in value.items() if isinstance(value, dict) else ():
            form(f"{key}.{name}" if key else str(name), part)

    return check


def record(required: Mapping[str, Form], optional: Mapping[str, Form] | None = None) -> Form:
    """A mapping with these keys; others pass, since a later version may write them."""

    def check(key: str, value: object) -> None:
        found = value if isinstance(value, dict) else {}
        _expect(isinstance(value, dict), key or "the file", value, "a mapping")
        for name in required:
            if name not in found:
                raise ValueError(f"{key + '.' if key else ''}{name} is missing.")
        for name, form in {**required, **(optional or {})}.items():
            if name in found:
                form(f"{key}.{name}" if key else name, found[name])

    return check


_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


def _expect(sound: bool, key: str, value: object, expected: str) -> None:
    if not sound:
        text = repr(value)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise ValueError(f"{key} is {shown} ({type(value).__name__}); {expected} is expected.")
