"""Forms that data come in: one number a row, choices as floats, .npz and .parquet, frames of episodes, cut episodes."""

from __future__ import annotations

import io
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pytest
from gymnasium import spaces

import evolab as ev
from tests.any_env import Env

SCALAR = spaces.Box(-1, 1, ())


def table(**own):
    data = {
        "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
        "actions": np.array([0, 1, 0, 1, 1, 0]),
        "rewards": np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        "terminals": np.array([0, 0, 1, 0, 0, 1]),
    }
    return data | own


# One number a row -------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [None, "one.h5"])
@pytest.mark.parametrize("where", ["observation", "action", "both"])
def test_a_space_of_one_float_is_recorded_and_learned_from(file, where, tmp_path):
    obs = SCALAR if where != "action" else spaces.Box(-1, 1, (3,))
    act = SCALAR if where != "observation" else spaces.Box(-1, 1, (2,))
    make = partial(Env, obs=obs, act=act)
    path = None if file is None else tmp_path / file
    data = ev.collect(make, steps=64, num_envs=4, path=path)
    assert (data.observation_space, data.action_space) == (obs, act)
    taken = data.transitions([0, 1])
    assert taken.observation.shape == (2, *obs.shape)
    assert taken.next_observation.shape == (2, *obs.shape)
    assert taken.action.shape == (2, *act.shape)
    exp = ev.Experiment(
        make, "TD3BC", population=2, steps_per_generation=4, hyperparameters={"batch_size": 16}, network=[16],
        search_space={}, seed=0, device="cpu",
    )  # fmt: skip
    exp.fill(data if path is None else path)
    exp.step()
    assert np.isfinite(exp.history.fitness["fitness"]).all()
    assert act.contains(np.asarray(exp.best.act(obs.sample()), np.float32))


def test_one_number_a_row_has_the_form_that_its_space_says():
    data = table(observations=np.linspace(-1, 1, 6))
    for shape in [(), (1,)]:
        known = ev.Dataset(data, observation_space=spaces.Box(-1, 1, shape))
        assert known.transitions([0, 1]).observation.shape == (2, *shape)
    inside = {"x": np.linspace(-1, 1, 6), "y": np.zeros((6, 1))}
    space = spaces.Dict({"x": SCALAR, "y": spaces.Box(-1, 1, (1,))})
    known = ev.Dataset(table(observations=inside), observation_space=space).transitions([2])
    assert known.observation["x"].shape == (1,)
    assert known.observation["y"].shape == (1, 1)


# Choices ----------------------------------------------------------------------------------------


def test_choices_are_counted_by_column():
    actions = np.array([[0, 0], [1, 4], [0, 2], [1, 1], [0, 3], [1, 0]])
    assert ev.Dataset(table(actions=actions)).action_space == spaces.MultiDiscrete([2, 5])


def test_bounds_of_real_and_of_negative_numbers_are_those_of_each_column():
    """One bound for all: a policy for a column within -1 to 1 went as far as the widest column beside it."""
    wide = np.array([[0.5, -30.0], [-0.25, 10.0], [0.0, 0.0], [0.5, 1.0], [0.5, 2.0], [0.5, 3.0]])
    assert ev.Dataset(table(actions=wide)).action_space == spaces.Box(
        np.array([-1, -30], np.float32), np.array([1, 30], np.float32)
    )
    wide[2, 1] = np.nan
    assert ev.Dataset(table(actions=wide), nan="drop").action_space.high.tolist() == [1, 30]
    whole = np.array([[0, -3], [1, 4], [0, 2], [1, 1], [0, 3], [1, 0]])
    space = ev.Dataset(table(actions=whole)).action_space
    assert (space.low.tolist(), space.high.tolist(), space.dtype) == ([0, -3], [1, 4], np.int64)


def test_2048_combinations_of_unequal_columns_are_taken():
    actions = np.zeros((64, 6), int)
    actions[:, :5] = (np.arange(64)[:, None] >> np.arange(5)) & 1
    actions[:, 5] = np.arange(64)
    rows = np.arange(64)
    data = {
        "observations": rows[:, None] / 64,
        "actions": actions,
        "rewards": rows * 0.0,
        "terminals": rows == 63,
    }
    space = ev.Dataset(data).action_space
    assert space.nvec.tolist() == [2, 2, 2, 2, 2, 64]
    population = ev.Population("CQN", spaces.Box(-1, 1, (1,)), space, 1, seed=0, device="cpu")
    assert population.actions.width == 2048


