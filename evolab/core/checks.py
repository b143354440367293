"""What is said about bad input: what came, what was expected, what to do.

Plain functions for the borders of the package (`Experiment`, loaders, checkpoints).
Those that test a value return it, so that a check can stand where the value is used;
those that name a mistake return the exception, so that the `raise` stays visible.
"""

from __future__ import annotations

import math
import numbers
import sys
import warnings
from collections.abc import Iterable, Mapping, Set
from os import PathLike
from pathlib import Path

LISTED = 60  # names listed in full; beyond that a message is no longer read


def nearest(name: object, known: Iterable[str]) -> str:
    """A question that names the closest known spelling, or "" where nothing is close.

    >>> nearest("TD5", ["BC", "DQN", "TD3"])
    "did you mean 'TD3'?"
    >>> nearest("xyz", ["BC", "DQN", "TD3"])
    ''
    """
    import difflib  # 1 ms, which `import evolab` does not pay

    spelling = {option.lower(): option for option in known}
    match = difflib.get_close_matches(str(name).lower(), spelling, n=1, cutoff=0.5)
    return f"did you mean {spelling[match[0]]!r}?" if match else ""


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not known: it lists those that are and suggests the nearest.

    Args:
        kind: what the name was to name, such as "algorithm".
        name: what came.
        known: every name that would have been right.

    >>> unknown("algorithm", "TD5", ["TD3", "BC", "DQN"])
    ValueError("Unknown algorithm 'TD5'. Known: BC, DQN, TD3; did you mean 'TD3'?")
    """
    names = sorted(set(known))
    listed = ", ".join(names[:LISTED]) or "none"
    if len(names) > LISTED:
        listed += f" and {len(names) - LISTED} more"
    suggestion = nearest(name, names)
    return ValueError(f"Unknown {kind} {name!r}. Known: {listed}{'; ' + suggestion if suggestion else '.'}")


ELSEWHERE = {
    "learning_rate": "hyperparameters={'lr': ...}, or 'lr_actor' and 'lr_critic'",
    "lr": "hyperparameters={'lr': ...}, or 'lr_actor' and 'lr_critic'",
    "gamma": "hyperparameters={'discount': ...}",
    "batch_size": "hyperparameters={'batch_size': ...}",
    "ent_coef": "hyperparameters={'entropy_coefficient': ...} of PPO, {'entropy_per_action': ...} of SAC",
    "buffer_size": "buffer=...",
    "n_envs": "num_envs=...",
    "replay_buffer_class": "hyperparameters={'hindsight': 0.8} for goals that were reached",
    "n_steps": "buffer=..., the steps of a rollout",
    "pop_size": "population=...",
    "net_arch": "network=[64, 64]",
    "total_timesteps": "exp.run(max_steps=...)",
}
"""What other libraries call an option, and how it is said here."""


def unknown_option(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for an option that there is not; says how it is said here where other libraries have it.

    >>> unknown_option("Experiment", "pop_size", ["population"])
    ValueError("Unknown option of Experiment 'pop_size'. In evolab that is population=....")
    """
    if name in ELSEWHERE:
        return ValueError(f"Unknown option of {kind} {name!r}. In evolab that is {ELSEWHERE[name]}.")
    return unknown(f"option of {kind}", name, known)


METHODS = {
    "predict": "exp.best.act(observation), or agent.act(observation)",
    "learn": "exp.run(max_steps=...)",
    "train": "exp.run(max_steps=...)",
    "fit": "exp.run(max_steps=...)",
    "evaluate": "ev.evaluate(exp.best, environment, episodes)",
    "get_action": "exp.best.act(observation), or agent.act(observation)",
    "select_action": "exp.best.act(observation), or agent.act(observation)",
}
"""What other libraries call a method, and how it is said here."""


def no_method(owner: object, name: str, kind: str | None = None) -> AttributeError:
    """The error for an attribute that there is not; says how it is called here where other libraries have it."""
    kind = kind or type(owner).__name__
    hint = f". In evolab that is {METHODS[name]}." if name in METHODS else ""
    return AttributeError(f"{kind!r} object has no attribute {name!r}{hint}", name=name, obj=owner)


def missing(part: str, package: str, extra: str) -> ImportError:
    """The error for a part whose optional package is not installed.

    >>> missing("the W&B tracker", "wandb", "wandb")
    ImportError('the W&B tracker needs wandb: pip install "evolab[wandb]".')
    """
    return ImportError(f'{part} needs {package}: pip install "evolab[{extra}]".')


