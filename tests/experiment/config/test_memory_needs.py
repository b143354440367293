"""Sizes beyond the machine: what a configuration needs is compared with what there is before anything is made."""

from __future__ import annotations

import time

import gymnasium
import pytest
import torch

import evolab as ev
from evolab.core import machine_memory
from evolab.core.machine_memory import Need, require

GIB = 2**30


@pytest.fixture
def small_machine(monkeypatch):
    monkeypatch.setattr(machine_memory, "total_memory", lambda: 4 * GIB)


@pytest.mark.parametrize(
    ("options", "lower"),
    [
        ({"population": 1_000_000}, "population"),
        ({"population": 10**30}, "population"),
        ({"buffer": 10**12}, "buffer"),
        ({"network": [10_000_000]}, "batch_size or the network"),
        ({"network": [10_000_000], "population": 1}, "batch_size or the network"),
        ({"network": ev.MLP([4_000_000], layer_norm=True)}, "batch_size or the network"),
        ({"network": [100_000, 100_000]}, "population or the network"),
        ({"num_envs": 10_000_000}, "population or num_envs"),
        ({"eval_episodes": 10**9, "fitness": "return"}, "eval_episodes"),
        ({"confirmation": 10**9}, "confirmation"),
        ({"vectorization": "async", "num_envs": 2_000}, "population or num_envs"),
    ],
)
@pytest.mark.usefixtures("small_machine")
def test_what_cannot_fit_is_refused_at_once_with_the_sum(options, lower):
    started = time.perf_counter()
    with pytest.raises(
        ValueError, match=rf"needs at least .* GiB of memory, and the machine has 4\.0 GiB.*Lower {lower}"
    ):
        ev.Experiment("CartPole-v1", "DQN", device="cpu", **{"population": 4, **options})
    assert time.perf_counter() - started < 5  # some 0.1 s; drawing the weights would take longer


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_ten_million_units_are_too_many_for_what_one_update_takes(algorithm, monkeypatch):
    """They were accepted after 20 seconds. 128 x 10^7 outputs are 4.8 GiB in float32, and held several times."""
    monkeypatch.setattr(machine_memory, "total_memory", lambda: 12 * GIB)
    with pytest.raises(
        ValueError, match=r"one update \d+\.\d GiB \(batch_size=\d+, 10,000,000 hidden units\)"
    ):
        ev.Experiment("CartPole-v1", algorithm, population=4, device="cpu", network=[10_000_000])


def test_what_is_taken_at_once_must_fit_into_what_is_free(monkeypatch):
    parts = [Need("agents", GIB, "a=1", "a"), Need("experience", 9 * GIB, "b=2", "b", at_once=False)]
    monkeypatch.setattr(machine_memory, "total_memory", lambda: 10 * GIB)
    monkeypatch.setattr(machine_memory, "free_memory", lambda device: GIB)
    require(parts, torch.device("cpu"))
    monkeypatch.setattr(machine_memory, "free_memory", lambda device: GIB - 1)
    require(parts)
    said = r"least 1\.0 GiB .* has 10\.0 GiB, of which 1\.0 GiB are free: agents 1\.0 GiB \(a=1\)\. Lower a\."
    with pytest.raises(ValueError, match=said):
        require(parts, torch.device("cpu"))


@pytest.mark.usefixtures("small_machine")
def test_the_sum_is_what_the_tensors_take():
    # DQN on CartPole with 10 million units: 4 x 10^7 + 10^7 + 2 x 10^7 + 2 = 70 000 002 parameters; itself, target and
    # two moments in float32 are 1 120 000 032 bytes an agent, 4.2 GiB for four.
    with pytest.raises(ValueError, match=r"agents 4\.2 GiB \(population=4, 70,000,002 parameters each\)"):
        ev.Experiment("CartPole-v1", "DQN", population=4, device="cpu", network=[10_000_000])


@pytest.mark.usefixtures("small_machine")
def test_pools_of_experience_count_once_for_each_agent():
    # A row is at least 4 floats, an int64, a float32 and a bool: 29 bytes; 60 million of them are 1.6 GiB.
    ev.Experiment("CartPole-v1", "DQN", population=3, device="cpu", buffer=60_000_000).close()
    with pytest.raises(ValueError, match=r"experience 4\.9 GiB \(buffer=60,000,000\).* Lower buffer"):
        ev.Experiment(
            "CartPole-v1", "DQN", population=3, device="cpu", buffer=ev.ReplayBuffer(60_000_000, shared=False)
        )


@pytest.mark.usefixtures("small_machine")
def test_a_population_alone_is_refused_as_well():
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(ValueError, match=r"agents .* GiB \(population=1,000,000, .* Lower population"):
        ev.Population("DQN", env.observation_space, env.action_space, size=1_000_000, device="cpu")


def test_the_parts_are_told_largest_first(monkeypatch):
    monkeypatch.setattr(machine_memory, "total_memory", lambda: 3 * GIB)
    parts = [Need("one", GIB, "a=1", "a"), Need("two", 2 * GIB, "b=2", "b")]
    require(parts)
    monkeypatch.setattr(machine_memory, "total_memory", lambda: 3 * GIB - 1)
    with pytest.raises(
        ValueError,
        match=r"at least 3\.0 GiB .*: two 2\.0 GiB \(b=2\); one 1\.0 GiB \(a=1\)\. Lower b\.",
    ):
        require(parts)
    require(parts, torch.device("meta"))


def test_a_machine_that_does_not_tell_refuses_nothing(monkeypatch):
    monkeypatch.setattr(machine_memory, "total_memory", lambda: None)
    require([Need("one", 10**30, "a=1", "a")])


def test_a_container_s_limit_counts(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("1048576\n")
    monkeypatch.setattr(machine_memory, "LIMITS", (str(tmp_path / "memory.max"),))
    assert machine_memory.total_memory() == 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory.total_memory() > 2**20


def test_priorities_are_counted_before_anything_is_made():
    options = {"buffer": 10**9, "population": 64, "progress": False}
    with pytest.raises(
        ValueError, match=r"priorities \d+\.\d GiB \(buffer x population = 1,000,000,000 x 64\)"
    ):
        ev.Experiment("CartPole-v1", "DQN", hyperparameters={"priority": 0.6}, **options)
