"""Minari's arrow and parquet forms: what `minari` writes is read as its HDF5 is, value by value."""

from __future__ import annotations

import contextlib
import shutil
import sys

import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.core.trees import named_leaves
from evolab.data.datasets.dataset import Dataset, DatasetError
from tests.data.datasets.test_minari import create

pytestmark = pytest.mark.filterwarnings("ignore:(`eval_env`|env_spec) is .*None.*:UserWarning")

SPACES = {
    "flat": (spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,), np.float64)),
    "one": (spaces.Box(-1, 1, ()), spaces.MultiDiscrete([2, 3])),
    "matrix": (spaces.Box(0, 9, (2, 2), np.int32), spaces.Discrete(4, start=2)),
    "nested": (
        spaces.Dict(
            {"camera": spaces.Box(0, 255, (32, 33, 3), np.uint8),
             "rest": spaces.Tuple([spaces.Discrete(4), spaces.Box(-1, 1, (2, 2))])}
        ),
        spaces.Dict({"y": spaces.MultiBinary(2), "x": spaces.Discrete(3)}),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


@pytest.fixture
def minari():
    pytest.importorskip("pyarrow")
    return pytest.importorskip("minari")


@pytest.mark.parametrize("encoding", [True, False], ids=["jpeg", "raw"])
@pytest.mark.parametrize("form", ["arrow", "parquet"])
@pytest.mark.parametrize("name", SPACES)
def test_every_value_is_that_of_the_hdf5(minari, name, form, encoding):
    for kind in (form, "hdf5"):
        create(minari, f"{kind}-v0", *SPACES[name], data_format=kind, jpeg_encoding=encoding)
    found, expected = Dataset(f"{form}-v0"), Dataset("hdf5-v0")
    assert found.format == f"Minari {form}"
    assert (found.observation_space, found.action_space) == SPACES[name]
    assert (len(found), found.returns.tolist()) == (9, [10.0, 3.0, 0.0])
    for mine, theirs in zip(
        named_leaves(found.arrays(), ""), named_leaves(expected.arrays(), ""), strict=True
    ):
        assert mine[0] == theirs[0]
        np.testing.assert_array_equal(mine[1], theirs[1], mine[0])


def test_minaris_own_reader_agrees(minari):
    own = create(minari, "own-v0", *SPACES["flat"], data_format="arrow")
    found = Dataset("own-v0").arrays()
    seen = np.concatenate([episode.observations[:-1] for episode in own.iterate_episodes()])
    done = np.concatenate([episode.actions for episode in own.iterate_episodes()])
    np.testing.assert_array_equal(found["observation"], seen)
    np.testing.assert_array_equal(found["action"], done.astype(np.float32))


def test_agents_learn_from_it(minari):
    create(minari, "own-v0", *SPACES["flat"], data_format="arrow")
    exp = ev.Experiment(None, "TD3BC", population=2, network=[8], steps_per_generation=3, fitness="fqe", seed=0,
                        hyperparameters={"batch_size": 4})  # fmt: skip
    exp.fill("own-v0")
    exp.step()
    assert exp.total_steps == 6


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_damage_is_named(minari, form, tmp_path):
    create(minari, "own-v0", *SPACES["flat"], data_format=form)
    part = next((tmp_path / "own-v0/data/1").glob(f"*.{form}"))
    whole = part.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 3):
        part.write_bytes(whole[:size])
        with pytest.raises(DatasetError, match=r"own-v0: episode 1: .* is damaged"):
            Dataset("own-v0")
    part.unlink()
    with pytest.raises(DatasetError, match=rf"own-v0: episode 1: no file \*.{form}"):
        Dataset("own-v0")
    for number in "012":
        shutil.rmtree(tmp_path / "own-v0/data" / number)
    with pytest.raises(DatasetError, match="no folder '0'; the data set is empty"):
        Dataset("own-v0")


def test_bytes_changed_at_random_are_read_or_named(minari, tmp_path):
    create(minari, "own-v0", *SPACES["flat"], data_format="arrow")
    part = tmp_path / "own-v0/data/1/part-0.arrow"
    whole, stream = part.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(whole)
        for place in stream.integers(0, len(whole), 3):
            changed[place] = int(stream.integers(256))
        part.write_bytes(bytes(changed))
        with contextlib.suppress(DatasetError):
            assert len(Dataset("own-v0", nan="drop")) <= 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, pa: t.drop_columns(["rewards"]), "'1/rewards' is missing"),
        (
            lambda t, pa: _with(t, pa, "rewards", pa.array([None, 1.0, 2.0, 0.0])),
            "'1/rewards' has 1 rows without",
        ),
        (
            lambda t, pa: _with(t, pa, "rewards", pa.array(["a", "b", "c", "d"])),
            "'1/rewards' is string; expected",
        ),
        (
            lambda t, pa: _with(t, pa, "actions", pa.array([[1.0], [1.0, 2.0], [], [3.0]])),
            "'1/actions' is list<",
        ),
        (lambda t, pa: t.slice(0, 0), "'episode_1/terminations' is empty"),
    ],
)
def test_columns_that_are_no_numbers_are_named(minari, tmp_path, change, message):
    import pyarrow as pa

    create(minari, "own-v0", *SPACES["flat"], data_format="arrow")
    part = tmp_path / "own-v0/data/1/part-0.arrow"
    table = change(pa.ipc.open_file(part.read_bytes()).read_all(), pa)
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DatasetError, match=message):
        Dataset("own-v0")


def _with(table, pa, name, values):
    return table.set_column(table.column_names.index(name), name, values)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    place = tmp_path / "own-v0/data"
    (place / "0").mkdir(parents=True)
    (place / "metadata.json").write_text('{"data_format": "arrow"}')
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"own-v0: reading Minari's arrow form needs pyarrow: pip install \"evolab\[arrow"
    ):
        Dataset("own-v0")
