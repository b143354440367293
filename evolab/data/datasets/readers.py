"""Which reader a source needs, found out by looking at it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from evolab.data.datasets import arrow, d3rlpy, d4rl, hdf5, minari, tables
from evolab.data.datasets.columns import Columns, DatasetError

if TYPE_CHECKING:
    from pandas import DataFrame

TABLES = {".npz": tables.from_npz, ".parquet": tables.from_parquet}
OTHERS = {
    ".csv": "pandas.read_csv", ".tsv": "pandas.read_csv", ".json": "pandas.read_json", ".jsonl": "pandas.read_json",
    ".feather": "pandas.read_feather", ".arrow": "pyarrow", ".npy": "numpy.load", ".mat": "scipy.io.loadmat",
    ".pt": "torch.load", ".pth": "torch.load", ".pkl": "pickle", ".pickle": "pickle", ".zarr": "zarr",
}  # fmt: skip
"""Forms that data come in and that are not read, and what reads them."""


def columns_of(source: object, name: str | None, max_memory: int) -> Columns:
    """The columns of any source that `Dataset` takes.

    Raises:
        DatasetError: there is no such file or data set, or its reader refuses it.
        TypeError: `source` is of no kind that is read.
    """
    if isinstance(source, Mapping):
        file = getattr(getattr(source, "zip", None), "filename", None)  # of an .npz that is open
        return tables.from_mapping(source, name or (Path(file).name if file else "arrays"))
    if hasattr(source, "columns") and hasattr(source, "to_numpy"):
        return tables.from_frame(cast("DataFrame", source), name or "DataFrame")
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"source is {type(source).__name__}; expected a path, a Minari id, a dict of arrays or a "
            "DataFrame."
        )
    path = Path(source).expanduser()
    folder = None if path.is_file() else minari.folder(source if isinstance(source, str) else path)
    if folder is not None:
        called = folder.parent.name if folder.name == "data" else folder.name
        label = name or (called if path.exists() else str(source))  # an id is told in full
        if not (folder / minari.MAIN).is_file():
            known = minari.about(folder, label)
            if known.form != "hdf5":
                return arrow.load(folder, known, label, max_memory)
            raise DatasetError(f"{label}: {minari.MAIN!r} is missing in {folder}. Copy or download it again.")
        path = folder / minari.MAIN
    elif path.is_dir():
        raise DatasetError(
            f"{path}: the folder has no {minari.MAIN!r}; expected a Minari data set. Give the path of a "
            "file in it."
        )
    elif not path.is_file():
        hint = minari.suggestion(str(source))
        raise DatasetError(
            f"{source}: neither a file nor a Minari data set under "
            f"{minari.root()}{'; ' + hint if hint else '.'} Check the path, or set MINARI_DATASETS_PATH."
        )
    else:
        label = name or path.name
        if path.suffix.lower() in TABLES:
            return TABLES[path.suffix.lower()](path, label)
        if path.suffix.lower() in OTHERS:
            raise DatasetError(
                f"{label}: {path.suffix} is not read. Read it yourself, with {OTHERS[path.suffix.lower()]}, and give "
                "the frame or the dict of arrays. Files that are read: .h5, .hdf5, .npz, .parquet."
            )
    with hdf5.opened(path, label) as file:
        names = set(file)
        if "num_episodes" in names or "observations_0" in names:
            reader = d3rlpy.load
        elif any(key.startswith("episode_") and key[8:].isdigit() for key in names):
            reader = minari.load
        else:
            reader = minari.load if folder is not None else d4rl.load
        return reader(file, path, label, max_memory)
