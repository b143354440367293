"""Minari folders: what `minari` writes is read without it, and counted as it counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from evolab.data.datasets.dataset import Dataset, DatasetError

# Minari's advice to whoever publishes a data set; nothing here is published.
pytestmark = pytest.mark.filterwarnings("ignore:(`eval_env`|env_spec) is .*None.*:UserWarning")

LENGTHS = ((5, True, False), (3, False, True), (1, True, False))


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


@pytest.fixture
def minari() -> Any:
    return pytest.importorskip("minari")


def create(minari: Any, name: str, observation: spaces.Space, action: spaces.Space, **options: Any) -> Any:
    from minari.data_collector import EpisodeBuffer

    observation.seed(0)
    action.seed(0)
    buffers = [
        EpisodeBuffer(
            observations=stack([observation.sample() for _ in range(length + 1)]),
            actions=stack([action.sample() for _ in range(length)]),
            rewards=np.arange(length, dtype=np.float64),
            terminations=[terminated and i == length - 1 for i in range(length)],
            truncations=[truncated and i == length - 1 for i in range(length)],
        )
        for length, terminated, truncated in LENGTHS
    ]
    return minari.create_dataset_from_buffers(
        name,
        buffers,
        observation_space=observation,
        action_space=action,
        algorithm_name="random",
        description="made up",
        code_permalink="https://example.com",
        author="nobody",
        author_email="nobody@example.com",
        **options,
    )


def stack(samples: list[Any]) -> Any:
    if isinstance(samples[0], dict):
        return {key: stack([sample[key] for sample in samples]) for key in samples[0]}
    if isinstance(samples[0], tuple):
        return tuple(stack([sample[i] for sample in samples]) for i in range(len(samples[0])))
    return np.stack(samples)


VECTOR = spaces.Box(-1, 1, (3,), np.float32)
NESTED = spaces.Dict({"a": spaces.Discrete(4), "b": spaces.Tuple([VECTOR, spaces.MultiBinary(2)])})
IMAGE = spaces.Box(0, 255, (40, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (VECTOR, spaces.Discrete(3)),
        (VECTOR, spaces.Discrete(3, start=-1)),
        (spaces.Discrete(9), spaces.Box(-2, 2, (1,), np.float32)),
        (NESTED, spaces.MultiDiscrete([2, 3])),
    ],
)
def test_counts_and_values_are_those_of_minari(minari: Any, observation: Any, action: Any) -> None:
    written = create(minari, "toys/any-v0", observation, action)
    dataset = Dataset("toys/any-v0")
    report = dataset.report()
    assert (report.rows, report.episodes) == (written.total_steps, written.total_episodes) == (9, 3)
    assert (report.terminals, report.truncations, report.dropped) == (2, 1, 0)
    assert report.mean_return == pytest.approx(np.mean([e.rewards.sum() for e in written.iterate_episodes()]))
    assert dataset.observation_space == observation
    assert dataset.action_space == action
    arrays = dataset.arrays()
    if observation is VECTOR:
        episodes = list(written.iterate_episodes())
        np.testing.assert_array_equal(
            arrays["observation"], np.concatenate([e.observations[:-1] for e in episodes])
        )
        np.testing.assert_array_equal(
            arrays["next_observation"], np.concatenate([e.observations[1:] for e in episodes])
        )
        np.testing.assert_array_equal(arrays["action"], np.concatenate([e.actions for e in episodes]))
    dataset.check(observation, action)


@pytest.mark.parametrize("jpeg", [True, False])
def test_images_are_decoded_as_minari_does(minari: Any, jpeg: bool) -> None:
    written = create(minari, "toys/image-v0", IMAGE, spaces.Discrete(2), jpeg_encoding=jpeg)
    want = np.concatenate([e.observations[1:] for e in written.iterate_episodes()])
    np.testing.assert_array_equal(Dataset("toys/image-v0").arrays()["next_observation"], want)


def test_path_id_and_data_folder_are_the_same(minari: Any, tmp_path: Path) -> None:
    create(minari, "toys/any-v0", VECTOR, spaces.Discrete(2))
    for source in ("toys/any-v0", tmp_path / "toys/any-v0", tmp_path / "toys/any-v0/data"):
        assert len(Dataset(source)) == 9
    assert len(Dataset(tmp_path / "toys/any-v0/data/main_data.hdf5", max_memory=8)) == 9
    with pytest.raises(DatasetError, match=r"did you mean 'toys/any-v0'\?"):
        Dataset("toys/amy-v0")


def damage(minari: Any, tmp_path: Path, change: Any) -> Path:
    create(minari, "toys/bad-v0", VECTOR, spaces.Discrete(2))
    with h5py.File(tmp_path / "toys/bad-v0/data/main_data.hdf5", "a") as file:
        change(file)
    return tmp_path / "toys/bad-v0"


def shorten(file: h5py.File) -> None:
    del file["episode_0/actions"]
    file["episode_0/actions"] = np.zeros(3, int)


def replace_group(file: h5py.File) -> None:
    del file["episode_1"]
    file["episode_1"] = np.zeros(3)


def clear(file: h5py.File) -> None:
    for key in list(file):
        del file[key]


def flags(file: h5py.File) -> None:
    del file["episode_0/truncations"]
    file["episode_0/truncations"] = np.zeros(2, bool)


def drop(file: h5py.File) -> None:
    del file["episode_2/rewards"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorten, r"'episode_0/actions' has shape \(3,\) beside 5 rewards"),
        (replace_group, "'episode_1' is an array"),
        (clear, "no group 'episode_0'"),
        (flags, r"'episode_0/truncations' has shape \(2,\)"),
        (drop, "'episode_2/rewards' is missing"),
    ],
)
def test_damaged_episode_is_named(minari: Any, tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"^bad-v0: .*{message}"):
        Dataset(damage(minari, tmp_path, change))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data_format": "csv"},
            "'data_format' in metadata.json is 'csv'; evolab reads 'hdf5', 'arrow', 'parquet'",
        ),
        ({"observation_space": '{"type": "Text"}'}, "'observation_space' in metadata.json"),
        ({"action_space": '{"type": "Discrete"}'}, "'action_space' in metadata.json"),
        (
            {"action_space": '{"type": "Box", "dtype": "O", "shape": [1], "low": 0, "high": 1}'},
            "'action_space'",
        ),
        (None, "metadata.json can't be read"),
    ],
)
def test_damaged_metadata_are_named(minari: Any, tmp_path: Path, changes: Any, message: str) -> None:
    place = damage(minari, tmp_path, lambda file: None)
    path = place / "data/metadata.json"
    path.write_text("{" if changes is None else json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(DatasetError, match=message):
        Dataset(place)


def test_data_of_another_space_are_refused(minari: Any, tmp_path: Path) -> None:
    place = damage(minari, tmp_path, lambda file: None)
    path = place / "data/metadata.json"
    space = (
        '{"type": "Box", "dtype": "float32", "shape": [7], "low": [0,0,0,0,0,0,0], "high": [1,1,1,1,1,1,1]}'
    )
    path.write_text(json.dumps({**json.loads(path.read_text()), "observation_space": space}))
    with pytest.raises(DatasetError, match=r"metadata\.json"):
        Dataset(place)


def test_stray_flags_and_missing_ends_are_noted(minari: Any, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["episode_0/terminations"][2] = True
        file["episode_1/truncations"][2] = False

    report = Dataset(damage(minari, tmp_path, change)).report()
    assert (report.episodes, report.terminals, report.truncations) == (3, 2, 1)
    assert "before an episode's last row" in report.notes[0]
    assert "neither flag" in report.notes[1]


def test_environment_is_named_and_never_made(minari: Any, tmp_path: Path) -> None:
    place = damage(minari, tmp_path, lambda file: None)
    path = place / "data/metadata.json"
    spec = json.dumps({"id": "CartPole-v1", "entry_point": "os:system"})
    path.write_text(json.dumps({**json.loads(path.read_text()), "env_spec": spec}))
    assert Dataset(place).environment == "CartPole-v1"
