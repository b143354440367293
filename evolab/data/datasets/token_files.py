"""Episodes of tokens on disk: JSON that a person can read, HDF5 for many; no pickle, nothing executed.

JSON holds an episode as turns, `{"environment": [...]}` or `{"agent": [...], "reward": -1.0}`, in the
names of the vocabulary; a turn of the agent ends where a reward comes. HDF5 holds the arrays, and
the vocabulary and the starting points as the bytes of a JSON text.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evolab.data.datasets import hdf5
from evolab.data.datasets.columns import Allocator, DatasetError
from evolab.data.datasets.token_arrays import Arrays, TokenArrays, TokenEpisode
from evolab.data.datasets.tokenizer import Tokenizer
from evolab.storage.files import Damaged, plain_size, read_json, replace_bytes

SUFFIXES = (".json", ".h5", ".hdf5")
FORMAT, VERSION = "evolab tokens", 1
LARGEST = 2**31  # bytes of the arrays once they are read
ARRAYS = {"tokens": np.int32, "action_mask": np.uint8, "rewards": np.float32, "terminated": np.uint8,
          "length": np.int32}  # fmt: skip
TEXT = "json"


def write(data: TokenArrays, path: Path) -> None:
    """Write a checked data set; readers see the old file or the new one, never a part."""
    data.checked(path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, _json(data) if path.suffix.lower() == ".json" else _hdf5(data))


def read(kind: type[Arrays], path: Path) -> Arrays:
    """The data set in a file, checked, as a `kind`.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetError: it is damaged, or not a file of tokens.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetError(f"{path.name}: expected a file of tokens, {', '.join(SUFFIXES)}.")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        plain_size(path)
        data = _from_json(kind, path) if path.suffix.lower() == ".json" else _from_hdf5(kind, path)
    except Damaged as error:
        raise DatasetError(str(error)) from None
    return data.checked(path.name)


def _head(data: TokenArrays) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "environment": data.environment,
        "vocabulary": list(data.vocabulary),
        "pad": data.vocabulary[data.pad],
    }


def _json(data: TokenArrays) -> bytes:
    head = json.dumps(_head(data), ensure_ascii=False)
    episodes = ",\n".join(json.dumps(_turns(data, row), ensure_ascii=False) for row in range(len(data)))
    return f'{head[:-1]}, "episodes": [\n{episodes}\n]}}\n'.encode()


def _turns(data: TokenArrays, row: int) -> dict[str, Any]:
    """An episode as turns: each ends where the speaker changes or a reward comes."""
    turns: list[dict[str, Any]] = []
    size = int(data.length[row])
    rows = (data.tokens[row, :size], data.action_mask[row, :size], data.rewards[row, :size])
    open_for = None
    for token, chosen, reward in zip(*(part.tolist() for part in rows), strict=True):
        speaker = "agent" if chosen else "environment"
        if speaker != open_for:
            turns.append({speaker: []})
        turns[-1][speaker].append(data.vocabulary[token])
        if reward:
            turns[-1]["reward"] = reward
        open_for = None if reward else speaker
    return {"start": data.starts[row], "terminated": bool(data.terminated[row]), "turns": turns}


def _from_json(kind: type[Arrays], path: Path) -> Arrays:
    content = read_json(path)
    tokenizer, environment = _understood(content, path.name)
    episodes = content.get("episodes")
    if not isinstance(episodes, list):
        raise DatasetError(f"{path.name}: 'episodes' is missing; expected a list of episodes.")
    built = [_episode(episode, tokenizer, f"{path.name}: episode {i}") for i, episode in enumerate(episodes)]
    return kind.of(built, tokenizer, environment)


