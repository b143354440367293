from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import evolab as ev
from evolab.data.buffers.offline import StoredBuffer, buffer_from


def arrays(episodes: int = 5, length: int = 4) -> dict[str, np.ndarray]:
    """Row i of 20 has observation (i, -i, 0, 0); the last episode is cut, the others terminate."""
    count = episodes * length
    number = np.arange(count, dtype=np.float32)
    ends = np.arange(count) % length == length - 1
    return {
        "observations": np.stack([number, -number, 0 * number, 0 * number], 1),
        "actions": np.arange(count) % 2,
        "rewards": np.ones(count, np.float32),
        "terminals": ends & (number < count - 1),
        "timeouts": ends & (number == count - 1),
    }


def test_whole_data_set_fits_its_buffer():
    """19 of 20 rows have a successor: the last episode was cut without one."""
    buffer, (observations, actions) = buffer_from(arrays())
    assert (len(buffer), buffer.capacity) == (19, 19)
    assert observations.shape == (4,)
    assert actions.n == 2
    assert buffer.fields["episode"].tolist() == [row // 4 for row in range(19)]
    assert buffer.fields["observation"][:, 0].tolist() == list(range(19))
    inside = ~buffer.fields["terminated"]
    successor = buffer.fields["next_observation"][:, 0] - buffer.fields["observation"][:, 0]
    assert (successor[inside] == 1).all()


@pytest.mark.parametrize("kind", ["dict", "frame", "dataset", "file"])
def test_every_source_gives_the_same_buffer(kind, tmp_path):
    data = arrays()
    source: object = data
    if kind == "frame":
        columns = {f"observation_{i}": data["observations"][:, i] for i in range(4)}
        source = pd.DataFrame({**columns, **{name: data[name] for name in data if name != "observations"}})
    elif kind == "dataset":
        source = ev.Dataset(data)
    elif kind == "file":
        h5py = pytest.importorskip("h5py")
        source = tmp_path / "data.h5"
        with h5py.File(source, "w") as file:
            for name, value in data.items():
                file[name] = value
    expected, found = buffer_from(data)[0], buffer_from(source)[0]
    for name, value in expected.fields.items():
        assert torch.equal(found.fields[name], value), name


def test_smaller_buffer_says_what_it_drops():
    with pytest.warns(UserWarning, match=r"the last 9 of 19 are dropped. Pass buffer=ev.ReplayBuffer\(19\)"):
        buffer, _ = buffer_from(arrays(), capacity=10)
    assert buffer.fields["observation"][:, 0].tolist() == list(range(10))


def test_users_own_buffer_is_the_limit_and_the_default_is_not():
    exp = ev.Experiment("CartPole-v1", "CQN", population=2, num_envs=1, buffer=ev.ReplayBuffer(10), seed=1)
    with pytest.warns(UserWarning, match="are dropped"):
        exp.fill(arrays())
    assert len(exp.buffer) == 10
    exp.close()


def test_data_that_do_not_fit_the_environment_change_nothing():
    exp = ev.Experiment("CartPole-v1", "CQN", population=2, num_envs=1, seed=1)
    before = exp.buffer
    wrong = arrays()
    wrong["actions"] = wrong["actions"].astype(np.float32) / 2
    with pytest.raises(
        ev.DatasetError, match=r"'actions' is float32 .*in \[0, 0.5\], but the environment's actions"
    ):
        exp.fill(wrong)
    narrow = {**arrays(), "observations": arrays()["observations"][:, :3]}
    with pytest.raises(ev.DatasetError, match="'observations'"):
        exp.fill(ev.Dataset(narrow))
    with pytest.raises(ev.DatasetError, match=r"nowhere\.h5"):
        exp.fill("nowhere.h5")
    assert exp.buffer is before
    assert len(exp.buffer) == 0
    exp.close()


def test_data_on_disk_are_drawn_from_there(tmp_path):
    """A file larger than memory need not be held in memory to be sampled from."""
    h5py = pytest.importorskip("h5py")
    data = arrays(episodes=50)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for name, value in data.items():
            file[name] = value
    dataset = ev.Dataset(tmp_path / "data.h5", max_memory=1_000)
    assert dataset.on_disk
    stored, (observations, actions) = buffer_from(dataset)
    held, _ = buffer_from(data)
    assert isinstance(stored, StoredBuffer)
    assert len(stored) == len(held) == 199
    drawn = [b.sample(slice(0, 2), 8, torch.Generator().manual_seed(3)) for b in (stored, held)]
    assert drawn[0].observation.shape == (2, 8, 4)
    assert torch.equal(
        stored.rows(torch.tensor([5]))["observation"], held.rows(torch.tensor([5]))["observation"]
    )
    population = ev.Population("CQN", observations, actions, 2, seed=0, hyperparameters={"batch_size": 32})
    losses = population.learn(stored, updates=2)
    assert torch.isfinite(losses["q"]).all()
    with pytest.raises(ev.DatasetError, match="can't be added to"):
        stored.add(None)


def test_offline_experiment_takes_its_spaces_from_the_data():
    exp = ev.Experiment(None, "CQN", population=2, fitness="fqe", seed=1)
    with pytest.raises(ValueError, match="there are no data yet"):
        exp.step()
    exp.fill(arrays(episodes=50))
    assert exp.population.observation_space.shape == (4,)
    assert exp.population.action_space.n == 2


def test_a_batch_beyond_the_data_draws_some_rows_twice():
    """A batch size that mutated beyond 39 rows once ended the run."""
    exp = ev.Experiment(
        None, "CQN", population=2, network=[8], hyperparameters={"batch_size": 64}, steps_per_generation=4,
        fitness=ev.FQE(first=5, batch_size=64), seed=1,
    )  # fmt: skip
    exp.fill(arrays(episodes=10))
    assert len(exp.buffer) == 39
    exp.run(generations=1)
    assert exp.history.fitness["fitness"].notna().all()


def test_without_data_nothing_is_learnt():
    exp = ev.Experiment("CartPole-v1", "CQN", population=2, num_envs=1, seed=1)
    with pytest.raises(ValueError, match=r"there are no data yet. Call exp\.fill\('data\.h5'\)"):
        exp.step()
    exp.close()
