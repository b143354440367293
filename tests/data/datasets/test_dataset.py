"""Dataset: labels one can learn from, out of arrays whose truth is known."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gymnasium import spaces

from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.datasets.dataset import Dataset, DatasetError

NAME = "cartpole_random_v1.1.0.h5"


def shared_file() -> Path:
    """The real file, where it is at hand."""
    default = Path(__file__).parents[3].parent / "shared" / "data"
    path = Path(os.environ.get("EVOLAB_DATA", default))
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        if os.environ.get("EVOLAB_REQUIRE_ALL") == "1":
            pytest.fail(f"{path} is missing; EVOLAB_DATA names the folder that holds {NAME}")
        pytest.skip(f"{NAME} is not here; EVOLAB_DATA names its folder")
    return path


def steps(count: int = 6, **changes: object) -> dict[str, object]:
    """Two episodes of three rows: the first terminated, the second cut."""
    data: dict[str, object] = {
        "observations": np.arange(count * 2, dtype=np.float32).reshape(count, 2),
        "actions": np.arange(count) % 2,
        "rewards": np.ones(count, np.float32),
        "terminals": np.array([0, 0, 1, 0, 0, 0], bool)[:count],
        "timeouts": np.array([0, 0, 0, 0, 0, 1], bool)[:count],
    }
    data.update(changes)
    return {key: value for key, value in data.items() if value is not None}


def test_shared_file_is_labelled_as_counted_row_by_row() -> None:
    h5py = pytest.importorskip("h5py")
    path = shared_file()
    with h5py.File(path) as file:
        terminal, end = file["terminals"][()].tolist(), file["episode_terminals"][()].tolist()
        reward, observation = file["rewards"][()].tolist(), file["observations"][()]
    returns, doubled, terminated, running = [], 0, 0, 0.0
    for row in range(len(reward)):  # plain Python, on purpose: nothing shared with the loader
        running += reward[row]
        if end[row]:
            returns.append(running)
            running = 0.0
            terminated += int(terminal[row])
        elif terminal[row]:
            doubled += 1
    dataset = Dataset(path)
    report = dataset.report()
    assert (report.rows, report.episodes, report.repairs) == (99_999, 4_512, 4_511)
    assert (len(reward), len(returns), doubled) == (99_999, 4_512, 4_511)
    assert (report.terminals, report.truncations, report.dropped) == (terminated, 1, 1)
    assert report.mean_return == pytest.approx(np.mean(returns))
    assert round(report.mean_return, 2) == 22.16
    assert len(dataset) == 99_998
    arrays = dataset.arrays()
    inner = ~arrays["terminated"]
    np.testing.assert_array_equal(arrays["next_observation"][inner], observation[np.flatnonzero(inner) + 1])
    assert arrays["terminated"].sum() == 4_511


def test_shared_file_needs_no_episode_key_to_recognise_doubled_terminals() -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(shared_file()) as file:
        data = {key: file[key][()] for key in ("observations", "actions", "rewards", "terminals")}
    report = Dataset(data).report()
    assert (report.episodes, report.repairs, report.truncations) == (4_512, 4_511, 1)
    assert round(report.mean_return, 2) == 22.16


def test_flags_in_pairs_that_are_real_episodes_stay() -> None:
    # Episodes of 3 rows, then 1 row: flags in pairs too, but the row between jumps like a reset.
    rng = np.random.default_rng(0)
    observations, terminals = [], []
    for _ in range(50):
        for length in (3, 1):
            observations.append(rng.normal(size=(1, 4)) * 100 + np.arange(length)[:, None] * 0.1)
            terminals += [0] * (length - 1) + [1]
    rows = len(terminals)
    data = {
        "observations": np.concatenate(observations),
        "actions": np.zeros(rows, int),
        "rewards": np.ones(rows),
        "terminals": np.array(terminals),
    }
    report = Dataset(data).report()
    assert (report.episodes, report.repairs) == (100, 0)


def test_next_observation_never_crosses_an_episode() -> None:
    dataset = Dataset(steps())
    assert len(dataset) == 5  # the cut episode's last row has no stored successor
    arrays = dataset.arrays()
    np.testing.assert_array_equal(arrays["observation"][:, 0], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(arrays["next_observation"][:, 0], [2, 4, 4, 8, 10])
    np.testing.assert_array_equal(arrays["terminated"], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(arrays["truncated"], [0, 0, 0, 0, 0])
    np.testing.assert_array_equal(arrays["episode"], [0, 0, 0, 1, 1])
    report = dataset.report()
    assert (report.dropped, report.terminals, report.truncations) == (1, 1, 1)
    assert dataset.returns.tolist() == [3.0, 3.0]


def test_stored_successors_keep_truncated_rows() -> None:
    following = np.full((6, 2), 7.0, np.float32)
    dataset = Dataset(steps(next_observations=following))
    arrays = dataset.arrays()
    assert len(dataset) == 6
    np.testing.assert_array_equal(arrays["next_observation"], following)
    assert arrays["truncated"].tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    "names",
    [
        ("terminals", "timeouts"),
        ("terminations", "truncations"),
        ("terminated", "truncated"),
        ("dones", "timeouts"),
    ],
)
def test_every_spelling_of_an_end_is_told_apart(names: tuple[str, str]) -> None:
    data = steps()
    renamed = {**data, names[0]: data["terminals"], names[1]: data["timeouts"]}
    for key in ("terminals", "timeouts"):
        if key not in names:
            del renamed[key]
    if names[0] == "dones":
        renamed["dones"] = np.array([0, 0, 1, 0, 0, 1])
    report = Dataset(renamed).report()
    assert (report.terminals, report.truncations) == (1, 1)


def test_end_that_is_no_terminal_is_a_truncation() -> None:
    dataset = Dataset(steps(timeouts=None, episode_terminals=np.array([0, 0, 1, 0, 0, 1])))
    assert (dataset.report().terminals, dataset.report().truncations) == (1, 1)


def test_recording_that_stops_within_an_episode_says_so() -> None:
    report = Dataset(steps(timeouts=None)).report()
    assert report.episodes == 2
    assert report.truncations == 1
    assert "ends within an episode" in report.notes[0]


def test_dict_observations_keep_their_parts() -> None:
    tree = {"a": np.arange(6.0)[:, None], "b": {"c": np.zeros((6, 4, 4, 3), np.uint8)}}
    dataset = Dataset(steps(observations=tree))
    assert isinstance(dataset.observation_space, spaces.Dict)
    part = dataset.transitions([1, 0])
    assert part.observation["a"].ravel().tolist() == [1.0, 0.0]
    assert part.next_observation["b"]["c"].dtype == np.uint8


def test_frame_gives_the_same_as_arrays() -> None:
    data = steps()
    wide = pd.DataFrame({k: v for k, v in data.items() if k != "observations"})
    for i in range(2):
        wide[f"observation_{i}"] = data["observations"][:, i]
    tall = pd.DataFrame({k: v for k, v in data.items() if k != "observations"})
    tall["observation"] = list(data["observations"])
    want = Dataset(data).arrays()
    for frame in (wide, tall):
        have = Dataset(frame).arrays()
        for key, value in want.items():
            np.testing.assert_array_equal(have[key], value)


def test_frame_with_numbered_episodes_needs_no_flags() -> None:
    frame = pd.DataFrame(
        {"observation": [0.0, 1, 2, 3], "action": [0, 1, 0, 1], "reward": 1.0, "episode": [4, 4, 9, 9]}
    )
    dataset = Dataset(frame)
    assert (len(dataset.episodes), len(dataset)) == (2, 2)
    assert dataset.arrays()["next_observation"].ravel().tolist() == [1.0, 3.0]


def test_nan_is_refused_or_its_transitions_left_out() -> None:
    data = steps()
    data["observations"][1, 0] = np.nan
    with pytest.raises(DatasetError, match=r"'observations' has 1 entry .* row 1\. .* nan='drop'"):
        Dataset(data)
    dataset = Dataset(data, nan="drop")
    arrays = dataset.arrays()
    assert arrays["observation"][:, 0].tolist() == [4.0, 6.0, 8.0]  # rows 0 and 1 both touch it
    assert dataset.report().nan == {"observations": 1}
    assert np.isfinite(arrays["next_observation"]).all()


def test_float64_beyond_float32_is_no_silent_infinity() -> None:
    with pytest.raises(DatasetError, match="infinite as float32"):
        Dataset(steps(rewards=np.array([1, 1, 1e300, 1, 1, 1])))


def test_environment_that_does_not_fit_is_named() -> None:
    dataset = Dataset(steps(actions=np.linspace(-1, 1, 6)))
    with pytest.raises(DatasetError, match=r"arrays: 'actions' is float32 in \[-1, 1\], .*Discrete\(2\)"):
        dataset.check(action_space=spaces.Discrete(2))
    with pytest.raises(DatasetError, match=r"'observations' is float32 of shape \(2,\)"):
        dataset.check(observation_space=spaces.Box(-1, 1, (3,)))
    with pytest.raises(DatasetError, match="outside what the environment's actions allow"):
        Dataset(steps(), action_space=spaces.Discrete(1))
    dataset.check(action_space=spaces.Box(-2, 2, (1,)))
    assert dataset.action_space == spaces.Box(-2, 2, (1,))


def test_clip_takes_actions_to_the_space() -> None:
    data = steps(actions=np.linspace(-3, 3, 6))
    with pytest.raises(DatasetError, match="clip=True"):
        Dataset(data, action_space=spaces.Box(-1, 1, (1,)))
    arrays = Dataset(data, action_space=spaces.Box(-1, 1, (1,)), clip=True).arrays()
    assert arrays["action"].min() == -1.0
    assert arrays["action"].max() <= 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": None}, "'rewards' is missing"),
        ({"terminals": None, "timeouts": None}, "'terminals' is missing.*where an episode ends"),
        ({"actions": np.zeros(5)}, "lengths differ: .*'actions' 5"),
        ({"terminals": np.zeros(6), "timeouts": None}, "no episode ends in 6 rows"),
        ({"terminals": np.full(6, 0.5)}, "'terminals' is 0.5 in row 0; expected 0 or 1"),
        ({"terminals": np.full(6, np.nan)}, "'terminals' is nan"),
        ({"rewards": np.ones((6, 2))}, r"'rewards' has shape \(6, 2\)"),
        ({"rewards": np.float32(1)}, "single value"),
        ({"rewards": np.array(["a"] * 6)}, "'rewards' has dtype <U1"),
        ({"observations": np.array([None] * 6)}, "'observations' has dtype object"),
        ({"observations": np.zeros((6, 0))}, "no entries"),
        ({"observations": {}}, "empty dict"),
        ({"actions": np.full(6, 2**62)}, "whole numbers"),
        ({"next_observations": np.zeros((6, 3))}, "'next_observations' has entries"),
        (
            {
                "terminals": np.ones(6),
                "timeouts": np.zeros(6),
                "observations": [[1], [1, 2], [1], [1], [1], [1]],
            },
            "no array",
        ),
    ],
)
def test_bad_arrays_are_named_with_a_cure(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset(steps(**changes))


def test_one_row_is_too_few() -> None:
    with pytest.raises(DatasetError, match="holds one row"):
        Dataset({k: np.asarray(v)[:1] for k, v in steps(terminals=np.ones(6)).items()})


def test_episodes_of_one_cut_row_leave_nothing() -> None:
    with pytest.raises(DatasetError, match="none of 6 rows has a stored successor"):
        Dataset(steps(terminals=np.zeros(6), timeouts=np.ones(6)))


def test_report_says_the_same_every_time_and_escapes_names() -> None:
    first, second = (Dataset(steps(), name="<b>").report() for _ in range(2))
    assert repr(first) == repr(second) == str(first)
    assert "<b>" not in first._repr_html_()
    assert "&lt;b&gt;" in first._repr_html_()
    assert "data:image/svg+xml;base64," in first._repr_html_()


def test_entropy_is_one_for_uniform_and_zero_for_constant_actions() -> None:
    assert Dataset(steps()).report().entropy == pytest.approx(1.0)
    constant = Dataset(steps(actions=np.zeros(6, int)), action_space=spaces.Discrete(2))
    assert constant.report().entropy == 0.0


def test_replay_takes_transitions_as_they_come() -> None:
    dataset, buffer = Dataset(steps()), ReplayBuffer(10)
    assert buffer.add(dataset.transitions(np.arange(len(dataset)))) == 5
    with pytest.raises(IndexError, match="count from 0"):
        dataset.transitions([5])


@pytest.mark.parametrize("stored", ["successors", "flat"])
def test_a_saved_data_set_is_read_back_as_it_was(tmp_path, stored):
    rng = np.random.default_rng(0)
    flags = np.zeros(12, bool)
    data = {
        "observations": rng.normal(size=(12, 2)).astype(np.float32),
        "actions": rng.integers(0, 3, 12),
        "rewards": rng.normal(size=12).astype(np.float32),
        "terminals": flags.copy(),
        "timeouts": flags.copy(),
    }
    data["terminals"][[4, 8]] = True
    if stored == "successors":
        data["next_observations"] = rng.normal(size=(12, 2)).astype(np.float32)
    first = Dataset(data)
    second = Dataset(first.save(tmp_path / "inner" / "a.h5"))
    assert (len(second), second.rows, len(second.episodes)) == (len(first), first.rows, len(first.episodes))
    for name, values in first.arrays().items():
        np.testing.assert_array_equal(second.arrays()[name], values, err_msg=name)
    assert second.mean_return == first.mean_return
    with pytest.raises(ValueError, match=r"data are written as HDF5: end it in \.h5"):
        first.save(tmp_path / "a.csv")
