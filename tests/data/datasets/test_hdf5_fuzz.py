"""Fuzzing: damaged and invented files give a data set or a `DatasetError`, never anything else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolab.data.datasets.dataset import Dataset, DatasetError

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = (
    "observations",
    "actions",
    "rewards",
    "terminals",
    "timeouts",
    "episode_terminals",
    "next_observations",
)
KINDS = ("f4", "f8", "f2", "i4", "i8", "u1", "u8", "?", "S3")


def examine(source: Any) -> Dataset | None:
    """Load and use a data set; None where it was refused."""
    try:
        dataset = Dataset(source)
        repr(dataset.report())
        arrays = dataset.arrays()
    except DatasetError as error:
        message = str(error)
        if ": " not in message:
            pytest.fail(f"no file or key in {message!r}")
        return None
    # What was accepted keeps its promises.
    assert len(dataset) + dataset.report().dropped == dataset.rows
    assert np.isfinite(arrays["reward"]).all()
    assert len(arrays["episode"]) == len(dataset) > 0
    terminals = dataset.report().terminals
    assert int(arrays["terminated"].sum()) == terminals <= len(dataset.episodes)
    return dataset


@st.composite
def column(draw: Any, key: str) -> tuple[str, np.ndarray]:
    rows = draw(st.sampled_from((0, 1, 2, 9, 10, 10, 10, 10, 10)))
    shape = (rows, *draw(st.sampled_from(((), (), (1,), (3,), (2, 2), (0,)))))
    kind = draw(st.sampled_from(KINDS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.choice([0, 1, 1, 0, 0, 2, -1, np.nan] if draw(st.booleans()) else [0, 1], size=shape)
    with np.errstate(invalid="ignore"):
        return key, values.astype(kind)


@given(st.lists(st.sampled_from(KEYS).flatmap(column), min_size=3, max_size=9), st.booleans())
@QUICK
def test_invented_columns_are_read_or_refused(tmp_path: Path, made: list[Any], packed: bool) -> None:
    data = dict(made)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key, value in data.items():
            packing = {"compression": "gzip"} if packed and value.size else {}
            file.create_dataset(key, data=value, **packing)
    from_file, from_arrays = examine(tmp_path / "a.h5"), examine(data)
    assert (from_file is None) == (from_arrays is None)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), min_size=2, max_size=12),
    st.booleans(),
)
@QUICK
def test_labels_agree_with_a_walk_through_the_rows(
    episodes: list[tuple[int, bool, bool]], stored: bool
) -> None:
    observations, terminals, timeouts, want = [], [], [], []
    for number, (length, terminated, _) in enumerate(episodes):
        for step in range(length):
            last = step == length - 1
            observations.append([number, step])
            terminals.append(last and terminated)
            timeouts.append(last and not terminated)
            if not last or terminated or stored:
                successor = step + 1 if stored or not last else step
                want.append(([number, step], [number, successor], last and terminated))
    data = {
        "observations": np.array(observations, float),
        "actions": np.zeros(len(observations), int),
        "rewards": np.ones(len(observations)),
        "terminals": terminals,
        "timeouts": timeouts,
        # Rows that end an episode are known, so one-row episodes can't look like doubled flags.
        "episode_terminals": np.array(terminals) | np.array(timeouts),
    }
    if stored:
        data["next_observations"] = np.array(observations, float) + np.array([0, 1])
    if len(observations) < 2 or not want:
        return
    arrays = Dataset(data).arrays()
    assert arrays["observation"].tolist() == [row[0] for row in want]
    assert arrays["next_observation"].tolist() == [row[1] for row in want]
    assert arrays["terminated"].tolist() == [row[2] for row in want]


# Run in a process of its own, because a flipped byte could crash the C library: that must not
# take the tests along, and must be seen.
DAMAGE = """
import sys
import numpy as np
from evolab.data.datasets.dataset import Dataset, DatasetError
source, target, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
data = open(source, "rb").read()
rng = np.random.default_rng(seed)
# Structure lies at the start and between the arrays; most flips go there.
plain = np.frombuffer(data, np.uint8)
for i in range(count):
    damaged = bytearray(data)
    if i % 5 == 0:
        damaged = damaged[: rng.integers(0, len(damaged))]
    else:
        top = min(len(data), 8192) if i % 2 else len(data)
        for at in rng.integers(0, top, rng.integers(1, 6)):
            damaged[at] = rng.integers(0, 256)
    open(target, "wb").write(damaged)
    try:
        dataset = Dataset(target)
        repr(dataset.report()), dataset.arrays()
    except DatasetError as error:
        assert str(error).startswith("damaged.h5: "), error
print("survived")
"""


def survive(source: Path, tmp_path: Path, seed: int, count: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", DAMAGE, str(source), str(tmp_path / "damaged.h5"), str(seed), str(count)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[3],
    )
    assert run.returncode == 0, f"exit {run.returncode}: {run.stderr[-2000:]}"
    assert "survived" in run.stdout


@pytest.mark.parametrize(
    "packing", [{}, {"compression": "gzip", "shuffle": True}, {"chunks": True, "libver": "latest"}]
)
def test_flipped_bytes_and_cuts_never_crash(tmp_path: Path, packing: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    packing = dict(packing)
    with h5py.File(tmp_path / "a.h5", "w", libver=packing.pop("libver", "earliest")) as file:
        file.create_dataset("observations", data=rng.normal(size=(200, 4)), **packing)
        file.create_dataset("actions", data=rng.integers(0, 2, 200), **packing)
        file.create_dataset("rewards", data=np.ones(200), **packing)
        file.create_dataset("terminals", data=np.arange(200) % 10 == 9, **packing)
    survive(tmp_path / "a.h5", tmp_path, seed=1, count=150)


def test_the_real_file_damaged_never_crashes(tmp_path: Path) -> None:
    default = Path(__file__).parents[3].parent / "shared" / "data"
    path = Path(os.environ.get("EVOLAB_DATA", default))
    path = path / "cartpole_random_v1.1.0.h5" if path.is_dir() else path
    if not path.is_file():
        if os.environ.get("EVOLAB_REQUIRE_ALL") == "1":
            pytest.fail(f"{path} is missing; EVOLAB_DATA names its folder")
        pytest.skip("the real file is not here; EVOLAB_DATA names its folder")
    survive(path, tmp_path, seed=2, count=60)
