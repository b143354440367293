"""Sizes beyond the machine: what a configuration needs is compared with what there is before anything is made."""

from __future__ import annotations

import gymnasium
import pytest
import torch

import evolab as ev
from evolab.core import machine_memory
from evolab.core.machine_memory import Need, require
from evolab.population.spec import Spec

GIB = 2**30


def nobody_is_made(*_):
    raise AssertionError("weights were drawn")


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
        ({"fitness": ev.FQE(members=10**9)}, "members or hidden of FQE"),
        ({"fitness": ev.FQE(hidden=[10**6, 10**6])}, "members or hidden of FQE"),
        (
            {"algorithm": ev.QRDQN(quantiles=10**9)},
            "population or the network, or the actions or quantiles that it",
        ),
        ({"vectorization": "async", "num_envs": 2_000}, "population or num_envs"),
    ],
)
@pytest.mark.usefixtures("small_machine")
def test_what_cannot_fit_is_refused_at_once_with_the_sum(options, lower, monkeypatch):
    monkeypatch.setattr(Spec, "first_population", nobody_is_made)
    with pytest.raises(
        ValueError, match=rf"needs at least .* GiB of memory, and the machine has 4\.0 GiB.*Lower {lower}"
    ):
        ev.Experiment("CartPole-v1", device="cpu", **{"algorithm": "DQN", "population": 4, **options})


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


# Calls that take a size ---------------------------------------------------------------------------------------


def small(**options):
    settings = {
        "population": 2,
        "num_envs": 2,
        "network": [8],
        "steps_per_generation": 20,
        "device": "cpu",
        "seed": 0,
    }
    return ev.Experiment("CartPole-v1", "DQN", progress=False, **settings | options)


@pytest.fixture(scope="module")
def trained():
    exp = small(hyperparameters={"batch_size": 8})
    exp.fill(40)
    exp.step()
    yield exp
    exp.close()


@pytest.fixture
def nothing_is_made(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an environment was made")

    monkeypatch.setattr("evolab.envs.factory.Guard", refuse)


CALLS = {
    "seeds": (lambda exp, path: exp.certify(seeds=10**7), r"Lower seeds\."),
    "episodes of a certificate": (lambda exp, path: exp.certify(episodes=10**9), r"Lower episodes or seeds\."),
    "episodes": (lambda exp, path: exp.evaluate(episodes=10**9), r"results 14\.9 GiB \(episodes=1,000,000,000\)\. Lower ep"),
    "episodes of an agent": (lambda exp, path: exp.best.evaluate("CartPole-v1", 10**9), r"Lower episodes\."),
    "environments": (lambda exp, path: ev.envs.make("CartPole-v1", 10**6, 10**3), "Lower population or num_envs"),
    "processes": (lambda exp, path: ev.envs.make("CartPole-v1", 2, 10**3, vectorization="async"), "Lower population or num"),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("small_machine", "nothing_is_made")
def test_what_a_call_cannot_have_is_refused_before_anything_is_made(trained, call, tmp_path):
    make, lower = CALLS[call]
    with pytest.raises(
        ValueError, match=rf"needs at least .* GiB of memory, and the machine has 4\.0 GiB.*{lower}"
    ):
        make(trained, tmp_path)


@pytest.mark.usefixtures("small_machine")
def test_episodes_of_a_population_and_frames_of_a_rollout_are_counted(trained):
    with pytest.raises(ValueError, match=r"agents x episodes = 2 x 1,000,000,000\)\. Lower episodes\."):
        ev.evaluate(trained.population, "CartPole-v1", 10**9)
    # A frame of CartPole has 400 x 600 x 3 bytes, and an episode two at least.
    with pytest.raises(ValueError, match=r"frames 13\.4 GiB \(episodes=10,000\)\. Lower episodes\."):
        trained.rollout(episodes=10_000)


def test_a_rollout_ends_by_a_sentence_where_frames_take_what_is_free(trained, monkeypatch):
    monkeypatch.setattr("evolab.evaluation.watched_episodes.free_memory", lambda device: 1_000_000)
    monkeypatch.setattr("evolab.evaluation.watched_episodes.LOOKED", 4)
    with pytest.raises(
        MemoryError, match=r"4 frames take 2\.7 MiB, and 1\.0 MiB of memory are free: pass a smaller max_st"
    ):
        trained.rollout(episodes=3)


@pytest.mark.usefixtures("small_machine")
def test_what_is_set_later_is_counted_as_well(trained):
    with pytest.raises(
        ValueError, match=r"evaluation .* GiB \(confirmation=1,000,000,000\).* Lower confirmation"
    ):
        trained.confirmation = 10**9
    assert trained.confirmation == 20


@pytest.mark.usefixtures("small_machine")
def test_stacked_frames_are_counted_before_their_bounds_are_made():
    """A MemoryError without a word. CartPole's four numbers of four bytes, three times."""
    with pytest.raises(
        ValueError, match=r"stacked frames 44\.7 GiB \(frame_stack=1,000,000,000\)\. Lower frame_stack\."
    ):
        small(frame_stack=10**9)


@pytest.mark.usefixtures("small_machine")
def test_a_recording_is_counted_before_its_first_step(tmp_path):
    # A row: 4 numbers before and 4 after, 4 bytes each, a choice of 8, a reward of 4 and two ends.
    with pytest.raises(ValueError, match=r"recording 42\.8 GiB \(steps=1,000,000,000\)\. Lower steps\."):
        ev.collect("CartPole-v1", steps=10**9, path=tmp_path / "data.h5")
    assert not (tmp_path / "data.h5").exists()


def test_random_steps_beyond_what_the_buffer_keeps_are_not_taken():
    exp = small(buffer=64, hyperparameters={"batch_size": 8})
    with pytest.warns(
        UserWarning, match=r"fill is 1,000,000,000,000, and the buffer keeps 64 steps: so many are taken"
    ):
        exp.fill(10**12)
    assert exp.total_steps == len(exp.buffer) == 64
    exp.close()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (10**6, r"a sweep of 1,000,000 runs \(1,000,000 seeds\): .* Lower seeds\."),
        (range(10**9), r"a sweep of 1,000,000,000 runs: .* Lower runs\."),
        (
            {"seeds": 100, "grid": {"hyperparameters.lr": [1e-4, 1e-3], "num_envs": list(range(1, 201))}},
            r"a sweep of 40,000 runs \(2 hyperparameters\.lr x 200 num_envs x 100 seeds\): .* Lower num_envs\.",
        ),
    ],
)
def test_more_runs_than_can_be_driven_are_refused_before_anything_is_made(what, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        ev.sweep(
            what, tmp_path / "s", generations=1, environment="CartPole-v1", algorithm="DQN", progress=False
        )
    assert not (tmp_path / "s").exists()
