"""Tables: a dict of numpy arrays, a pandas DataFrame, and the files of both, .npz and .parquet."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.npyio import NpzFile
from torch import Tensor

from evolab.core.checks import missing
from evolab.core.trees import Tree
from evolab.data.datasets.columns import DEPTH, Columns, DatasetError, numeric
from evolab.data.datasets.layouts import REQUIRED, SPELLINGS, Found, find, from_flat

if TYPE_CHECKING:
    from pandas import DataFrame

DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError),
    *(NotImplementedError, RuntimeError, MemoryError, OverflowError, UnicodeError, IndexError),
)
"""What numpy, zipfile and zlib raise on damaged bytes."""


def from_mapping(source: Mapping[str, object], name: str) -> Columns:
    """The columns of a dict of arrays, keys as in D4RL files or in the singular.

    Args:
        source: observations and next_observations may be dicts or tuples of arrays; an
            `episode` column of numbers says which rows belong together.
        name: what messages call it.

    Raises:
        DatasetError: see `layouts.from_flat`.
    """
    form = "npz" if isinstance(source, NpzFile) else "arrays"
    if isinstance(source, NpzFile) and source.zip is None:
        raise DatasetError(f"{name}: the .npz is closed. Read it within its `with`, or pass its path.")

    def get(key: str) -> Tree:
        return _tree(_array(source, key, name) if isinstance(source, NpzFile) else source[key], name, key, 0)

    return from_flat(find(source, get, name), name, form)


def from_npz(path: Path, name: str) -> Columns:
    """The columns of numpy's .npz, keys as in D4RL files; nothing in it is executed.

    Raises:
        DatasetError: it is damaged (the array is named), or see `layouts.from_flat`.
    """
    try:
        source = np.load(path, allow_pickle=False)
    except DAMAGED as error:
        raise DatasetError(
            f"{name}: it is no .npz, or damaged ({_said(error)}). Copy or write it again."
        ) from error
    if not isinstance(source, NpzFile):
        raise DatasetError(f"{name}: it holds a single array; expected several, as np.savez writes them.")
    with source:
        return from_mapping(source, name)


def from_parquet(path: Path, name: str) -> Columns:
    """The columns of a .parquet file, as pandas reads it; see `from_frame`.

    Raises:
        DatasetError: it is damaged, or see `from_frame`.
        ImportError: neither pyarrow nor fastparquet is installed.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise missing(f"{name}: reading .parquet", "pyarrow", "arrow") from error
    except Exception as error:  # what the two engines raise is of their own kinds
        raise DatasetError(
            f"{name}: it is no .parquet, or damaged ({_said(error)}). Copy or download it again."
        ) from error
    return from_frame(frame, name)


def _array(source: NpzFile, key: str, name: str) -> np.ndarray:
    try:
        return np.asarray(source[key])
    except MemoryError as error:
        raise DatasetError(
            f"{name}: {key!r} can't be read ({_said(error)}): its head is damaged, or it is too large for a .npz, which is "
            "read as a whole. HDF5 stays on disk."
        ) from error
    except DAMAGED as error:
        raise DatasetError(
            f"{name}: {key!r} can't be read ({_said(error)}); it is damaged, or holds objects. "
            "Copy or write it again, as plain numbers."
        ) from error