def _episode(record: object, tokenizer: Tokenizer, where: str) -> TokenEpisode:
    given = record if isinstance(record, dict) else {}
    turns = given.get("turns")
    if not isinstance(turns, list) or not isinstance(given.get("terminated"), bool):
        raise DatasetError(
            f'{where} is no episode; expected {{"start": ..., "terminated": true, "turns": [...]}}.'
        )
    episode = TokenEpisode(given.get("start"), terminated=given["terminated"])
    for number, turn in enumerate(turns):
        speaker = [key for key in ("agent", "environment") if isinstance(turn, dict) and key in turn]
        names = turn[speaker[0]] if len(speaker) == 1 else None
        reward = turn.get("reward", 0.0) if isinstance(turn, dict) else 0.0
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DatasetError(
                f'{where}: turn {number} is not {{"agent": [names]}} or {{"environment": [names]}}.'
            )
        if isinstance(reward, bool) or not isinstance(reward, (int, float)) or abs(reward) > 1e30:
            raise DatasetError(f"{where}: turn {number} has reward {reward!r}; expected a number.")
        if reward and speaker == ["environment"]:
            raise DatasetError(f"{where}: turn {number} has a reward, but the agent said nothing in it.")
        try:
            tokens = [tokenizer.id(name) for name in names]
        except ValueError as error:
            raise DatasetError(f"{where}: turn {number}: {error}") from None
        if speaker == ["environment"]:
            episode.hear(tokens)
        else:
            for token in tokens[:-1]:
                episode.say(token)
            episode.say(tokens[-1], reward)
    return episode


def _hdf5(data: TokenArrays) -> bytes:
    import h5py

    memory = io.BytesIO()
    text = json.dumps(_head(data) | {"starts": list(data.starts)}, ensure_ascii=False).encode()
    with h5py.File(memory, "w") as file:
        file.create_dataset(TEXT, data=np.frombuffer(text, np.uint8))
        for key, dtype in ARRAYS.items():
            column = getattr(data, key).numpy().astype(dtype)
            # With a checksum, so that a changed byte is told rather than learned from.
            packing = {"compression": "gzip", "fletcher32": True} if column.size else {}
            file.create_dataset(key, data=column, **packing)
    return memory.getvalue()


def _from_hdf5(kind: type[Arrays], path: Path) -> Arrays:
    name = path.name
    with hdf5.opened(path, name) as file:
        found = {key: hdf5.member(file, key, name) for key in (TEXT, *ARRAYS)}
        lacking = [key for key, value in found.items() if not hasattr(value, "dtype")]
        if lacking:
            raise DatasetError(
                f"{name}: {lacking[0]!r} is missing; expected the arrays {', '.join(found)}, as TokenDataset.save "
                "writes them. Recorded numbers are read by ev.Dataset."
            )
        size = sum(hdf5.size(value) for value in found.values())
        if size > LARGEST:
            raise DatasetError(f"{name}: its arrays take {size >> 20} MiB; at most {LARGEST >> 20} are read.")
        arrays = {key: hdf5.read(value, Allocator(0, 0)) for key, value in found.items()}
    try:
        content = json.loads(arrays.pop(TEXT).astype(np.uint8).tobytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{name}: {TEXT!r} is damaged: {error}") from None
    tokenizer, environment = _understood(content, name)
    starts = content.get("starts")
    if not isinstance(starts, list):
        raise DatasetError(f"{name}: 'starts' is missing; expected a list with one entry per episode.")
    for key in ("action_mask", "terminated"):
        if not np.isin(arrays[key], (0, 1)).all():
            raise DatasetError(f"{name}: {key!r} holds something other than 0 and 1.")
    return kind(
        tokens=torch.from_numpy(arrays["tokens"].astype(np.int64)),
        action_mask=torch.from_numpy(arrays["action_mask"].astype(bool)),
        rewards=torch.from_numpy(arrays["rewards"].astype(np.float32)),
        terminated=torch.from_numpy(arrays["terminated"].astype(bool)),
        length=torch.from_numpy(arrays["length"].astype(np.int64)),
        starts=tuple(starts),
        vocabulary=tokenizer.vocabulary,
        pad=tokenizer.pad,
        environment=environment,
    )


def _understood(content: object, name: str) -> tuple[Tokenizer, str]:
    """The tokenizer and the environment's name out of a file's head."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DatasetError(
            f'{name}: no file of tokens; expected "format": "{FORMAT}", as TokenDataset.save writes.'
        )
    if content.get("version") != VERSION:
        raise DatasetError(
            f"{name}: version {content.get('version')!r}; this evolab reads version {VERSION}."
        )
    vocabulary, pad = content.get("vocabulary"), content.get("pad")
    if not isinstance(vocabulary, list) or not all(isinstance(one, str) for one in [*vocabulary, pad]):
        raise DatasetError(
            f"{name}: 'vocabulary' or 'pad' is missing; expected a list of names and one of them."
        )
    try:
        return Tokenizer(vocabulary, str(pad)), str(content.get("environment", ""))
    except ValueError as error:
        raise DatasetError(f"{name}: {error}") from None