@pytest.mark.parametrize(
    "column", [np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0]), np.array([[0.0], [1], [0], [1], [1], [0]])]
)
def test_whole_numbers_stored_as_floats_are_choices(column):
    data = ev.Dataset(table(actions=column), action_space=spaces.Discrete(2))
    taken = data.transitions(np.arange(6)).action
    assert taken.dtype == np.int64
    assert taken.tolist() == [0, 1, 0, 1, 1, 0]
    assert data.report().casts["actions"].endswith("-> int64")


@pytest.mark.parametrize("column", [[0.0, 2, 0, 1, 1, 0], [[0.0], [2], [0], [1], [1], [0]]])
def test_where_nobody_says_whether_floats_are_choices_the_report_does(column):
    data = ev.Dataset(table(actions=np.array(column)))
    assert data.action_space.dtype == np.float32
    (note,) = [note for note in data.report().notes if note.startswith("actions are")]
    assert "whole numbers from 0 to 2 stored as floats" in note
    assert "action_space=gymnasium.spaces.Discrete(3)" in note
    for actions, space in (
        (column, spaces.Discrete(3)),
        (np.array(column) + 0.5, None),
        (np.array(column) - 1, None),
    ):
        told = ev.Dataset(table(actions=np.array(actions)), action_space=space).report().notes
        assert not [note for note in told if note.startswith("actions are")]


def test_floats_are_choices_to_an_algorithm_that_knows_nothing_else(tmp_path):
    """CQN refused them: "this environment's are Box(-1.0, 1.0, (1,), float32). Use TD3 or DDPG"."""
    for column in (
        np.array([0.0, 2, 0, 1, 1, 0]),
        np.array([[0.0, 2], [1, 0], [1, 1], [0, 0], [1, 0], [0, 1]]),
    ):
        exp = ev.Experiment(
            table(actions=column), "CQN", population=2, steps_per_generation=2, seed=0, device="cpu"
        )
        expected = spaces.Discrete(3) if column.ndim == 1 else spaces.MultiDiscrete([2, 3])
        assert exp.population.action_space == expected
        exp.step()
        exp.save(tmp_path / f"{column.ndim}")
        again = ev.Experiment.load(tmp_path / f"{column.ndim}")
        again.fill(table(actions=column))
        assert again.buffer.fields["action"].dtype == exp.buffer.fields["action"].dtype
        exp.close()
    with pytest.raises(TypeError, match=r"CQN needs Discrete .*; these are Box\(.*Use TD3BC"):
        ev.Experiment(table(actions=np.array([0.0, 0.5, 0, 1, 1, 0])), "CQN", population=2)


def test_an_algorithm_that_was_chosen_by_floats_that_may_be_choices_is_told():
    with pytest.warns(
        UserWarning, match=r"arrays: actions are whole numbers from 0 to 2 .*Discrete\(3\), or name .*'CQN'"
    ):
        exp = ev.Experiment(table(actions=np.array([0.0, 2, 0, 1, 1, 0])), population=2, device="cpu")
    assert exp.algorithm.name == "TD3BC"
    exp.close()


def test_data_of_another_form_are_refused_by_agents_that_there_are():
    exp = ev.Experiment(table(), "CQN", population=2, steps_per_generation=2, seed=0, device="cpu")
    with pytest.raises(ev.DatasetError, match=r"'observations' is float32 of shape \(3,\)"):
        exp.fill(table(observations=np.zeros((6, 3), np.float32)))
    exp.close()


def test_floats_that_are_no_whole_numbers_are_still_refused():
    with pytest.raises(ev.DatasetError, match="Convert 'actions' to integers"):
        ev.Dataset(table(actions=np.array([0, 0.5, 0, 1, 1, 0])), action_space=spaces.Discrete(2))


# Files ------------------------------------------------------------------------------------------


def same(found, expected):
    assert len(found) == len(expected)
    for name in ("observation", "action", "reward", "next_observation", "terminated"):
        assert np.array_equal(found.arrays()[name], expected.arrays()[name])
    assert found.mean_return == expected.mean_return == 10.5  # (1 + 2 + 3 + 4 + 5 + 6) / 2


