"""Ranges of evolvable hyperparameters: values of their own, which no agent shares.

A range never holds a value. It draws one, checks one, and steps one up or down; the value
itself is a gene of the agent. Growth and shrinkage are reciprocal, so a random walk of
mutations has no drift, and a step is never lost: an integer moves by at least one, and a
value at a bound turns back.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import numpy as np

from evolab.core import checks
from evolab.core.readonly import frozen_options

CHANGED = "exp.search_space = exp.search_space | {{name: dataclasses.replace(its range, {name}={value})}}"
"""How an end of a range is changed."""

CALLS = "ev.Experiment(env, search_space={{name: {made}}})"
"""What to call with a range; see `core.shown.shows_calls`."""

GROW = 1.2
"""Factor of one step where neither the range nor its parameter says another."""

WIDEST = 1 / 3
"""Largest step as a share of the range: of its width, or of its logarithmic width. Wider ones land on a bound."""


def _check_bounds(
    kind: str, low: float, high: float, log: bool, grow: float | None, shrink: float | None
) -> None:
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, (int, float, np.integer, np.floating)):
            raise TypeError(f"{kind}({low!r}, {high!r}): bounds must be numbers.")
    for name, step in (("grow", grow), ("shrink", shrink)):
        if step is not None:
            checks.finite(f"{kind}: {name}", step)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{kind}({low}, {high}): bounds must be finite numbers.")
    if low >= high:
        raise ValueError(f"{kind}({low}, {high}): low must be below high. Swap the two bounds?")
    if log and low <= 0:
        raise ValueError(
            f"{kind}({low}, {high}): a logarithmic range needs low > 0. Raise low or pass log=False."
        )
    if grow is not None and grow <= 1:
        raise ValueError(f"{kind}: grow is {grow}; it must be above 1, 1.2 for steps of 20%.")
    if shrink is not None and not 0 < shrink < 1:
        raise ValueError(f"{kind}: shrink is {shrink}; it must lie between 0 and 1, or be None for 1 / grow.")


def _checked(name: str, value: object, kind: str, low: float, high: float) -> float:
    """A number within bounds; `kind` is what the message says is expected."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r}; a {kind} from {low} to {high} is expected.")
    if kind != "number" and int(value) != value:
        raise TypeError(f"{name} is {value}; it must be a {kind}.")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; its range is {low} to {high}.")
    return value  # type: ignore[return-value]  # NumPy's numbers behave as floats


def _factor(up: bool, grow: float | None, shrink: float | None, widest: float) -> float:
    """The factor of one step up or down, `widest` or its reciprocal at most."""
    growth = min(GROW if grow is None else grow, widest)
    return growth if up else max(1 / growth if shrink is None else shrink, 1 / widest)


