"""Files on disk: written through to the disk, read only when they are plain, bounded and whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

JSON_LIMIT = 256 * 2**20
"""Bytes of the largest JSON file that is read."""

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Damaged(ValueError):
    """A file of a saved folder is missing, cut short, changed or not a plain file; the message names it."""


@dataclass(frozen=True)
class Later:
    """A tensor that is made when it is written, so that a large one need not be in memory.

    Attributes:
        shape: of the tensor.
        dtype: of its entries.
        make: makes it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]


Part = Tensor | Later


def disk_is_full(error: BaseException) -> bool:
    """True where an error says that there is no space left, on the disk or for this user."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_tensors(path: Path, tensors: Mapping[str, Tensor | Sequence[Part]]) -> dict[str, Any]:
    """Write a safetensors file in one pass, from the tensors' own memory; gives its size and SHA-256."""
    parts: dict[str, list[Part]] = {
        name: [value] if isinstance(value, Tensor) else list(value) for name, value in tensors.items()
    }
    # Largest entries first, so that every tensor is aligned to its own dtype.
    order = sorted(parts, key=lambda name: -parts[name][0].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in order:
        first = parts[name][0]
        shape = list(first.shape)
        if len(parts[name]) > 1:
            shape[0] = sum(part.shape[0] for part in parts[name])
        size = sum(prod(part.shape) * part.dtype.itemsize for part in parts[name])
        place = [offset, offset + size]
        header[name] = {"dtype": _DTYPES[first.dtype], "shape": shape, "data_offsets": place}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    sha = hashlib.sha256()
    with path.open("xb", buffering=2**20) as file:
        for data in (len(text).to_bytes(8, "little"), text):
            file.write(data)
            sha.update(data)
        for name in order:
            for part in parts[name]:
                if prod(part.shape):
                    tensor = part if isinstance(part, Tensor) else part.make()
                    memory = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
                    file.write(memory)
                    sha.update(memory)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": 8 + len(text) + offset, "sha256": sha.hexdigest()}


def write_bytes(path: Path, data: bytes) -> None:
    """Write a new file and have it on the disk before going on."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def draft_of(path: Path) -> Path:
    """A name beside a file that no other thread, process or machine takes: numbers of processes are the same on many."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:16]}.tmp")


def replace_bytes(path: Path, data: bytes) -> None:
    """Replace a file at once: readers see the old content or the new, never a part."""
    draft = draft_of(path)
    try:
        write_bytes(draft, data)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def first_bytes(path: Path, data: bytes) -> bool:
    """Write a file unless it is there: of several that try at once, one does. True where it was this one."""
    draft = draft_of(path)
    try:
        write_bytes(draft, data)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError:  # no hard links on this file system
            try:
                write_bytes(path, data)
            except FileExistsError:
                return False
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        Damaged: it is missing, a link, absurdly large or not well formed.
    """
    if plain_size(path) > JSON_LIMIT:
        raise Damaged(f"{path} is larger than {JSON_LIMIT >> 20} MiB and is not read.")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: {error}") from None


def plain_size(path: Path) -> int:
    """The size of a plain file in bytes.

    Raises:
        Damaged: it is missing, a link, a device or a folder.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise Damaged(f"{path} {why}.") from None
    if not stat.S_ISREG(status.st_mode):
        raise Damaged(f"{path} is not a plain file; links are not followed.")
    return status.st_size


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while data := file.read(2**20):
            sha.update(data)
    return sha.hexdigest()


def sync_file(path: Path) -> None:
    """Have a file's content on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have the folder's entries on the disk, where the system can do that."""
    with suppress(OSError), _opened(path) as handle:
        os.fsync(handle)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
