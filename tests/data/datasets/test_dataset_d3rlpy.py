"""d3rlpy v2 files: written here as `d3rlpy.dataset.dump` does, and compared with its own counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from evolab.data.datasets.dataset import Dataset, DatasetError

LENGTHS = (4, 1, 7, 2)
TERMINATED = (True, False, False, True)


def write(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file["columns"] = ["observations", "actions", "rewards", "terminated"]
        file["num_episodes"] = len(LENGTHS)
        for i, (length, terminated) in enumerate(zip(LENGTHS, TERMINATED, strict=True)):
            file[f"observations_{i}"] = rng.normal(size=(length, 3)).astype(np.float32)
            file[f"actions_{i}"] = rng.integers(0, 3, (length, 1))
            file[f"rewards_{i}"] = np.full((length, 1), i, np.float32)
            file[f"terminated_{i}"] = terminated
        file["version"] = "2.1"
        for key, value in changes.items():
            del file[key]
            if value is not None:
                file[key] = value
    return path


def test_counts_are_those_of_d3rlpy(tmp_path: Path) -> None:
    dataset = Dataset(write(tmp_path / "a.h5"))
    report = dataset.report()
    # Episode.transition_count: all rows where it terminated, one less where not.
    assert len(dataset) == sum(n if t else n - 1 for n, t in zip(LENGTHS, TERMINATED, strict=True))
    assert (report.rows, report.episodes, report.terminals, report.truncations) == (14, 4, 2, 2)
    assert dataset.returns.tolist() == [0.0, 1.0, 14.0, 6.0]
    arrays = dataset.arrays()
    assert arrays["action"].shape == (len(dataset),)
    with h5py.File(tmp_path / "a.h5") as file:
        third = file["observations_2"][()]
    np.testing.assert_array_equal(arrays["next_observation"][arrays["episode"] == 2], third[1:])


def test_tuple_observations_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        for i, length in enumerate(LENGTHS):
            file[f"observations_{i}_0"] = file[f"observations_{i}"][()]
            file[f"observations_{i}_1"] = np.zeros((length, 1, 8, 8), np.uint8)
            del file[f"observations_{i}"]
    observation = Dataset(path).transitions([0, 1]).observation
    assert [part.shape for part in observation] == [(2, 3), (2, 1, 8, 8)]


def test_budget_puts_episodes_into_temporary_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    small = Dataset(path, max_memory=8)
    assert isinstance(small._columns.observations, np.memmap)
    np.testing.assert_array_equal(
        small.transitions([3, 1]).observation, Dataset(path).transitions([3, 1]).observation
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions_1": None}, "'actions_1' is missing"),
        ({"num_episodes": 10**9}, "'num_episodes' is 1e\\+09"),
        ({"num_episodes": 0}, "'num_episodes' is 0"),
        ({"num_episodes": [1, 2]}, "'num_episodes' has shape"),
        ({"terminated_0": 7}, "'terminated_0' is 7"),
        ({"rewards_2": np.ones((3, 1))}, r"'observations_2' has shape \(7, 3\) beside 3 rewards"),
        ({"observations_2": np.ones((7, 4))}, r"'observations_2' has entries of shape \(4,\)"),
        ({"rewards_1": np.ones((0, 1))}, "at least one"),
        ({"terminated_0": h5py.SoftLink("/version")}, "'terminated_0' is a soft link"),
    ],
)
def test_bad_episode_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=rf"^bad\.h5: .*{message}"):
        Dataset(write(tmp_path / "bad.h5", **changes))