def _nearer(drawn: float, near: float, share: float) -> float:
    return near + (drawn - near) * share


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class Float:
    """A range of real numbers.

    No step is wider than a third of the range, whatever `grow` says.

    Args:
        low: smallest value allowed.
        high: largest value allowed.
        log: draw and step in log space; a linear range steps by `grow - 1` of its width.
        grow: factor of one step up; None for 1.2, or in a search space for what the parameter's default
            range has.
        shrink: factor of one step down; None for `1 / grow`, which has no drift (in a linear range for
            the same width as upwards).
        complement: draw and step `1 - value` in log space, as suits a discount; needs `high < 1`.

    Raises:
        ValueError: bounds reversed, not finite, or not positive where `log` is set.

    >>> Float(1e-4, 1e-2).step(1e-3, up=True)
    0.0012
    >>> Float(0.9, 0.999, complement=True).step(0.99, up=True)
    0.991666666667
    """

    low: float
    high: float
    log: bool = True
    grow: float | None = None
    shrink: float | None = None
    complement: bool = False

    def __post_init__(self) -> None:
        _check_bounds("Float", self.low, self.high, self.log, self.grow, self.shrink)
        if self.complement and self.high >= 1:
            raise ValueError(f"Float({self.low}, {self.high}): complement=True needs high < 1.")

    def sample(self, generator: np.random.Generator, near: float | None = None, share: float = 1.0) -> float:
        """A uniform draw, in log space where the range is logarithmic; or one that lies nearer to a value.

        Args:
            generator: the source of the draw.
            near: the value that it begins at; None for the plain draw.
            share: of the way from there to the plain draw.
        """
        low, high = self._place(self.low), self._place(self.high)
        drawn = generator.uniform(min(low, high), max(low, high))
        if near is not None:
            drawn = _nearer(drawn, self._place(min(max(near, self.low), self.high)), share)
        return float(min(max(self._value(drawn), self.low), self.high))

    def _place(self, value: float) -> float:
        """Where a value lies on the line on which draws are uniform."""
        if self.complement:
            return math.log(1 - value)
        return math.log(value) if self.log else value

    def _value(self, place: float) -> float:
        """The inverse of `_place`."""
        if self.complement:
            return 1 - math.exp(place)
        return math.exp(place) if self.log else place

    def step(self, value: float, up: bool) -> float:
        """`value` one step up or down, clipped to the range; at a bound it turns back."""
        if (up and value >= self.high) or (not up and value <= self.low):
            up = not up
        if self.complement:
            widest = ((1 - self.low) / (1 - self.high)) ** WIDEST
            moved = 1 - (1 - value) / _factor(up, self.grow, self.shrink, widest)
        elif self.log:
            moved = value * _factor(up, self.grow, self.shrink, (self.high / self.low) ** WIDEST)
        else:
            grow = GROW if self.grow is None else self.grow
            share = grow - 1 if up or self.shrink is None else 1 - self.shrink
            moved = value + (self.high - self.low) * min(share, WIDEST) * (1 if up else -1)
        return float(min(max(float(f"{moved:.12g}"), self.low), self.high))

    def check(self, name: str, value: object) -> float:
        """`value` as a float.

        Raises:
            TypeError: it is no number.
            ValueError: it lies outside the range.
        """
        return float(_checked(name, value, "number", self.low, self.high))


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class Integer:
    """A range of whole numbers, both bounds included.

    A step is at least one and, beyond that, no wider than a third of the range.

    Args:
        low: smallest value allowed.
        high: largest value allowed.
        log: draw in log space; steps are factors in either case.
        grow: factor of one step up, rounded, and at least one; None for 1.2, or in a search space for what
            the parameter's default range has.
        shrink: factor of one step down; None for `1 / grow`.

    >>> Integer(1, 16).step(1, up=True), Integer(8, 512).step(128, up=False)
    (2, 107)
    """

    low: int
    high: int
    log: bool = True
    grow: float | None = None
    shrink: float | None = None

    def __post_init__(self) -> None:
        _check_bounds("Integer", self.low, self.high, self.log, self.grow, self.shrink)
        if int(self.low) != self.low or int(self.high) != self.high:
            raise ValueError(f"Integer({self.low}, {self.high}): bounds must be whole numbers.")

    def sample(self, generator: np.random.Generator, near: float | None = None, share: float = 1.0) -> int:
        """A uniform draw over the whole numbers, in log space where the range is logarithmic; `near` as in `Float`."""
        if not self.log:
            drawn = float(generator.integers(self.low, self.high + 1))
            return int(drawn) if near is None else round(_nearer(drawn, self._inside(near), share))
        place = generator.uniform(math.log(self.low), math.log(self.high + 1))
        if near is not None:
            place = _nearer(place, math.log(self._inside(near) + 0.5), share)
        return int(self._inside(int(math.exp(place))))

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def step(self, value: int, up: bool) -> int:
        """`value` one step up or down, by at least one; at a bound it turns back."""
        if (up and value >= self.high) or (not up and value <= self.low):
            up = not up
        widest = (self.high / self.low) ** WIDEST if self.log else math.inf
        far = self.high - self.low if self.log else max(1, int((self.high - self.low) * WIDEST))
        moved = round(value * _factor(up, self.grow, self.shrink, widest))
        moved = max(moved, value + 1) if up else min(moved, value - 1)
        moved = min(max(moved, value - far), value + far)
        return int(min(max(moved, self.low), self.high))

    def check(self, name: str, value: object) -> int:
        """`value` as an int.

        Raises:
            TypeError: it is no whole number.
            ValueError: it lies outside the range.
        """
        return int(_checked(name, value, "whole number", self.low, self.high))


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True, init=False)
class Choice:
    """A set of numbers to choose from, in an order of the caller's.

    >>> Choice(32, 64, 128).step(64, up=True)
    128
    """

    options: tuple[float, ...]

    def __init__(self, *options: float) -> None:
        if (
            len(options) == 1
            and isinstance(options[0], Iterable)
            and not isinstance(options[0], (str, Set, Mapping))
        ):
            options = tuple(options[0])
        if not all(isinstance(option, numbers.Real) for option in options):
            raise TypeError(f"Choice{options}: options must be numbers (a hyperparameter is a tensor entry).")
        if len(set(options)) < 2:
            raise ValueError(f"Choice{options}: at least two different options are needed.")
        if not all(math.isfinite(option) for option in options):
            raise ValueError(f"Choice{options}: options must be finite numbers.")
        object.__setattr__(self, "options", tuple(options))

    def sample(self, generator: np.random.Generator, near: float | None = None, share: float = 1.0) -> float:
        """A uniform draw, wherever it is asked for: options need not be in an order."""
        return self.options[int(generator.integers(len(self.options)))]

    def step(self, value: float, up: bool) -> float:
        """The neighbour of `value`; at an end it turns back."""
        index = self.options.index(value)
        if (up and index == len(self.options) - 1) or (not up and index == 0):
            up = not up
        return self.options[index + (1 if up else -1)]

    def check(self, name: str, value: object) -> float:
        """`value` itself.

        Raises:
            ValueError: it is none of the options.
        """
        if value not in self.options:
            raise ValueError(f"{name} is {value!r}; the options are {', '.join(map(str, self.options))}.")
        return next(option for option in self.options if option == value)


Range = Float | Integer | Choice
