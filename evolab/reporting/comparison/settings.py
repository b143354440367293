"""The settings of runs as flat names and short values, and which of them set runs apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from evolab.history.display import number

APART = ("seed", "device", "checkpoint_every", "keep", "trackers", "target", "run")
"""Options that do not make two runs different in kind."""
LEADING = ("environment", "algorithm", "population", "network", "network.hidden")
"""Settings that are named first."""

Value: TypeAlias = "bool | int | float | str | None"


def flat(config: Mapping[str, object]) -> dict[str, Value]:
    """Every setting by its dotted name.

    >>> flat({"algorithm": {"type": "DQN", "double": True}, "network": {"hidden": [64, 32]}})
    {'algorithm': 'DQN', 'algorithm.double': True, 'network.hidden': '64×32'}
    >>> flat({"search_space": {"lr": {"type": "Float", "low": 1e-4, "high": 0.01, "grow": 1.2}}})
    {'search_space.lr': '1.0e-4 to 0.01'}
    """
    found: dict[str, Value] = {}
    for name, value in config.items():
        if not isinstance(value, Mapping):
            found[name] = _plain(value)
        elif "low" in value and "high" in value:
            found[name] = f"{number(value['low'])} to {number(value['high'])}"
        else:
            inner = {f"{name}.{key}": v for key, v in value.items() if key != "type"}
            found |= {name: _plain(value["type"])} if "type" in value else {}
            found |= flat(inner)
    return found


def differing(settings: Iterable[Mapping[str, Value]]) -> list[str]:
    """Names of the settings that are not the same in all runs, the most telling first."""
    known = list(settings)
    names = dict.fromkeys(name for one in known for name in one)
    kept = [
        name
        for name in names
        if name.split(".")[0] not in APART and len({repr(one.get(name)) for one in known}) > 1
    ]
    lacking = {name: sum(name not in one for one in known) for name in kept}  # what one algorithm alone has
    return sorted(
        kept, key=lambda name: (LEADING.index(name) if name in LEADING else len(LEADING), lacking[name])
    )


def telling(names: Sequence[str], settings: Sequence[Mapping[str, Value]], most: int) -> list[str]:
    """The few of these names that tell settings apart: each next one parts the most of those still alike.

    >>> telling(["a", "b", "c"], [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3, "c": 0}], 2)
    ['b']
    """
    if len(names) <= most:
        return list(names)

    def parts(chosen: Sequence[str]) -> int:
        return len({repr([one.get(name) for name in chosen]) for one in settings})

    found: list[str] = []
    while len(found) < most:
        best = max(names, key=lambda name: parts([*found, name]), default=None)
        if best is None or parts([*found, best]) == parts(found):
            break
        found.append(best)
    return [name for name in names if name in found]


def words(name: str, value: Value) -> str:
    """A setting as a legend says it.

    >>> words("hyperparameters.lr", 0.00025), words("environment", "CartPole-v1")
    ('lr 2.5e-4', 'CartPole-v1')
    """
    text = (
        number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)[:40]
    )
    return text if name in ("algorithm", "environment") else f"{brief(name)} {text}"


def brief(name: str) -> str:
    """A dotted name without what is said by the rest of it."""
    return name.removeprefix("hyperparameters.").removeprefix("network.")


def _plain(value: object) -> Value:
    if isinstance(value, list | tuple):
        joint = ", " if any(isinstance(v, str) for v in value) else "×"  # names; or the widths of layers
        return joint.join(str(_plain(v)) for v in value) if value else "none"
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