def notice(message: str) -> None:
    """Warn without stopping: where warnings are errors, the message goes to the standard error output.

    The warning names the line of the caller's own code, outside evolab.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "evolab":
        level, frame = level + 1, frame.f_back
    try:
        warnings.warn(message, stacklevel=level)
    except Warning:
        print(message, file=sys.stderr)


def path(name: str, value: object) -> Path:
    """`value` as a path, in which "~" is the user's home.

    Raises:
        TypeError: `value` is neither text nor a path.

    >>> path("folder", "runs/lander").name
    'lander'
    """
    if not isinstance(value, (str, PathLike)):
        raise TypeError(f"{name} is {_shown(value)}; a path is expected, such as 'runs/lander'.")
    return Path(value).expanduser()


def positive_integer(name: str, value: object, minimum: int = 1) -> int:
    """`value` as an int of at least `minimum`.

    Args:
        name: the argument's name, as the user wrote it.
        value: what came; numpy integers are whole numbers, bools and floats are not.
        minimum: the smallest value allowed.

    Raises:
        TypeError: `value` is not a whole number.
        ValueError: it is smaller than `minimum`.

    >>> positive_integer("population", 4)
    4
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        hint = f" Write {name}={int(value)}." if isinstance(value, float) and value.is_integer() else ""
        raise TypeError(f"{name} is {_shown(value)}; expected a whole number >= {minimum}.{hint}")
    if value < minimum:
        raise ValueError(f"{name} is {value}; expected a whole number >= {minimum}.")
    return int(value)


def sizes(value: object) -> tuple[int, ...]:
    """Whole numbers of at least 1, of a list or array of them or of a single one; () for everything else.

    >>> sizes([64, 32.0]), sizes(64), sizes([64, 0]), sizes("64")
    ((64, 32), (64,), (), ())
    """
    listed = [value] if isinstance(value, numbers.Real) else value
    if isinstance(listed, (str, bytes, Mapping, Set)) or not isinstance(listed, Iterable):
        return ()
    found = list(listed)
    return tuple(map(int, found)) if found and all(map(_is_size, found)) else ()


def _is_size(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value < 1:
        return False
    return isinstance(value, numbers.Integral) or float(value).is_integer()


def widths(name: str, value: object) -> tuple[int, ...]:
    """The widths of hidden layers: one or several whole numbers of at least 1.

    Raises:
        ValueError: `value` is something else.
    """
    found = sizes(value)
    if not found:
        raise ValueError(f"{name} is {value!r}; widths of at least 1 are expected, such as [64, 64].")
    return found


def finite(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a finite float in [low, high].

    Args:
        name: the argument's name, as the user wrote it.
        value: what came; integers are numbers, bools are not.
        low: the smallest value allowed.
        high: the largest value allowed.

    Raises:
        TypeError: `value` is not a number.
        ValueError: it is NaN or infinite, or outside the range.

    >>> finite("tau", 0.005, low=0.0, high=1.0)
    0.005
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {_shown(value)}; expected a number{_range(low, high)}.")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; expected a finite number{_range(low, high)}.")
    if not low <= number <= high:
        raise ValueError(f"{name} is {value}; expected a number{_range(low, high)}.")
    return number


def positive(name: str, value: object) -> float:
    """`value` as a finite float above 0.

    Raises:
        TypeError: `value` is not a number.
        ValueError: it is NaN or infinite, or not above 0.

    >>> positive("minutes", 10)
    10.0
    """
    number = finite(name, value)
    if number <= 0:
        raise ValueError(f"{name} is {value}; expected a number above 0.")
    return number


def probability(name: str, value: object) -> float:
    """`value` as a float in [0, 1].

    Raises:
        TypeError: `value` is not a number.
        ValueError: it is NaN or outside [0, 1].

    >>> probability("new_layer", 0.2)
    0.2
    """
    return finite(name, value, low=0.0, high=1.0)


def flag(name: str, value: object) -> bool:
    """`value` as True or False.

    Raises:
        TypeError: `value` is neither.

    >>> flag("shared", True)
    True
    """
    if not isinstance(value, bool) and str(getattr(value, "dtype", "")) != "bool":  # NumPy's
        raise TypeError(f"{name} is {_shown(value)}; True or False is expected.")
    return bool(value)


def _range(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(high):
        return f" >= {low:g}"
    if math.isinf(low):
        return f" <= {high:g}"
    return f" in [{low:g}, {high:g}]"


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
