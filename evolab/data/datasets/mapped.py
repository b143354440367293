"""Arrays that stay on disk: mapped files, looked at without counting as memory."""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np

from evolab.core.trees import Tree, named_leaves
from evolab.data.datasets.columns import DatasetError

HELD = 64 * 2**20
"""Bytes that may be written to a map before its pages are let go."""


def release_pages(array: np.ndarray) -> None:
    """Give a mapped file's pages back to the system, which reads them again when they are needed.

    They count as the process's memory otherwise, as much as was ever looked at. Nothing is lost:
    a map is shared with its file, so that written pages live on in the system's cache.
    """
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


class MappedRows:
    """Rows of mapped arrays, read from their files.

    Looking at a row through the map would bring a whole neighbourhood of it into memory (1.3 MiB
    for an image of 7 KiB, measured on Linux), and the process would die where the file was cut
    short meanwhile.

    Args:
        tree: arrays; those that are not mapped are passed over.
        name: what messages call the source.
    """

    def __init__(self, tree: Tree, name: str) -> None:
        self.name = name
        self._files: dict[Any, int] = {}  # open descriptors: a name may come to mean another file
        if not hasattr(os, "preadv"):
            return
        for _, leaf in named_leaves(tree, ""):
            if not isinstance(leaf, np.memmap) or leaf.filename is None or not leaf.flags.c_contiguous:
                continue
            if leaf.filename not in self._files:
                self._files[leaf.filename] = descriptor = os.open(leaf.filename, os.O_RDONLY)
                weakref.finalize(self, os.close, descriptor)

    def take(self, leaf: np.memmap, rows: np.ndarray) -> np.ndarray:
        """[B, ...] of the array's own dtype, for rows [B] that all exist.

        Raises:
            DatasetError: the file has become shorter.
        """
        order = np.argsort(rows, kind="stable")  # the disk is read in one direction
        out = np.empty((len(rows), *leaf.shape[1:]), leaf.dtype)
        descriptor = self._files.get(leaf.filename)
        if descriptor is None or not out.size:
            out[order] = leaf[rows[order]]
            release_pages(leaf)
            return out
        size, start = out[0].nbytes, int(leaf.offset)
        room = out.reshape(-1).view(np.uint8).data
        for place, row in zip(order.tolist(), rows[order].tolist(), strict=True):
            if os.preadv(descriptor, [room[place * size : (place + 1) * size]], start + row * size) != size:
                raise DatasetError(
                    f"{self.name}: row {row} is gone; the file was cut short or written anew since it was "
                    "opened. Keep it as it is while it is used, and load it again."
                )
        return out
