"""Minari's HDF5 folders, read with h5py and their `metadata.json` alone."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import Space

from evolab.core.checks import missing, nearest
from evolab.core.observed import leaf_spaces
from evolab.data.datasets import hdf5, spaces
from evolab.data.datasets.chains import Episode, assemble
from evolab.data.datasets.columns import Columns, DatasetError, flags
from evolab.data.datasets.episodes import from_lengths

if TYPE_CHECKING:
    import h5py

MAIN = "main_data.hdf5"
METADATA = "metadata.json"
ID = re.compile(r"[-_\w]+(/[-_\w]+)*")
LARGEST_METADATA = 64 * 2**20


def root() -> Path:
    """Where Minari keeps its data sets: MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def folder(source: str | Path) -> Path | None:
    """The folder that holds `main_data.hdf5`, for a path or a data set's id; None where there is none."""
    places = [Path(source)]
    if isinstance(source, str) and ID.fullmatch(source):
        places.append(root() / source)
    for place in places:
        for inner in (place, place / "data"):
            if inner.is_dir() and ((inner / MAIN).is_file() or (inner / METADATA).is_file()):
                return inner
    return None


def suggestion(source: str) -> str:
    """A question naming the local data set of the nearest id, or ""."""
    here = root()
    if not here.is_dir():
        return ""
    known = [path.parent.parent.relative_to(here).as_posix() for path in here.glob("**/data/" + METADATA)]
    return nearest(source, known)


def load(file: h5py.File, path: Path, name: str, max_memory: int) -> Columns:
    """The columns of a Minari data set: T + 1 observations in an episode of T steps.

    An episode is what Minari stores as one; a flag raised before its last row is no
    end, and is noted. `env_spec` is never executed: only its id is read.

    Raises:
        DatasetError: the metadata are no JSON or name another format, an episode lacks a
            column, lengths differ, an image can't be decoded, or `hdf5.inspect` refuses one.
    """
    metadata = metadata_of(path.parent, name)
    numbers = sorted(int(k[8:]) for k in file if re.fullmatch(r"episode_\d{1,9}", k))
    if not numbers:
        raise DatasetError(
            f"{name}: no group 'episode_0'; the data set is empty. Record at least one episode."
        )
    observation_space = spaces.parse(metadata.get("observation_space"), name, "observation_space")
    action_space = spaces.parse(metadata.get("action_space"), name, "action_space")
    encoded = bool(metadata.get("jpeg_encoding", True))
    episodes, ended, cut, stray = [], [], [], 0
    casts: dict[str, str] = {}
    for i in numbers:
        group = _group(file, f"episode_{i}", name)
        stated = {"observations": observation_space, "actions": action_space}
        observations, actions, rewards, *flagged = (
            _column(group, key, stated.get(key), encoded, name)
            for key in ("observations", "actions", "rewards", "terminations", "truncations")
        )
        episode = Episode(observations, actions, rewards, f"episode_{i}/{{}}")
        labels = [
            _labels(column, f"episode_{i}/{key}", episode, name)
            for column, key in zip(flagged, ("terminations", "truncations"))
        ]
        stray += int(sum(label[:-1].sum() for label in labels))
        ended.append(bool(labels[0][-1]))
        cut.append(bool(labels[1][-1]))
        episodes.append(episode)
    table = assemble(episodes, name, max_memory, extra=1, decode=_decode)
    terminated, truncated = np.array(ended), np.array(cut)
    notes = []
    if stray:
        notes.append(f"{stray} terminations or truncations before an episode's last row, ignored")
    unsaid = int((~terminated & ~truncated).sum())
    if unsaid:
        notes.append(f"{unsaid} episodes end with neither flag, taken as truncated")
    return Columns(
        name=name,
        format="Minari HDF5",
        observations=table.observations,
        actions=table.actions,
        rewards=table.rewards,
        episodes=from_lengths(table.lengths, terminated, truncated | ~terminated, table.followed),
        chained=True,
        observation_space=observation_space,
        action_space=action_space,
        environment=_environment(metadata),
        notes=tuple(notes),
        casts=casts,
        folder=table.folder,
    )


def metadata_of(place: Path, name: str) -> dict[str, Any]:
    """What `metadata.json` says; {} where there is none."""
    path = place / METADATA
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > LARGEST_METADATA:
            raise ValueError("far too large")
        metadata = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metadata, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(
            f"{name}: {METADATA} can't be read ({error}). Copy or download it again."
        ) from error
    form = metadata.get("data_format", "hdf5")
    if form != "hdf5":
        raise DatasetError(
            f"{name}: 'data_format' in {METADATA} is {form!r}; evolab reads 'hdf5'. "
            "Save it again with data_format='hdf5'."
        )
    return metadata