def test_an_npz_file_is_read(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "data.npz", **table())
        found = ev.Dataset(tmp_path / "data.npz")
        assert (found.name, found.format) == ("data.npz", "npz")
        same(found, ev.Dataset(table()))
        with np.load(tmp_path / "data.npz") as source:
            opened = ev.Dataset(source)
        assert opened.name == "data.npz"
        same(opened, ev.Dataset(table()))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_names_the_file_and_never_ends_in_an_inner_error(tmp_path, save):
    memory = io.BytesIO()
    save(memory, **table())
    sound, path = memory.getvalue(), tmp_path / "data.npz"
    rng, said = np.random.default_rng(0), []
    for trial in range(150):
        damaged = bytearray(sound)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(len(damaged))]
        else:
            for at in rng.integers(len(damaged), size=1 + trial % 4):
                damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        said += [message for message in (outcome(lambda: path), outcome(lambda: np.load(path))) if message]
    assert len(said) > 100
    assert all("data.npz" in message for message in said)


def test_an_npz_beyond_the_machine_is_told_by_its_head(tmp_path):
    """149 GiB were called damaged, to be written again as plain numbers."""
    head = {"descr": "<f4", "fortran_order": False, "shape": (4 * 10**12, 100)}
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file, file.open("observations.npy", "w") as entry:
        np.lib.format.write_array_header_1_0(entry, head)
    with pytest.raises(
        ev.DatasetError,
        match=r"'observations' can't be read .* or it is too large for a \.npz, .* HDF5 stays",
    ):
        ev.Dataset(tmp_path / "data.npz")


def test_a_closed_npz_says_so(tmp_path):
    """It ended in: 'NoneType' object has no attribute 'open'."""
    np.savez(tmp_path / "data.npz", **table())
    with np.load(tmp_path / "data.npz") as source:
        pass
    with pytest.raises(
        ev.DatasetError, match=r"the \.npz is closed\. Read it within its `with`, or pass its path"
    ):
        ev.Dataset(source)


def outcome(source):
    """What a data set says of a source; None where it is read, or where numpy itself does not open it."""
    try:
        found = source()
    except Exception:
        return None
    try:
        ev.Dataset(found)
    except ev.DatasetError as error:
        return str(error)
    return None


def test_objects_in_an_npz_are_not_executed(tmp_path):
    np.savez(tmp_path / "data.npz", **table(actions=np.array([print] * 6, object)))
    with pytest.raises(ev.DatasetError, match=r"data.npz: 'actions' can't be read"):
        ev.Dataset(tmp_path / "data.npz")


def test_a_parquet_file_is_read_as_its_frame(tmp_path, monkeypatch):
    frame = pd.DataFrame({**table(observations=list(table()["observations"]))})
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setattr(pd, "read_parquet", lambda _: frame)
    found = ev.Dataset(path)
    assert found.name == "data.parquet"
    same(found, ev.Dataset(table()))


def test_what_is_wrong_with_a_parquet_file_is_said(tmp_path, monkeypatch):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(
            ImportError, match=r"data.parquet: reading .parquet needs pyarrow.*evolab\[arrow\]"
        ):
            ev.Dataset(path)

    def fail(_):
        raise OSError("Unexpected end of file")

    monkeypatch.setattr(pd, "read_parquet", fail)
    with pytest.raises(
        ev.DatasetError, match=r"data.parquet: it is no .parquet, or damaged \(Unexpected end"
    ):
        ev.Dataset(path)


