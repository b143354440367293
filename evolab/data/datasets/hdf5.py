"""HDF5 files from untrusted sources: every array is inspected before it is read.

A file may come from anywhere, so no link is followed but hard ones, and no array is
read whose declared shape the file's own bytes can't fill.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evolab.core.trees import Tree
from evolab.data.datasets.columns import DEPTH, Allocator, DatasetError
from evolab.data.datasets.mapped import release_pages

if TYPE_CHECKING:
    import h5py

BLOCK = 32 * 2**20  # bytes read at once where an array does not fit in memory
DEFLATE = 1_040  # no deflate or LZF stream expands by more
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # those that h5py carries itself
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError, AttributeError)


@contextmanager
def opened(path: Path, name: str) -> Iterator[h5py.File]:
    """The file, opened for reading; whatever HDF5 says about damage becomes a `DatasetError`.

    Raises:
        DatasetError: the file is empty, is not HDF5, is cut short or is damaged.
    """
    import h5py

    if path.stat().st_size == 0:
        raise DatasetError(f"{name}: the file is empty; expected HDF5. Write or download it again.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DatasetError:
        raise
    except DAMAGED as error:
        raise DatasetError(
            f"{name}: HDF5 can't read it "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            "it is not HDF5, or cut short, or damaged. Copy or download it again."
        ) from error


def member(group: h5py.Group, key: str, name: str, images: bool = False) -> Any:
    """The dataset or group behind a hard link, or None where there is no such key.

    Args:
        group: where to look.
        key: what to look for.
        name: what messages call the file.
        images: True where rows of bytes of different length are allowed (encoded images).

    Raises:
        DatasetError: the key is a soft, external or user-defined link.
    """
    import h5py

    if not group.id.links.exists(key.encode()):
        return None
    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
        raise DatasetError(
            f"{name}: {_path(group, key)!r} is {kind}, which is not followed; expected the data itself. "
            "Copy the data into the file (h5copy)."
        )
    found = group[key]
    if isinstance(found, h5py.Dataset):
        inspect(found, name, images)
    elif not isinstance(found, h5py.Group):
        raise DatasetError(f"{name}: {_path(group, key)!r} is a stored type; expected data.")
    return found


def tree(group: h5py.Group, key: str, name: str, images: bool = False, depth: int = 0) -> Tree:
    """A tree of inspected datasets (not read yet), or None where there is no such key.

    A group whose members are `_index_0`, `_index_1`, ... is a tuple, any other a dict.

    Raises:
        DatasetError: a link or a dataset in it is refused, or a group is empty or nested too deeply.
    """
    import h5py

    found = member(group, key, name, images)
    if not isinstance(found, h5py.Group):
        return found
    names = list(found.keys())
    if not names or depth >= DEPTH:
        raise DatasetError(
            f"{name}: group {_path(group, key)!r} is empty or nested too deeply; expected arrays."
        )
    parts = {k: tree(found, k, name, images, depth + 1) for k in names}
    if set(parts) == {f"_index_{i}" for i in range(len(parts))}:
        return tuple(parts[f"_index_{i}"] for i in range(len(parts)))
    return parts


def inspect(dataset: h5py.Dataset, name: str, images: bool = False) -> None:
    """Pass a dataset that may be read: plain numbers, stored in this file, all of them.

    Raises:
        DatasetError: objects, strings or records; virtual or external storage; filters that
            need a plugin; a declared shape that the stored bytes can't fill.
    """
    import h5py

    key = (dataset.name or "?").lstrip("/")
    try:
        dtype = dataset.dtype
    except TypeError as error:
        raise DatasetError(
            f"{name}: {key!r} has a type that numpy lacks ({error}). Store plain numbers."
        ) from error
    bytes_rows = images and dtype.kind == "O" and h5py.check_vlen_dtype(dtype) == np.uint8
    if dtype.kind not in "biuf" and not bytes_rows:
        raise DatasetError(
            f"{name}: {key!r} has dtype {dtype}; expected numbers or booleans. Store it as a plain numeric "
            "array."
        )
    if dataset.shape is None:
        raise DatasetError(f"{name}: {key!r} has no shape (null dataspace); expected an array.")
    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise DatasetError(
            f"{name}: {key!r} is a virtual dataset, whose data lie in other files; these are not opened. "
            "Copy the data into this file."
        )
    if layout == h5py.h5d.CONTIGUOUS and plist.get_external_count():
        raise DatasetError(
            f"{name}: {key!r} is stored in an external file, which is not opened. Copy the data into this "
            "file."
        )
    declared = dtype.itemsize
    for extent in dataset.shape:
        declared *= int(extent)
    size = os.fstat(dataset.file.id.get_vfd_handle()).st_size
    stored = dataset.id.get_storage_size()
    if layout == h5py.h5d.CHUNKED:
        declared = _fits_in_chunks(dataset, plist, declared, stored, name, key)
    elif layout == h5py.h5d.CONTIGUOUS and declared:
        offset = dataset.id.get_offset()
        stored = 0 if offset is None else min(stored, size - offset)
    if declared > stored or stored > size:
        raise DatasetError(
            f"{name}: {key!r} declares shape {dataset.shape} of {dtype}, {declared} bytes, but the file "
            f"({size} bytes) stores {stored} of them. It is damaged or was never filled; write it again."
        )


def _fits_in_chunks(
    dataset: h5py.Dataset, plist: h5py.h5p.PropDCID, declared: int, stored: int, name: str, key: str
) -> int:
    """Bytes that the chunks must hold at the very least for the declared shape to be real."""
    for i in range(plist.get_nfilters()):
        code = plist.get_filter(i)[0]
        if code not in FILTERS:
            raise DatasetError(
                f"{name}: {key!r} is compressed with filter {code}; expected {', '.join(FILTERS.values())}. "
                "Store it again with compression='gzip'."
            )
    chunk = dataset.dtype.itemsize
    needed = 1
    for extent, side in zip(dataset.shape, dataset.chunks, strict=True):
        chunk *= int(side)
        needed *= -(-int(extent) // int(side))
    if not declared:
        return 0
    if chunk > max(16 * declared, 2**26):
        raise DatasetError(
            f"{name}: {key!r} has chunks of {chunk} bytes for {declared} bytes of data. Store it again, "
            "with smaller chunks."
        )
    packed = plist.get_nfilters() > 0
    least = -(-needed * chunk // DEFLATE) if packed else needed * chunk
    if dataset.id.get_num_chunks() < needed:
        return max(least, stored + 1)  # some chunks are missing: their rows were never written
    return least


def read(dataset: h5py.Dataset, room: Allocator) -> np.ndarray:
    """The inspected dataset as an array: in memory, or mapped from disk where room is short."""
    if not room.on_disk:
        return np.asarray(dataset[()])
    offset = dataset.id.get_offset() if dataset.chunks is None else None
    # NumPy's own bytes; bool is an enum.
    if offset is not None and dataset.size and dataset.dtype.kind in "iuf":
        return np.memmap(dataset.file.filename, dataset.dtype, "r", offset, dataset.shape)
    out = room.empty(dataset.shape, dataset.dtype)
    copy(dataset, out)
    return out


def copy(dataset: h5py.Dataset, out: np.ndarray) -> None:
    """Fill `out` with the dataset, a block of whole chunks at a time."""
    if not dataset.shape or dataset.size * dataset.dtype.itemsize <= BLOCK:
        out[...] = dataset[()]
        return
    row = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
    step = dataset.chunks[0] if dataset.chunks else 1
    rows = max(step, BLOCK // max(row, 1) // step * step)
    for start in range(0, dataset.shape[0], rows):
        out[start : start + rows] = dataset[start : start + rows]
        release_pages(out)


def size(dataset: h5py.Dataset) -> int:
    """Bytes of the dataset once it is read."""
    return int(np.prod(dataset.shape, dtype=object)) * int(dataset.dtype.itemsize)


def _path(group: h5py.Group, key: str) -> str:
    return f"{group.name or ''}/{key}".lstrip("/")
