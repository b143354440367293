"""HDF5 from strangers: every refusal names the file, the key and the cure, and nothing outside is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from evolab.data.datasets.dataset import Dataset, DatasetError

ROWS = 12


def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(ROWS, 3)).astype(np.float32),
        "actions": rng.integers(0, 2, ROWS),
        "rewards": np.ones(ROWS, np.float32),
        "terminals": np.arange(ROWS) % 4 == 3,
    }


def write(path: Path, change: Callable[[h5py.File], None] | None = None, **packing: object) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in columns().items():
            file.create_dataset(key, data=value, **packing)
        if change:
            change(file)
    return path


@pytest.mark.parametrize(
    "packing", [{}, {"chunks": True}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}]
)
def test_every_plain_storage_reads_the_same(tmp_path: Path, packing: dict[str, object]) -> None:
    dataset = Dataset(write(tmp_path / "a.h5", **packing))
    np.testing.assert_array_equal(dataset.arrays()["observation"], columns()["observations"])
    assert dataset.report().episodes == 3


@pytest.mark.parametrize("packing", [{}, {"compression": "gzip", "chunks": True}])
def test_data_beyond_the_budget_stay_on_disk(tmp_path: Path, packing: dict[str, object]) -> None:
    path = write(tmp_path / "a.h5", **packing)
    small, whole = Dataset(path, max_memory=16), Dataset(path)
    assert isinstance(small._columns.observations, np.memmap)
    rows = [5, 0, 11, 5]
    for field in ("observation", "next_observation", "action", "reward"):
        np.testing.assert_array_equal(
            getattr(small.transitions(rows), field), getattr(whole.transitions(rows), field)
        )
    with pytest.raises(DatasetError, match=r"transitions\(rows\), or raise max_memory"):
        small.arrays()


def test_temporary_files_go_with_the_data_set(tmp_path: Path) -> None:
    dataset = Dataset(write(tmp_path / "a.h5", compression="gzip"), max_memory=16)
    place = Path(dataset._columns.folder.name)
    assert place.exists()
    del dataset
    assert not place.exists()


def test_groups_become_dict_and_tuple_observations(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["observations"]
        file["observations/camera"] = np.zeros((ROWS, 8, 8, 3), np.uint8)
        file["observations/pair/_index_0"] = np.zeros((ROWS, 2))
        file["observations/pair/_index_1"] = np.arange(ROWS)

    part = Dataset(write(tmp_path / "a.h5", change)).transitions([1])
    assert part.observation["camera"].shape == (1, 8, 8, 3)
    assert part.observation["pair"][1].tolist() == [1]


def soft(file: h5py.File) -> None:
    del file["actions"]
    file["elsewhere"] = columns()["actions"]
    file["actions"] = h5py.SoftLink("/elsewhere")


def dangling(file: h5py.File) -> None:
    del file["actions"]
    file["actions"] = h5py.SoftLink("/nowhere")


def external(file: h5py.File) -> None:
    del file["actions"]
    file["actions"] = h5py.ExternalLink("/etc/hostname", "/")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((ROWS,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "rewards", (ROWS,))
    del file["rewards"]
    file.create_virtual_dataset("rewards", layout)


def raw_external(file: h5py.File) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (ROWS,), "f4", external=[("/etc/hostname", 0, ROWS * 4)])


def objects(file: h5py.File) -> None:
    del file["observations"]
    file.create_dataset("observations", data=["a"] * ROWS, dtype=h5py.string_dtype())


def records(file: h5py.File) -> None:
    del file["observations"]
    file["observations"] = np.zeros(ROWS, [("x", "f4")])


def huge(file: h5py.File) -> None:
    for key in columns():
        del file[key]
    for key, shape in {"observations": (10**12, 3), "actions": (10**12,), "rewards": (10**12,)}.items():
        file.create_dataset(key, shape, "f4", chunks=(1000, *shape[1:]), compression="gzip")
    file.create_dataset("terminals", (10**12,), bool, chunks=(1000,))


def unwritten(file: h5py.File) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (ROWS,), "f4")


def half_written(file: h5py.File) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (ROWS,), "f4", chunks=(4,))[:4] = 1.0


def bomb(file: h5py.File) -> None:
    del file["observations"]
    file.create_dataset("observations", (10**7, 3), "f4", chunks=(10**6, 3), compression="gzip")[: 10**6] = 0


def null(file: h5py.File) -> None:
    del file["rewards"]
    file["rewards"] = h5py.Empty("f4")


def loop(file: h5py.File) -> None:
    del file["observations"]
    group = file.create_group("observations")
    group["again"] = group


def named_type(file: h5py.File) -> None:
    del file["rewards"]
    file["rewards"] = np.dtype("f4")


def complex_numbers(file: h5py.File) -> None:
    del file["rewards"]
    file["rewards"] = np.ones(ROWS, complex)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (soft, "'actions' is a soft link"),
        (dangling, "'actions' is a soft link"),
        (external, "'actions' is an external link"),
        (virtual, "'rewards' is a virtual dataset"),
        (raw_external, "'rewards' is stored in an external file"),
        (objects, "'observations' has dtype object"),
        (records, "'observations' has dtype"),
        (huge, r"'observations' declares shape \(1000000000000, 3\)"),
        (unwritten, "'rewards' declares shape"),
        (half_written, "'rewards' declares shape"),
        (bomb, "'observations' declares shape"),
        (null, "'rewards' has no shape"),
        (loop, "nested too deeply"),
        (named_type, "'rewards' is a stored type"),
        (complex_numbers, "'rewards' has dtype complex128"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    with pytest.raises(DatasetError, match=rf"^bad\.h5: .*{message}"):
        Dataset(write(tmp_path / "bad.h5", change))


def test_link_on_a_key_nobody_asks_for_is_left_alone(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["infos"] = h5py.ExternalLink("/etc/hostname", "/")

    assert len(Dataset(write(tmp_path / "a.h5", change))) == ROWS


def test_empty_foreign_and_absent_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("observations")
    with pytest.raises(DatasetError, match=r"empty\.h5: the file is empty"):
        Dataset(tmp_path / "empty.h5")
    with pytest.raises(DatasetError, match=r"text\.h5: HDF5 can't read it"):
        Dataset(str(tmp_path / "text.h5"))
    with pytest.raises(DatasetError, match="neither a file nor a Minari data set"):
        Dataset(tmp_path / "absent.h5")
    with pytest.raises(DatasetError, match=r"the folder has no 'main_data\.hdf5'"):
        Dataset(tmp_path)
    with h5py.File(tmp_path / "bare.h5", "w"):
        pass
    with pytest.raises(DatasetError, match=r"bare\.h5: 'observations' is missing; found nothing"):
        Dataset(tmp_path / "bare.h5")
    with pytest.raises(TypeError, match="source is int; expected a path"):
        Dataset(3)


def test_zero_rows_and_one_row_are_too_few(tmp_path: Path) -> None:
    for rows, text in ((0, "no rows"), (1, "one row")):
        with h5py.File(tmp_path / "few.h5", "w") as file:
            for key, value in columns().items():
                file[key] = value[:rows]
        with pytest.raises(DatasetError, match=text):
            Dataset(tmp_path / "few.h5")