def test_a_parquet_file_is_read_by_pyarrow_itself(tmp_path):
    """What pyarrow's own writer wrote, one row a step and one row an episode."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    own = table()
    columns = {key: arrow.array(value.tolist()) for key, value in own.items()}
    parquet.write_table(arrow.table(columns), tmp_path / "steps.parquet")
    same(ev.Dataset(tmp_path / "steps.parquet"), ev.Dataset(own))
    parquet.write_table(
        arrow.table({k: arrow.array(v) for k, v in episodes().items()}), tmp_path / "rows.parquet"
    )
    found, expected = ev.Dataset(tmp_path / "rows.parquet"), ev.Dataset(pd.DataFrame(episodes()))
    assert np.array_equal(found.arrays()["observation"], expected.arrays()["observation"])
    assert found.mean_return == 7.5  # (1 + 2 + 3 + 4 + 5) / 2
    whole = (tmp_path / "steps.parquet").read_bytes()
    for size in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.parquet").write_bytes(whole[:size])
        with pytest.raises(ev.DatasetError, match=r"cut.parquet: it is no .parquet, or damaged"):
            ev.Dataset(tmp_path / "cut.parquet")


def episodes(**own):
    """Two episodes of two and three steps, one a row, as data sets of Hugging Face have them."""
    data = {
        "observations": [[[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]],
        "actions": [[0, 1], [1, 1, 0]],
        "rewards": [[1.0, 2.0], [3.0, 4.0, 5.0]],
        "dones": [[False, True], [False, False, True]],
    }
    return pd.DataFrame(data | own)


@pytest.mark.parametrize("form", ["lists", "arrays"])  # parquet gives arrays of arrays
def test_a_frame_may_have_an_episode_per_row(form):
    frame = episodes()
    if form == "arrays":
        for column in frame:
            for row, cell in enumerate(frame[column]):
                packed = np.array(cell)
                if packed.ndim == 2:
                    packed = np.empty(len(cell), object)
                    packed[:] = [np.array(step) for step in cell]
                frame.at[row, column] = packed
    data = ev.Dataset(frame)
    assert data.returns.tolist() == [3.0, 12.0]
    assert len(data) == 5
    taken = data.transitions(np.arange(5))
    assert taken.terminated.tolist() == [False, True, False, False, True]
    assert taken.next_observation[0].tolist() == [2.0, 3.0]
    assert taken.next_observation[2].tolist() == [6.0, 7.0]


def test_an_episode_of_a_frame_may_have_its_final_observation():
    observations = [[[0.0], [1.0], [2.0]], [[3.0], [4.0], [5.0], [6.0]]]
    data = ev.Dataset(episodes(observations=observations, dones=[[False] * 2, [False] * 3]))
    taken = data.transitions(np.arange(5))
    assert taken.next_observation.ravel().tolist() == [1, 2, 4, 5, 6]
    assert not taken.terminated.any()
    assert taken.truncated.tolist() == [False, True, False, False, True]


def test_an_episode_with_too_few_actions_is_named():
    with pytest.raises(ev.DatasetError, match=r"'actions' has 1 entries in row 1, 'rewards' 3"):
        ev.Dataset(episodes(actions=[[0, 1], [1]]))


# Cut by the end of the recording ------------------------------------------------------------------


def test_returns_of_episodes_that_the_recording_cut_off_are_left_out():
    cut = ev.Dataset(table(terminals=np.array([0, 0, 1, 0, 0, 0])))
    assert cut.returns.tolist() == [6.0, 15.0]
    assert cut.mean_return == 6.0
    report = cut.report()
    assert report.mean_return == 6.0
    assert report.returns[1.0] == 6.0
    assert any("1 episodes were cut off by the end of the recording" in note for note in report.notes)


def test_a_time_limit_in_the_last_row_is_no_cut():
    data = ev.Dataset(table(terminals=np.array([0, 0, 1, 0, 0, 0]), timeouts=np.array([0, 0, 0, 0, 0, 1])))
    assert data.mean_return == 10.5
    assert data.report().returns[1.0] == 15.0


@pytest.mark.parametrize("file", [None, "own.h5"])
def test_what_collect_cuts_off_does_not_count(file, tmp_path):
    """Episodes of 7 steps that earn 1 each; 4 environments of 10 rows end in episodes of 3."""
    data = ev.collect(Env, steps=40, num_envs=4, path=None if file is None else tmp_path / file)
    assert sorted(data.returns.tolist()) == [3, 3, 3, 3, 7, 7, 7, 7]
    assert data.mean_return == 7
    assert data.report().returns[0.0] == 7


def test_where_no_episode_was_seen_to_its_end_all_of_them_count():
    data = ev.collect(partial(Env, length=1000), steps=40, num_envs=4)
    assert data.mean_return == 10


@pytest.mark.parametrize(
    ("suffix", "reader"), [(".csv", r"pandas\.read_csv"), (".npy", r"numpy\.load"), (".PKL", "pickle")]
)
def test_files_of_other_forms_are_not_called_damaged(suffix, reader, tmp_path):
    path = tmp_path / f"data{suffix}"
    path.write_bytes(b"a,b,c")
    with pytest.raises(
        ev.DatasetError, match=rf"data\{suffix}: \{suffix} is not read\. Read it yourself, with {reader}"
    ):
        ev.Dataset(path)
