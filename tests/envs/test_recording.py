"""collect: one's own data, with true final observations, in formats that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.data.datasets.dataset import Dataset
from evolab.envs.recording import collect


class Counter(gymnasium.Env[Any, Any]):
    """Counts its steps; ends after `length`, by itself or by a limit; the observation tells all."""

    observation_space = spaces.Box(-1, 100, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, length: int = 4, terminates: bool = True) -> None:
        self.length, self.terminates, self.count, self.episode = length, terminates, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.count, self.episode = 0, self.episode + 1
        return np.array([0, self.episode], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        end = self.count >= self.length
        observation = np.array([self.count, self.episode], np.float32)
        return observation, 1.0, end and self.terminates, end and not self.terminates, {}


class Pair(Counter):
    """The same with observations in parts."""

    observation_space = spaces.Dict(
        {"count": Counter.observation_space, "pair": spaces.Tuple([spaces.Discrete(9)] * 2)}
    )

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**options)
        return {"count": observation, "pair": (0, 1)}, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        return {"count": observation, "pair": (self.count, 1)}, *rest


@pytest.mark.parametrize("terminates", [True, False])
def test_successors_are_true_and_ends_are_told_apart(tmp_path: Path, terminates: bool) -> None:
    dataset = collect(lambda: Counter(terminates=terminates), steps=30, path=tmp_path / "a.h5", num_envs=4)
    arrays, report = dataset.arrays(), dataset.report()
    np.testing.assert_array_equal(arrays["next_observation"][:, 0], arrays["observation"][:, 0] + 1)
    np.testing.assert_array_equal(arrays["next_observation"][:, 1], arrays["observation"][:, 1])
    assert len(dataset) == report.rows == 30
    # 4 environments: two of 8 rows (two whole episodes), two of 7 (one whole, one cut after 3).
    assert report.episodes == 8
    assert (report.terminals, report.truncations) == ((6, 2) if terminates else (0, 8))
    assert sorted(dataset.returns.tolist()) == [3.0, 3.0] + [4.0] * 6


def test_file_is_as_d4rl_has_it_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.hdf5"
    collect(Counter, steps=8, path=path, num_envs=1)
    first = path.read_bytes()
    collect(Counter, steps=8, path=path, num_envs=1, seed=0)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["a.hdf5"]
    with h5py.File(path) as file:
        assert set(file) == {
            "observations",
            "actions",
            "rewards",
            "terminals",
            "timeouts",
            "next_observations",
        }
        assert file["terminals"][()].tolist() == [0, 0, 0, 1] * 2


def test_same_seed_records_the_same_and_another_does_not() -> None:
    first, again, other = (collect("CartPole-v1", steps=200, seed=s).arrays() for s in (3, 3, 4))
    np.testing.assert_array_equal(first["observation"], again["observation"])
    assert not np.array_equal(first["observation"], other["observation"])


@pytest.mark.parametrize("num_envs", [1, 4])
def test_policy_may_be_an_agent_or_a_function_of_one_or_many(num_envs: int) -> None:
    class Agent:
        def act(self, observation: np.ndarray) -> np.ndarray:
            return (observation[:, 2] + observation[:, 3] > 0).astype(int)

    many = Agent().act
    policies = [Agent(), many, lambda o: int(o[2] + o[3] > 0)]
    have = [
        collect("CartPole-v1", policy, steps=600, num_envs=num_envs).arrays()["action"] for policy in policies
    ]
    np.testing.assert_array_equal(have[0], have[1])
    np.testing.assert_array_equal(have[0], have[2])
    np.testing.assert_array_equal(
        have[0], collect("CartPole-v1", many, 600, num_envs=num_envs).arrays()["action"]
    )


def test_parts_of_observations_survive_the_file(tmp_path: Path) -> None:
    dataset = collect(Pair, steps=20, path=tmp_path / "a.h5", num_envs=2)
    assert dataset.observation_space == Pair.observation_space
    np.testing.assert_array_equal(
        dataset.arrays()["next_observation"]["pair"][0], dataset.arrays()["observation"]["pair"][0] + 1
    )


@pytest.mark.parametrize("env", ["CartPole-v1", Pair])
def test_minari_loads_what_was_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: Any) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = collect(env, steps=120, path="toys/random-v1")
    loaded = minari.load_dataset("toys/random-v1")
    assert (loaded.total_steps, loaded.total_episodes) == (120, len(dataset.episodes))
    assert loaded.observation_space == dataset.observation_space
    want = [float(episode.rewards.sum()) for episode in loaded.iterate_episodes()]
    assert dataset.returns.tolist() == want
    assert len(Dataset("toys/random-v1")) == 120
    with pytest.raises(FileExistsError, match="raise the version"):
        collect(env, steps=120, path="toys/random-v1")


@pytest.mark.parametrize("path", ["cut.h5", "cut-v0"])
def test_what_the_end_of_a_recording_cut_off_is_no_return_in_any_format(tmp_path: Path, path: str) -> None:
    """A card said "max -12" of an Acrobot whose episodes take longer."""
    if path == "cut-v0":
        pytest.importorskip("minari")
    collect(Counter, steps=30, num_envs=4, path=tmp_path / path)
    data = Dataset(tmp_path / path)
    assert sorted(data.returns.tolist()) == [3.0, 3.0] + [4.0] * 6
    assert data.mean_return == 4.0
    assert any("2 episodes were cut off by the end of the recording" in note for note in data.report().notes)


def test_a_minari_episode_with_neither_flag_was_cut_off(tmp_path: Path) -> None:
    pytest.importorskip("minari")
    collect(Counter, steps=8, num_envs=1, path=tmp_path / "own-v0")
    with h5py.File(tmp_path / "own-v0/data/main_data.hdf5", "r+") as file:
        file["episode_1/terminations"][-1] = False
        file["episode_1/rewards"][:] = -3.0
    data = Dataset(tmp_path / "own-v0")
    assert data.returns.tolist() == [4.0, -12.0]
    assert data.mean_return == 4.0


def test_minari_folder_by_path_gets_a_version(tmp_path: Path) -> None:
    minari = pytest.importorskip("minari")
    collect(Counter, steps=12, path=tmp_path / "here" / "mine", num_envs=2)
    assert minari.MinariDataset(tmp_path / "here" / "mine-v0" / "data").total_steps == 12


def test_wrong_requests_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path ends in '\.csv'"):
        collect("CartPole-v1", path=tmp_path / "a.csv")
    with pytest.raises(ValueError, match="format is 'csv'"):
        collect("CartPole-v1", format="csv")
    with pytest.raises(ValueError, match="policy is 'clever'"):
        collect("CartPole-v1", "clever")
    with pytest.raises(ValueError, match="policy gave actions of shape"):
        collect("CartPole-v1", lambda o: np.zeros(7))
    with pytest.raises(ValueError, match="steps is 1"):
        collect("CartPole-v1", steps=1)
    population = ev.Population("DQN", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 2, device="cpu")
    with pytest.raises(ValueError, match=r"CartPole-v1 has observations .*; the agent was trained on Box"):
        collect("CartPole-v1", population[0])
    with pytest.raises(
        TypeError, match=r"policy is a population; expected one agent of it, such as population\[0\]"
    ):
        collect("CartPole-v1", population)