def _environment(metadata: dict[str, Any]) -> str | None:
    """The environment's id, from a specification that is text and stays text."""
    spec = metadata.get("env_spec")
    try:
        spec = json.loads(spec) if isinstance(spec, str) else spec
    except (ValueError, RecursionError):
        return None
    found = spec.get("id") if isinstance(spec, dict) else None
    return found if isinstance(found, str) else None


def _group(file: h5py.File, key: str, name: str) -> h5py.Group:
    group = hdf5.member(file, key, name)
    if hasattr(group, "shape"):
        raise DatasetError(
            f"{name}: {key!r} is an array; expected a group with an episode in it. Record it again."
        )
    return group


def _column(group: h5py.Group, key: str, space: Space | None, encoded: bool, name: str) -> Any:
    stated = () if space is None else leaf_spaces(space)
    images = encoded and any(spaces.is_stored_as_jpeg(leaf) for _, leaf in stated)
    found = hdf5.tree(group, key, name, images=images)
    if found is None:
        at = group.name.lstrip("/")
        raise DatasetError(
            f"{name}: '{at}/{key}' is missing; Minari stores it for every episode. Record it again."
        )
    return _attach(found, space) if images else found


def _attach(tree: Any, space: Any) -> Any:
    """The tree with encoded images in it wrapped, so that they are decoded when they are read."""
    if isinstance(tree, dict):
        inner = getattr(space, "spaces", {})
        return {
            key: _attach(value, inner.get(key) if hasattr(inner, "get") else None)
            for key, value in tree.items()
        }
    if isinstance(tree, tuple):
        inner = tuple(getattr(space, "spaces", ()))
        return tuple(_attach(v, inner[i] if i < len(inner) else None) for i, v in enumerate(tree))
    # Raw frames keep the image's axes; encoded ones are a row of bytes each.
    return Frames(tree, space) if spaces.is_stored_as_jpeg(space) and len(tree.shape) in (1, 2) else tree


class Frames:
    """JPEG-encoded images of one episode that look like an array [T, H, W, ...]."""

    def __init__(self, data: h5py.Dataset, space: Space) -> None:
        """Wrap `data`, rows of bytes, for images of `space`."""
        self.data = data
        self.space = space
        self.shape = (int(data.shape[0]), *(space.shape or ()))
        self.dtype = np.dtype(np.uint8)

    def read(self) -> np.ndarray:
        """Decode every image; each must have the shape that the space states."""
        try:
            from PIL import Image
        except ImportError as error:
            raise missing("reading Minari images", "pillow", "minari") from error
        out = np.empty(self.shape, np.uint8)
        key = self.data.name.lstrip("/")
        for i, row in enumerate(self.data[()]):
            try:
                image = Image.open(io.BytesIO(np.asarray(row, np.uint8).tobytes()), formats=["JPEG"])
                if image.size != self.shape[2:0:-1]:  # looked at before any pixel is decoded
                    raise ValueError(f"it is {image.size[1]} x {image.size[0]}")
                out[i] = np.asarray(image)
            except (OSError, ValueError, TypeError, SyntaxError) as error:
                name = Path(self.data.file.filename).name
                raise DatasetError(
                    f"{name}: {key!r}, image {i}, is no JPEG of shape {self.space.shape} ({error}). "
                    "Copy or download the file again."
                ) from error
        return out


def _decode(_: str, leaf: Any) -> tuple[tuple[int, ...], np.dtype, Callable[[], np.ndarray]] | None:
    return (leaf.shape, leaf.dtype, leaf.read) if isinstance(leaf, Frames) else None


def _labels(leaf: Any, key: str, episode: Episode, name: str) -> np.ndarray:
    if not hasattr(leaf, "shape") or leaf.shape[:1] != episode.rewards.shape[:1]:
        raise DatasetError(
            f"{name}: {key!r} has shape {getattr(leaf, 'shape', None)}, the rewards {episode.rewards.shape}; "
            "expected one flag per step. Record the episode again or leave it out."
        )
    if not leaf.size:
        raise DatasetError(f"{name}: {key!r} is empty; expected at least one step. Leave empty episodes out.")
    return flags(np.asarray(leaf[()]), name, key, {})
