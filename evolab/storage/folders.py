"""Folders on disk that are whole or not there: written aside, checksummed, renamed; never pickled.

A folder's `manifest.json` names every file that belongs to it with its size and SHA-256 and is
written last. Readers check it first: a file that is missing, short, changed or a link is
named in a `Damaged` error before a byte of it is interpreted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from evolab.core.version import VERSION
from evolab.storage.files import (
    Damaged,
    Part,
    digest,
    plain_size,
    read_json,
    sync_file,
    sync_folder,
    write_bytes,
    write_tensors,
)

FORMAT = 1
"""Version of everything that evolab writes; a reader refuses a later one."""

MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Draft:
    """A folder that is being written under a temporary name.

    Attributes:
        path: the temporary folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, dict[str, Any]] = {}

    def tensors(self, name: str, tensors: Mapping[str, Tensor | Sequence[Part]]) -> None:
        """Write a safetensors file; a sequence of tensors is stored end to end as one."""
        self._files[name] = write_tensors(self.path / name, tensors)

    def json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        data = (json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode()
        write_bytes(self.path / name, data)
        self._files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def text(self, name: str, text: str) -> None:
        """Write a text file that readers may edit: it is not in the manifest."""
        write_bytes(self.path / name, text.encode())

    def share(self, name: str, source: Path, entry: Mapping[str, object]) -> None:
        """Take over a file of an older folder that never changes, as a hard link where possible."""
        try:
            os.link(source, self.path / name)
        except OSError:  # no hard links on this file system
            shutil.copyfile(source, self.path / name)
            sync_file(self.path / name)
        self._files[name] = dict(entry)

    def entry(self, name: str) -> dict[str, Any]:
        """Size and checksum of a file already written."""
        return self._files[name]

    def finish(self, kind: str) -> None:
        """Write the manifest."""
        manifest = {"format": FORMAT, "kind": kind, "evolab": VERSION, "files": self._files}
        text = json.dumps(manifest | {"sha256": self_digest(manifest)}, indent=1) + "\n"
        write_bytes(self.path / MANIFEST, text.encode())
        sync_folder(self.path)


def self_digest(manifest: Mapping[str, object]) -> str:
    """SHA-256 of a manifest's content, which it carries itself."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def drafting(folder: Path, kind: str, owned: bool = False) -> Iterator[Draft]:
    """A `Draft` that becomes `folder` when the block ends well, and leaves nothing behind otherwise.

    An existing folder of the same kind, or of any kind where it is `owned` by a run, is replaced;
    files in it that evolab did not write are kept.

    Raises:
        FileExistsError: `folder` exists and is not of this kind.
    """
    folder = Path(folder)
    recover(folder)
    if folder.exists() and not owned and not replaceable(folder, kind):
        raise FileExistsError(f"{folder} exists and holds no evolab {kind}. Choose another folder.")
    folder.parent.mkdir(parents=not owned, exist_ok=True)  # a run's own folder is there, or away
    draft = Draft(folder.parent / f".{folder.name}.{os.getpid()}-{time.monotonic_ns() % 10**9}.tmp")
    draft.path.mkdir()
    try:
        yield draft
        draft.finish(kind)
        swap(draft.path, folder)
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise


def replaceable(folder: Path, kind: str) -> bool:
    """True where nothing of the user's would be lost by writing a folder of this kind there."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        return bool(read_json(folder / MANIFEST).get("kind") == kind)
    except (ValueError, AttributeError):
        return (folder / MANIFEST).exists()


def swap(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; the old folder is whole until then, beside it as `.NAME.before`."""
    before = aside(folder)
    if folder.exists():
        shutil.rmtree(before, ignore_errors=True)
        os.rename(folder, before)
        try:
            os.rename(new, folder)
        except BaseException:
            os.rename(before, folder)
            raise
        _keep_foreign(before, folder)
    else:
        os.rename(new, folder)
    sync_folder(folder.parent)
    shutil.rmtree(before, ignore_errors=True)


def aside(folder: Path) -> Path:
    """Where the folder's former content lies for the moment of its replacement."""
    return folder.parent / f".{folder.name}.before"


def recover(folder: Path) -> None:
    """Finish what a process that was killed within `swap` has left, before anything is written there.

    Where the new content was not there yet the old one goes back to its place; where it was, the old one goes.
    """
    before = aside(folder)
    if not before.is_dir() or before.is_symlink():
        return
    if folder.exists():
        _keep_foreign(before, folder)
        shutil.rmtree(before, ignore_errors=True)
    else:
        os.rename(before, folder)
        sync_folder(folder.parent)


def _keep_foreign(before: Path, folder: Path) -> None:
    """Move what the user put into the old folder, such as pictures, into the new one."""
    with suppress(ValueError):
        ours = set(read_json(before / MANIFEST)["files"]) | {MANIFEST, "README.md"}
        for entry in before.iterdir():
            if entry.name not in ours and not (folder / entry.name).exists():
                os.rename(entry, folder / entry.name)


class Saved:
    """A folder written by `drafting`, opened for reading: every file is checked before it is used.

    Args:
        folder: where it is.
        kind: what it must be, such as "agent".

    Raises:
        FileNotFoundError: there is nothing.
        Damaged: the manifest is missing or not well formed, or the folder is a link.
        ValueError: it was written by a newer evolab, or is of another kind.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.path = folder = Path(folder)
        if not folder.exists() and aside(folder).is_dir():
            self.path = folder = aside(folder)  # a crash came between the two renames of `swap`
        if not folder.exists() and not folder.is_symlink():
            raise FileNotFoundError(f"there is no {kind} at {folder}.")
        if folder.is_symlink() or not folder.is_dir():
            raise Damaged(f"{folder} is not a plain folder; links are not followed.")
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise Damaged(f"{folder / MANIFEST} is damaged: it lists no files.")
        if manifest.get("sha256") != self_digest(manifest):
            raise Damaged(f"{folder / MANIFEST} is damaged: its SHA-256 is not its own.")
        if manifest.get("kind") != kind:
            raise ValueError(f"{folder} holds a {manifest.get('kind')!r}, no {kind}.")
        if not isinstance(manifest.get("format"), int) or manifest["format"] > FORMAT:
            raise ValueError(
                f"{folder} has format {manifest.get('format')}; this evolab reads up to {FORMAT}. "
                "Upgrade with: pip install --upgrade evolab"
            )
        self.files: dict[str, dict[str, Any]] = manifest["files"]
        self._whole: set[str] = set()
        for name in self.files:
            if not _NAME.fullmatch(name):
                raise Damaged(f"{folder / MANIFEST} names a file {name!r}, which is no plain file name.")

    def check(self) -> None:
        """Check every file.

        Raises:
            Damaged: names the first file that is not as it was written.
        """
        for name in self.files:
            self.checked(name)

    def checked(self, name: str) -> Path:
        """The path of a file, once its size and checksum are right.

        Raises:
            Damaged: they are not, or the file is missing.
        """
        path, entry = self.path / name, self.files.get(name)
        if name in self._whole:
            return path
        if not isinstance(entry, dict):
            raise Damaged(f"{self.path / MANIFEST} does not list {name}.")
        size = plain_size(path)
        if size != entry.get("bytes"):
            raise Damaged(f"{path} is damaged: it has {size} bytes, {entry.get('bytes')} were written.")
        if digest(path) != entry.get("sha256"):
            raise Damaged(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}.")
        self._whole.add(name)
        return path

    def json(self, name: str) -> Any:
        """The content of a JSON file."""
        return read_json(self.checked(name))

    def slices(self, name: str) -> dict[str, Any]:
        """The tensors of a safetensors file, of which `[a:b]` gives rows as a tensor; the rest is not read."""
        from safetensors import safe_open

        path = self.checked(name)
        try:
            file = safe_open(path, "pt")
            return {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118  # it is no mapping
        except Exception as error:  # safetensors' own type is no public name in all versions
            raise Damaged(f"{path} is damaged: {error}") from error

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a safetensors file, on the CPU."""
        from safetensors.torch import load_file

        path = self.checked(name)
        try:
            return load_file(path)
        except Exception as error:  # safetensors' own type is no public name in all versions
            raise Damaged(f"{path} is damaged: {error}") from error
