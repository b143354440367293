"""Flat columns, whatever brought them: D4RL and d3rlpy v1 files, dicts of arrays, DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolab.core.trees import Tree, map_leaves, named_leaves
from evolab.data.datasets.columns import Columns, DatasetError, flags, flat, numeric
from evolab.data.datasets.episodes import early_terminals, from_flags
from evolab.data.datasets.mapped import release_pages

# Every spelling of a column that is understood, the common one first.
SPELLINGS = {
    "observations": ("observations", "observation", "obs", "states"),
    "actions": ("actions", "action"),
    "rewards": ("rewards", "reward"),
    "terminals": ("terminals", "terminal", "terminations", "terminated", "dones", "done"),
    "timeouts": ("timeouts", "timeout", "truncations", "truncated"),
    "ends": ("episode_terminals", "episode_ends"),
    "cuts": ("recording_ends",),
    "next_observations": ("next_observations", "next_observation", "next_obs"),
    "episode": ("episode", "episodes", "episode_id", "episode_ids"),
}
REQUIRED = ("observations", "actions", "rewards")


@dataclass(frozen=True)
class Found:
    """One column by the name it has in the source."""

    key: str
    data: Tree

    def array(self, name: str) -> np.ndarray:
        """The data of a column that is never nested.

        Raises:
            DatasetError: it is nested; `name` is what the message calls the source.
        """
        if not isinstance(self.data, np.ndarray):
            raise DatasetError(f"{name}: {self.key!r} has parts; expected one number per row, in one array.")
        return self.data


def find(names: Iterable[str], get: Callable[[str], Tree], name: str) -> dict[str, Found]:
    """The columns a source has, by role; `get` is called for those alone.

    Raises:
        DatasetError: a required column is missing, or nothing says where an episode ends.
    """
    present = set(names)
    found = {}
    for role, spellings in SPELLINGS.items():
        key = next((s for s in spellings if s in present), None)
        if key is not None:
            found[role] = Found(key, get(key))
    missing = [role for role in REQUIRED if role not in found]
    if missing:
        listed = ", ".join(sorted(map(str, present))[:12]) or "nothing"
        raise DatasetError(
            f"{name}: {missing[0]!r} is missing; found {listed}. Expected observations, actions, rewards and "
            "terminals (or timeouts, episode_terminals), as D4RL has them."
        )
    if not {"terminals", "timeouts", "ends", "episode"} & set(found):
        raise DatasetError(
            f"{name}: 'terminals' is missing, and 'timeouts' and 'episode_terminals' too; nothing says "
            "where an "
            "episode ends. Add 'terminals' (the task ended) and 'timeouts' (a limit cut the episode)."
        )
    return found


def from_flat(found: Mapping[str, Found], name: str, form: str, **known: Any) -> Columns:
    """Columns of N rows each, labels put right.

    Args:
        found: the columns by role; leaves are arrays of the same length.
        name: what messages call the source.
        form: the format in words.
        known: further fields of `Columns`, where the source states them.

    Raises:
        DatasetError: lengths differ, there are fewer than two rows, a column has a wrong
            shape or dtype, or no row ends an episode.
    """
    rows = _rows(found, name)
    casts: dict[str, str] = {}

    def labels(role: str) -> np.ndarray | None:
        column = found.get(role)
        return None if column is None else flags(column.array(name), name, column.key, casts)

    none = np.zeros(rows, bool)
    terminals, timeouts, ends = labels("terminals"), labels("timeouts"), labels("ends")
    if terminals is not None and timeouts is not None and found["terminals"].key in ("dones", "done"):
        terminals = terminals & ~timeouts  # `done` says that an episode ended, for either reason
    terminals = none if terminals is None else terminals
    bounds = ends
    if "episode" in found:
        changes = _changes(found["episode"], name)
        bounds = changes if bounds is None else bounds | changes
    vector = _vector(found["observations"].data)
    early = early_terminals(terminals, bounds, vector)
    if vector is not None:
        release_pages(vector)
    if len(early):
        terminals = terminals.copy()
        terminals[early] = False
    notes = []
    stray = 0 if ends is None else int((terminals & ~ends).sum())
    if stray:
        notes.append(f"{stray} terminal flags that {found['ends'].key!r} does not mark, taken as ends")
    bounds = none if bounds is None else bounds
    followed = "next_observations" in found
    cuts = labels("cuts")
    episodes = from_flags(terminals, none if timeouts is None else timeouts, bounds, followed, cuts)
    if episodes is None:
        keys = " and ".join(
            repr(found[r].key) for r in ("terminals", "timeouts", "ends", "episode") if r in found
        )
        raise DatasetError(
            f"{name}: no episode ends in {rows} rows; {keys} never says so. Mark the last row of every "
            "episode in 'terminals' or 'timeouts'."
        )
    last = rows - 1
    if not (terminals[last] or bounds[last] or (timeouts is not None and timeouts[last])):
        notes.append("the recording ends within an episode, which is taken as truncated there")
    return Columns(
        name=name,
        format=form,
        observations=map_leaves(
            lambda a: numeric(a, name, found["observations"].key), found["observations"].data
        ),
        actions=map_leaves(lambda a: numeric(a, name, found["actions"].key), found["actions"].data),
        rewards=flat(found["rewards"].array(name), name, found["rewards"].key),
        episodes=episodes,
        next_observations=found["next_observations"].data if followed else None,
        doubled=len(early),
        notes=tuple(notes),
        casts=casts,
        **known,
    )


def _rows(found: Mapping[str, Found], name: str) -> int:
    """The common length of all columns."""
    lengths = {}
    for column in found.values():
        for path, leaf in named_leaves(column.data, column.key):
            numeric(leaf, name, path)
            if leaf.ndim == 0:
                raise DatasetError(f"{name}: {path!r} is a single value; expected one entry per row.")
            lengths[path] = len(leaf)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{path!r} {length}" for path, length in lengths.items())
        raise DatasetError(
            f"{name}: lengths differ: {listed} rows; expected one length for all. Cut them to the rows "
            "they share."
        )
    return enough(next(iter(lengths.values())), name, found["observations"].key)


def enough(rows: int, name: str, key: str) -> int:
    """`rows`, if there are at least two.

    Raises:
        DatasetError: there is one row or none.
    """
    if rows < 2:
        raise DatasetError(
            f"{name}: {key!r} holds {'one row' if rows else 'no rows'}; expected at least two, and one whole "
            "episode. Record more steps."
        )
    return rows


def _changes(column: Found, name: str) -> np.ndarray:
    """Rows after which another episode's number begins, [N]; the last row is not one."""
    ids = flat(column.array(name), name, column.key)
    changes = np.append(ids[1:] != ids[:-1], False)
    if ids.dtype.kind == "f" and not np.isfinite(ids).all():
        raise DatasetError(
            f"{name}: {column.key!r} holds NaN; expected the episode's number. Use whole numbers."
        )
    changes[-1] = True  # the numbers say that the rows are whole episodes
    return changes


def _vector(tree: Tree) -> np.ndarray | None:
    """The largest leaf, to measure distances with."""
    arrays = [leaf for _, leaf in named_leaves(tree, "")]
    return max(arrays, key=lambda a: int(np.prod(a.shape[1:]))) if arrays else None
