"""Data sets larger than memory: rows come from the file, and what was looked at does not stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolab.data.datasets.dataset import Dataset, DatasetError

h5py = pytest.importorskip("h5py")

ROWS = 600


def write(path: Path, **packing: Any) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_dataset("observations", data=rng.normal(size=(ROWS, 3)), **packing)
        file.create_dataset("actions", data=rng.normal(size=(ROWS, 1)).astype("f4"), **packing)
        file["rewards"] = np.ones(ROWS)
        file["terminals"] = np.arange(ROWS) % 20 == 19
    return path


@pytest.mark.parametrize("packing", [{}, {"compression": "gzip"}])
def test_rows_from_disk_are_those_in_memory(tmp_path: Path, packing: dict[str, Any]) -> None:
    path = write(tmp_path / "a.h5", **packing)
    held, mapped = Dataset(path), Dataset(path, max_memory=100)
    assert (held.on_disk, mapped.on_disk) == (False, True)
    index = np.random.default_rng(1).integers(0, len(held), 64)
    wanted, found = held.transitions(index), mapped.transitions(index)
    for field in ("observation", "action", "next_observation", "reward", "terminated"):
        np.testing.assert_array_equal(getattr(found, field), getattr(wanted, field))
        assert getattr(found, field).dtype == getattr(wanted, field).dtype
    assert str(mapped.report()) == str(held.report())


def test_a_replaced_file_goes_on_being_read(tmp_path: Path) -> None:
    """A name may come to mean another file; the rows are those of the file that was opened."""
    path = write(tmp_path / "a.h5")
    dataset, wanted = Dataset(path, max_memory=100), Dataset(path).transitions([5, 7]).observation
    other = tmp_path / "b.h5"
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)
    np.testing.assert_array_equal(dataset.transitions([5, 7]).observation, wanted)


def test_a_file_cut_short_meanwhile_is_told(tmp_path: Path) -> None:
    """Reading through the map would end the process."""
    path = write(tmp_path / "a.h5")
    dataset = Dataset(path, max_memory=100)
    with path.open("r+b") as file:
        file.truncate(3_000)
    with pytest.raises(DatasetError, match=r"^a\.h5: row \d+ is gone; the file was cut short"):
        dataset.transitions([len(dataset) - 1])
