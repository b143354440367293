"""Minari's folders: `metadata.json`, and episodes in HDF5, read with h5py alone. Those in arrow have a file of their own."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Dict, Tuple

from evolab.core.checks import missing, nearest
from evolab.core.space_trees import leaf_spaces
from evolab.core.trees import Tree
from evolab.data.datasets import hdf5, spaces
from evolab.data.datasets.chains import Episode, assemble
from evolab.data.datasets.columns import Columns, DatasetError, flags
from evolab.data.datasets.episodes import from_lengths
from evolab.data.datasets.writers import CUTS

if TYPE_CHECKING:
    import h5py

MAIN = "main_data.hdf5"
FORMS = ("hdf5", "arrow", "parquet")
COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")
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
    known = about(path.parent, name)
    numbers = sorted(int(k[8:]) for k in file if re.fullmatch(r"episode_\d{1,9}", k))
    if not numbers:
        raise DatasetError(
            f"{name}: no group 'episode_0'; the data set is empty. Record at least one episode."
        )

    def stored() -> Iterator[tuple[int, dict[str, Any]]]:
        for i in numbers:
            group = _group(file, f"episode_{i}", name)
            yield i, {key: _column(group, key, space, known.encoded, name) for key, space in known.columns()}

    return gathered(stored(), known, "Minari HDF5", name, max_memory)


@dataclass(frozen=True)
class About:
    """What `metadata.json` says.

    Attributes:
        form: "hdf5", "arrow" or "parquet".
        observation_space: as it is stated; None where it is not.
        action_space: likewise.
        encoded: True where images are stored as JPEG.
        environment: id of the environment, where one is named.
        cuts: episodes that the recording itself broke off, where evolab has noted them.
    """

    form: str
    observation_space: Any
    action_space: Any
    encoded: bool
    environment: str | None
    cuts: frozenset[int] = frozenset()

    def columns(self) -> list[tuple[str, Any]]:
        """Every column of an episode, with its space."""
        spaces_of = {"observations": self.observation_space, "actions": self.action_space}
        return [(key, spaces_of.get(key)) for key in COLUMNS]


def about(place: Path, name: str) -> About:
    """What the metadata in a folder say.

    Raises:
        DatasetError: they can't be read, or name another format.
    """
    metadata = metadata_of(place, name)
    cuts = metadata.get(CUTS)
    return About(
        metadata.get("data_format", "hdf5"),
        spaces.parse(metadata.get("observation_space"), name, "observation_space"),
        spaces.parse(metadata.get("action_space"), name, "action_space"),
        bool(metadata.get("jpeg_encoding", True)),
        _environment(metadata),
        frozenset(one for one in cuts if isinstance(one, int)) if isinstance(cuts, list) else frozenset(),
    )


def gathered(
    stored: Iterable[tuple[int, Mapping[str, Tree]]], known: About, form: str, name: str, max_memory: int
) -> Columns:
    """All episodes as columns.

    Args:
        stored: number and columns of each.
        known: what the metadata say.
        form: the format in words.
        name: what messages call the data set.
        max_memory: bytes beyond which the table lies in temporary files.

    Raises:
        DatasetError: lengths differ, or an image can't be decoded.
    """
    episodes, ended, cut, unfinished, stray = list[Episode](), list[bool](), list[bool](), list[bool](), 0
    for i, columns in stored:
        episode = Episode(
            columns["observations"], columns["actions"], columns["rewards"], f"episode_{i}/{{}}"
        )
        labels = [_labels(columns[key], f"episode_{i}/{key}", episode, name) for key in COLUMNS[3:]]
        stray += int(sum(label[:-1].sum() for label in labels))
        ended.append(bool(labels[0][-1]))
        cut.append(bool(labels[1][-1]))
        unfinished.append(i in known.cuts or not (ended[-1] or cut[-1]))
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
        format=form,
        observations=table.observations,
        actions=table.actions,
        rewards=table.rewards,
        episodes=from_lengths(
            table.lengths, terminated, truncated | ~terminated, table.followed, np.array(unfinished)
        ),
        chained=True,
        observation_space=known.observation_space,
        action_space=known.action_space,
        environment=known.environment,
        notes=tuple(notes),
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
    if form not in FORMS:
        raise DatasetError(
            f"{name}: 'data_format' in {METADATA} is {form!r}; evolab reads {', '.join(map(repr, FORMS))}. "
            "Save it again with data_format='hdf5'."
        )
    return metadata


def _environment(metadata: dict[str, object]) -> str | None:
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
    return attach(found, space) if images else found


def attach(tree: Tree, space: Space | None) -> Any:
    """The tree with encoded images in it wrapped, so that they are decoded when they are read."""
    if isinstance(tree, dict):
        named = space.spaces if isinstance(space, Dict) else {}
        return {key: attach(value, named.get(key)) for key, value in tree.items()}
    if isinstance(tree, tuple):
        inner = space.spaces if isinstance(space, Tuple) else ()
        return tuple(attach(v, inner[i] if i < len(inner) else None) for i, v in enumerate(tree))
    # Raw frames keep the image's axes; encoded ones are a row of bytes each.
    encoded = len(tree.shape) in (1, 2)
    return MinariFrames(tree, space) if encoded and spaces.is_stored_as_jpeg(space) else tree


class MinariFrames:
    """JPEG-encoded images of one episode that look like an array [T, H, W, ...]."""

    def __init__(self, data: h5py.Dataset, space: Space) -> None:
        """Wrap `data`, rows of bytes in a dataset of h5py or what looks like one, for images of `space`."""
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


def _decode(_: str, leaf: object) -> tuple[tuple[int, ...], np.dtype, Callable[[], np.ndarray]] | None:
    return (leaf.shape, leaf.dtype, leaf.read) if isinstance(leaf, MinariFrames) else None


def _labels(leaf: Any, key: str, episode: Episode, name: str) -> np.ndarray:
    if not hasattr(leaf, "shape") or leaf.shape[:1] != episode.rewards.shape[:1]:
        raise DatasetError(
            f"{name}: {key!r} has shape {getattr(leaf, 'shape', None)}, the rewards {episode.rewards.shape}; "
            "expected one flag per step. Record the episode again or leave it out."
        )
    if not leaf.size:
        raise DatasetError(f"{name}: {key!r} is empty; expected at least one step. Leave empty episodes out.")
    return flags(np.asarray(leaf[()]), name, key, {})
