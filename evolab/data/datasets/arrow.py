"""Minari's folders in arrow's form or in parquet: a folder an episode, read with pyarrow; nothing in it is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Dict, Tuple

from evolab.core.checks import missing
from evolab.core.space_trees import leaf_spaces
from evolab.core.trees import Tree
from evolab.data.datasets import minari, spaces
from evolab.data.datasets.columns import DEPTH, Columns, DatasetError

if TYPE_CHECKING:
    from pyarrow import Array  # type: ignore[import-not-found,import-untyped,unused-ignore]

AGAIN = "Copy or download it again."


def load(folder: Path, known: minari.About, name: str, max_memory: int) -> Columns:
    """The columns of a data set whose episodes lie in `0/part-0.arrow`, `1/part-0.arrow`, ...

    An episode of T steps has T + 1 rows: an observation each, and the last row pads the other columns.

    Raises:
        DatasetError: an episode is missing, damaged, or has a column that is no array of numbers.
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore] # noqa: F401
    except ImportError as error:
        raise missing(f"{name}: reading Minari's {known.form} form", "pyarrow", "arrow") from error
    numbers = sorted(int(path.name) for path in folder.iterdir() if re.fullmatch(r"\d{1,9}", path.name))
    if not numbers:
        raise DatasetError(f"{name}: no folder '0'; the data set is empty. Record at least one episode.")

    def stored() -> Iterator[tuple[int, dict[str, Any]]]:
        for i in numbers:
            table = _table(folder / str(i), known.form, f"{name}: episode {i}")
            columns = {}
            for key, space in known.columns():
                what = f"{name}: '{i}/{key}'"
                if key not in table.column_names:
                    raise DatasetError(
                        f"{what} is missing; Minari stores it for every episode. Record it again."
                    )
                images = (
                    known.encoded
                    and space is not None
                    and any(spaces.is_stored_as_jpeg(leaf) for _, leaf in leaf_spaces(space))
                )
                tree = _tree(table.column(key).combine_chunks(), space, what, 0)
                tree = minari.attach(tree, space) if images else tree
                columns[key] = tree if key == "observations" else _cut(tree)
            yield i, columns

    return minari.gathered(stored(), known, f"Minari {known.form}", name, max_memory)


def _table(place: Path, form: str, what: str) -> Any:
    """Every row of an episode."""
    import pyarrow
    from pyarrow import parquet

    parts = sorted(path for path in place.glob(f"*.{form}") if path.is_file() and not path.is_symlink())
    if not parts:
        raise DatasetError(f"{what}: no file *.{form} in {place}. {AGAIN}")
    try:
        if form == "parquet":
            tables = [parquet.read_table(path, partitioning=None) for path in parts]
        else:
            tables = [pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all() for path in parts]
        table = pyarrow.concat_tables(tables)
        table.validate(full=True)  # lengths and offsets are within the file
        return table
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{what}: {place} is damaged ({said}). {AGAIN}") from error


def _tree(column: Array, space: Space | None, what: str, depth: int) -> Any:
    """A column as arrays [T + 1, ...]; a struct is a dict, or a tuple where its space is one."""
    from pyarrow import types

    kind = column.type
    if column.null_count:
        raise DatasetError(f"{what} has {column.null_count} rows without a value. Record the episode again.")
    if types.is_struct(kind):
        names = [field.name for field in kind]
        if not names or depth >= DEPTH:
            raise DatasetError(f"{what} is empty or nested too deeply; expected arrays.")
        own = space.spaces if isinstance(space, (Dict, Tuple)) else None
        parts = {}
        for place, field in enumerate(names):
            inner = own.get(field) if isinstance(own, dict) else None
            inner = own[place] if isinstance(own, tuple) and place < len(own) else inner
            parts[field] = _tree(column.field(place), inner, f"{what}/{field}", depth + 1)
        counted = names == [str(place) for place in range(len(names))]
        return tuple(parts.values()) if counted and not isinstance(own, dict) else parts
    if types.is_binary(kind) or types.is_large_binary(kind):
        return EncodedColumn(column, what)
    shape: tuple[int, ...] = ()
    while types.is_fixed_size_list(kind):
        shape, kind = (*shape, kind.list_size), kind.value_type
        column = column.flatten()  # honours the offset of a slice
        if column.null_count:
            raise DatasetError(f"{what} has entries without a value. Record the episode again.")
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise DatasetError(f"{what} is {kind}; expected numbers, of one shape in every row.")
    array = column.to_numpy(zero_copy_only=False)
    stated = None if space is None else space.shape  # rows are stored flat
    if stated is not None and shape and int(np.prod(stated)) == int(np.prod(shape)):
        shape = tuple(stated)
    return array.reshape((-1, *shape))


class EncodedColumn:
    """Encoded images as `minari.Frames` takes them: rows of bytes that look like a dataset of h5py.

    Attributes:
        name: the column's.
        file: has the name of the data set.
        shape: (T + 1,).
    """

    def __init__(self, column: Array, what: str) -> None:
        name, _, key = what.partition(": ")
        self.name, self.file, self.shape = key.strip("'"), SimpleNamespace(filename=name), (len(column),)
        self._column = column

    def __getitem__(self, index: object) -> list[np.ndarray]:
        return [np.frombuffer(row.as_py(), np.uint8) for row in self._column]


def _cut(tree: Tree) -> Any:
    """The tree without its last row, which pads it."""
    if isinstance(tree, dict):
        return {key: _cut(part) for key, part in tree.items()}
    return tuple(map(_cut, tree)) if isinstance(tree, tuple) else tree[:-1]