def _said(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def from_frame(frame: DataFrame, name: str) -> Columns:
    """The columns of a DataFrame, one row per step in the order of time.

    A column such as `observation` holds a number or a vector per row; a vector may
    also be spread over columns `observation_0`, `observation_1`, ... Where the rewards hold a
    list per row, as in data sets of Hugging Face, a row is an episode.

    Raises:
        DatasetError: numbered columns have a gap, or see `layouts.from_flat`.
    """
    reward = next((key for key in SPELLINGS["rewards"] if key in frame.columns), None)
    if reward is not None and len(frame) and np.ndim(frame[reward].iloc[0]) == 1:
        return from_flat(_episodes(frame, name, reward), name, "DataFrame of episodes")
    columns: dict[str, Any] = {}
    spread: dict[str, dict[int, str]] = {}
    known = {spelling for spellings in SPELLINGS.values() for spelling in spellings}
    for column in map(str, frame.columns):
        match = re.fullmatch(r"(\w+?)_(\d{1,6})", column)
        if match and match[1] in known:
            spread.setdefault(match[1], {})[int(match[2])] = column
        else:
            columns[column] = None
    for base, parts in spread.items():
        if sorted(parts) != list(range(len(parts))):
            raise DatasetError(
                f"{name}: columns '{base}_*' are numbered {sorted(parts)}; expected 0 to {len(parts) - 1} "
                "without a gap."
            )
        columns[base] = [parts[i] for i in range(len(parts))]
    text = {str(column): column for column in frame.columns}

    def get(key: str) -> Tree:
        parts = columns[key]
        if parts is None:
            return _tree(frame[text[key]].to_numpy(), name, key, 0)
        return _tree(frame[[text[part] for part in parts]].to_numpy(), name, key, 0)

    return from_flat(find(columns, get, name), name, "DataFrame")


def _episodes(frame: DataFrame, name: str, reward: str) -> dict[str, Found]:
    """The columns of a frame with one row per episode, joined; an episode of T rewards may have T + 1 observations."""
    lengths = [len(cell) for cell in frame[reward]]
    present = {
        role: next(key for key in spellings if key in frame.columns)
        for role, spellings in SPELLINGS.items()
        if role not in ("episode", "ends") and any(key in frame.columns for key in spellings)
    }
    parts: dict[str, list[np.ndarray]] = {}
    for role, key in present.items():
        for row, (cell, length) in enumerate(zip(frame[key], lengths, strict=True)):
            steps: np.ndarray = _tree(list(cell), name, f"{key} of row {row}", 0)
            if role == "observations" and len(steps) == length + 1 and "next_observations" not in present:
                parts.setdefault("next_observations", []).append(steps[1:])
                steps = steps[:-1]
            if len(steps) != length:
                raise DatasetError(
                    f"{name}: {key!r} has {len(steps)} entries in row {row}, {reward!r} {length}; expected as many."
                )
            parts.setdefault(role, []).append(steps)
    if len(parts.get("next_observations", lengths)) != len(lengths):
        raise DatasetError(f"{name}: some episodes have one observation more than rewards, others as many.")
    found = {role: Found(present.get(role, role), np.concatenate(steps)) for role, steps in parts.items()}
    ends = np.zeros(sum(lengths), bool)
    ends[np.cumsum(lengths) - 1] = True
    found["ends"] = Found("row", ends)
    missing = [role for role in REQUIRED if role not in found]
    if missing:
        raise DatasetError(f"{name}: {missing[0]!r} is missing; found {', '.join(map(str, frame.columns))}.")
    return found


def _tree(value: object, name: str, key: str, depth: int) -> Any:
    if depth > DEPTH:
        raise DatasetError(f"{name}: {key!r} is nested too deeply; expected arrays.")
    if isinstance(value, Mapping):
        if not value:
            raise DatasetError(f"{name}: {key!r} is an empty dict; expected arrays.")
        return {str(k): _tree(v, name, f"{key}/{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, tuple):
        if not value:
            raise DatasetError(f"{name}: {key!r} is an empty tuple; expected arrays.")
        return tuple(_tree(v, name, f"{key}/{i}", depth + 1) for i, v in enumerate(value))
    try:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        while array.dtype == object and len(array) and np.ndim(array.flat[0]):
            array = np.stack([np.asarray(row) for row in array])  # a vector in every row, or a list of them
        if array.dtype == object and array.size:
            array = np.asarray(array.tolist())  # numbers that pandas kept as objects
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"{name}: {key!r} is no array ({error}); expected entries of one shape. Pad or drop the odd rows."
        ) from error
    return numeric(array, name, key)
