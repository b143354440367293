"""Recorded updates, on a stand-in for CUDA graphs, and on a CUDA device where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core.experience import Batch, Transition
from evolab.evolution.mutation.architecture_path import reshape
from evolab.evolution.mutation.context import Context
from evolab.networks.batching import cuda_graphs as graphs
from evolab.networks.kernels import build
from evolab.networks.mlp.mlp import MLPGenes
from tests import recorder
from tests.mixed import BOX, DISCRETE, FEATURES, OBSERVATIONS, mixed

ALGORITHMS = ["TD3", "DDPG", "DQN", "SAC"]
OFFLINE = {"CQN": True, "BCQ": True, "TD3BC": False, "IQL": False}


@dataclass
class Device:
    """Where a test records, and what it has recorded there."""

    name: str
    made: list[graphs.Recording] = field(default_factory=list)

    def population(self, algorithm, size=2, **options):
        space = BOX if algorithm == "TD3" else DISCRETE
        settings = {"network": [8], "seed": 0, "device": self.name, "hyperparameters": {"batch_size": 16}}
        return ev.Population(algorithm, OBSERVATIONS, space, size, **settings | options)

    def buffer(self, discrete=True, capacity=200):
        buffer = ev.ReplayBuffer(capacity, device=self.name)
        buffer.add(transitions(60, discrete))
        return buffer


@pytest.fixture(params=["stand-in", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request, monkeypatch):
    """A device that records; the processor by a stand-in."""
    found = Device("cuda" if request.param == "cuda" else "cpu")
    how = graphs.record_graph if request.param == "cuda" else recorder.record

    def record(work, generator):
        found.made.append(how(work, generator))
        return found.made[-1]

    monkeypatch.setenv("EVOLAB_NATIVE", "0")
    build.library.cache_clear()
    monkeypatch.setattr(graphs, "possible", lambda where: where.type == found.name)
    monkeypatch.setattr(graphs, "record_graph", record)
    yield found
    build.library.cache_clear()


def by_hand(monkeypatch):
    """From here on nothing is recorded."""
    monkeypatch.setattr(graphs.Recordings, "run", lambda self, key, work, *others: work())


def transitions(count, discrete, seed=0, agents=1):
    """[agents, count] random transitions."""
    g = np.random.default_rng(seed)
    shape = (agents, count)
    low, high = BOX.low, BOX.high
    action = g.integers(0, 3, shape) if discrete else g.uniform(low, high, (*shape, 2))
    observation, following = g.normal(size=(2, *shape, FEATURES)).astype(np.float32)
    ended = g.random(shape) < 0.2
    return Transition(
        observation=observation, action=action, reward=g.normal(size=shape), next_observation=following,
        terminated=ended, truncated=~ended, reset_observation=following, valid=np.ones(shape, dtype=bool),
    )  # fmt: skip


def learn(population, buffer, discrete, rounds=18):
    """Updates by one or two at a time, in every phase of a delayed policy, while the buffer grows and runs over."""
    losses = []
    for number in range(rounds):
        buffer.add(transitions(17, discrete, seed=number))
        losses.append(population.learn(buffer, updates=(1, 2, 2)[number % 3]))
    return losses


def same(one, other):
    pairs = [(value.cpu(), other.table[name].cpu()) for name, value in one.table.items()]
    if one.device.type == "cuda":
        return all(torch.allclose(a, b, atol=1e-9) for a, b in pairs)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_replayed_updates_are_the_updates(device, monkeypatch, algorithm):
    discrete = algorithm == "DQN"
    replayed, plain = mixed(algorithm, device=device.name), mixed(algorithm, device=device.name)
    found = learn(replayed, device.buffer(discrete), discrete)
    assert device.made
    by_hand(monkeypatch)
    expected = learn(plain, device.buffer(discrete), discrete)
    assert same(replayed, plain)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.allclose(one[name], other[name], equal_nan=True) for name in other)


def test_replayed_updates_take_in_what_they_learn_from(device, monkeypatch):
    replayed, plain = (device.population("DQN", normalise=True) for _ in range(2))
    for one in (replayed, plain):
        one.observe(transitions(5, discrete=True, agents=2))
    learn(replayed, device.buffer(), discrete=True)
    assert device.made
    by_hand(monkeypatch)
    learn(plain, device.buffer(), discrete=True)
    assert replayed.table["normaliser.observation"][:, 0].min() > 100
    assert same(replayed, plain)


@pytest.mark.parametrize("algorithm", OFFLINE)
def test_replayed_updates_from_recorded_data_are_the_updates(device, monkeypatch, algorithm):
    discrete = OFFLINE[algorithm]
    space = DISCRETE if discrete else BOX
    settings = {"network": [8], "seed": 0, "device": device.name, "dtype": torch.float64,
                "hyperparameters": {"batch_size": 16}}  # fmt: skip
    replayed, plain = (ev.Population(algorithm, OBSERVATIONS, space, 3, **settings) for _ in range(2))
    learn(replayed, device.buffer(discrete), discrete)
    assert device.made
    by_hand(monkeypatch)
    learn(plain, device.buffer(discrete), discrete)
    assert same(replayed, plain)


def test_several_choices_at_once_are_recorded_as_well(device):
    space = spaces.MultiDiscrete([2, 3], start=[1, -1])
    population = ev.Population("DQN", OBSERVATIONS, space, 2, network=[8], seed=0, device=device.name,
                               hyperparameters={"batch_size": 16})  # fmt: skip
    one = transitions(60, True)
    g = np.random.default_rng(0)
    action = np.stack([g.integers(1, 3, (1, 60)), g.integers(-1, 2, (1, 60))], -1)
    buffer = ev.ReplayBuffer(100, device=device.name)
    buffer.add(replace(one, action=action))
    for _ in range(4):
        assert torch.isfinite(population.learn(buffer, updates=2)["q"]).all()
    assert len(device.made) == 1


def test_every_draw_of_a_replay_is_new(device):
    population, buffer = device.population("DQN"), device.buffer()
    losses = [population.learn(buffer, updates=1)["q"] for _ in range(8)]
    assert len(device.made) == 1
    assert len({tuple(one.tolist()) for one in losses}) == 8


def test_a_replay_draws_from_what_was_added_since(device):
    buffer = ev.ReplayBuffer(1000, device=device.name)
    buffer.add(transitions(10, True))
    buffer.tell_device()
    generator = torch.Generator(device.name).manual_seed(0)
    recording = graphs.record_graph(
        lambda: {"reward": buffer.samples(slice(0, 1), 400, 1, generator).reward}, generator
    )
    recording.replay()
    assert len(recording.results["reward"].unique()) == 10
    buffer.add(transitions(90, True, seed=1))
    buffer.tell_device()
    recording.replay()
    assert len(recording.results["reward"].unique()) > 90


@pytest.mark.parametrize("shared", [True, False])
def test_a_generation_of_the_same_capacity_keeps_what_was_recorded(device, shared):
    population = device.population("TD3", 3, search_space={"lr_actor": ev.Float(1e-4, 1e-2)})
    buffer = ev.ReplayBuffer(100, device=device.name, shared=shared)
    buffer.add(transitions(60, False, agents=3))
    rates = ev.Mutations(none=0, architecture=0, parameters=0.5, activation=0, hyperparameters=0.5)
    for generation in range(4):
        population.reseed(generation)
        for _ in range(6):
            population.learn(buffer, updates=2)
        ev.evolve(population, [1.0, 2.0, 3.0], ev.Tournament(), rates)
        buffer.follow([0, 1, 2])
        assert len(device.made) == (1 if shared else generation + 1), "agents' own experience moves with them"


def test_a_differently_activated_agent_is_recorded_anew_and_a_smaller_batch_is_not(device):
    population, buffer = device.population("DQN"), device.buffer()

    def recorded_after(change):
        members = [population.individual(row) for row in range(2)]
        change(members[0])
        population.rebuild(members)
        before = len(device.made)
        for _ in range(3):
            population.learn(buffer, updates=1)
        return len(device.made) - before

    assert recorded_after(lambda individual: None) == 1
    assert recorded_after(lambda individual: None) == 0
    assert recorded_after(lambda individual: individual.hyperparameters.update(batch_size=5)) == 0
    weight = population.groups[0].weight(16, population.table.hyper["lr"])
    assert weight.sum(1).tolist() == pytest.approx([1, 1])
    assert sorted((weight > 0).sum(1).tolist()) == [5, 16]
    assert recorded_after(lambda individual: setattr(individual, "genes", MLPGenes((8,), ("tanh",)))) == 1


def test_a_generation_that_keeps_recordings_learns_as_one_that_does_not(device, monkeypatch):
    def run():
        population, buffer = mixed("TD3", device=device.name), device.buffer(False)
        for generation in range(3):
            population.reseed(generation)
            learn(population, buffer, False, rounds=6)
            weights = ev.Mutations(
                none=0.2, architecture=0, parameters=0.3, activation=0, hyperparameters=0.5
            )
            ev.evolve(population, list(range(8)), ev.Tournament(), weights)
        return population

    replayed = run()
    count = len(device.made)
    assert count
    by_hand(monkeypatch)
    plain = run()
    assert len(device.made) == count
    assert same(replayed, plain)


def test_another_buffer_at_the_same_addresses_is_recorded_anew(device):
    population, buffer = device.population("DQN"), device.buffer(capacity=50)
    for _ in range(3):
        population.learn(buffer, updates=1)
    other = ev.ReplayBuffer(50, device=device.name)
    other.fields, other.frames, other.device = buffer.fields, buffer.frames, buffer.device
    other.length[:] = 17
    for _ in range(3):
        population.learn(other, updates=1)
    assert len(device.made) == 2
    assert other.recording_key() != buffer.recording_key()


def test_the_results_of_a_replay_are_the_callers_own(device):
    population, buffer = device.population("DQN"), device.buffer()
    losses = [population.learn(buffer, updates=1)["q"] for _ in range(4)]
    kept = losses[2].clone()
    population.learn(buffer, updates=1)
    assert torch.equal(losses[2], kept)
    made = population.groups[0].recordings
    first, second = (made.run("key", lambda: {"x": torch.zeros(1, device=device.name) + 1},
                              population.table.generator, lambda: None)["x"] for _ in range(2))  # fmt: skip
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize(
    "changed",
    [
        {"policy_delay": 3},
        {"learn_step": 2},
        {"batch_size": 12},
    ],
    ids=str,
)
def test_a_group_of_other_update_timing_or_batch_is_computed_anew(device, changed):
    population, buffer = device.population("TD3", 3), device.buffer(False)
    before = population.groups
    for _ in range(4):
        population.learn(buffer, updates=2)
    members = [population.individual(row) for row in range(3)]
    for individual in members:
        individual.hyperparameters.update(changed)
    population.rebuild(members)
    assert len(before) == len(population.groups) == 1
    assert before[0] is not population.groups[0]
    assert population.groups[0].settings[0] | changed == population.groups[0].settings[0]


def test_normalised_agents_of_other_widths_are_computed_anew(device):
    network = ev.MLP([16], layer_norm=True, min_units=4)
    population = device.population("DQN", network=network)
    before = population.groups[0]
    members = [population.individual(row) for row in range(2)]
    context = Context(network, population.roles, {}, 0.1, torch.Generator().manual_seed(0))
    reshape(members[1], context, MLPGenes((8,), ("relu",)))
    population.rebuild(members)
    assert population.groups[0].batch == before.batch
    assert population.groups[0] is not before, "the mask of the units awake is another one"


def test_a_long_schedule_is_not_recorded_phase_by_phase(device):
    population = device.population("TD3", hyperparameters={"batch_size": 16, "policy_delay": 9})
    buffer = device.buffer(False)
    for _ in range(40):
        population.learn(buffer, updates=1)
    assert not device.made


def test_the_recordings_used_last_are_kept(device):
    population = device.population("DQN")
    recordings, generator = population.groups[0].recordings, population.table.generator

    def work():
        return {"x": torch.zeros(1, device=device.name) + 1}

    for key in range(graphs.MOST):
        for _ in range(2):
            recordings.run(key, work, generator, lambda: None)
    recordings.run(0, work, generator, lambda: None)
    for _ in range(2):
        recordings.run("new", work, generator, lambda: None)
    assert len(recordings.made) == graphs.MOST
    assert 0 in recordings.made
    assert 1 not in recordings.made


class Picky(ev.ReplayBuffer):
    """A buffer that draws in a way of its own."""

    def samples(self, agents, size, updates, generator):
        return super().samples(agents, size, updates, generator)


def test_draws_of_a_users_own_are_not_recorded(device):
    population, buffer = device.population("DQN"), Picky(100, device=device.name)
    buffer.add(transitions(60, True))
    for _ in range(4):
        population.learn(buffer, updates=1)
    assert not device.made


@dataclass(frozen=True)
class Curious(ev.DQN):
    """Waits for the device in every update."""

    recordable: ClassVar[bool] = True

    def update(self, agents, batch: Batch, noise):
        assert float(batch.reward.sum()) < 1e9
        return super().update(agents, batch, noise)


@dataclass(frozen=True)
class Unmarked(ev.DQN):
    """A target of its own, and no promise."""

    def target(self, agents, batch: Batch):
        return super().target(agents, batch) * (agents.updates < 10)


def test_what_cannot_be_recorded_goes_on_without(device):
    population, buffer = device.population(Curious()), device.buffer()
    population.learn(buffer, updates=1)
    with pytest.warns(UserWarning, match="can't be recorded as a CUDA graph and go on without one"):
        population.learn(buffer, updates=1)
    assert torch.isfinite(population.learn(buffer, updates=3)["q"]).all()
    assert population.individuals[0].updates == population.groups[0].updates == 5
    assert not device.made
    assert torch.rand(1, device=device.name) >= 0, "the device's own generator is not left waiting"


def test_an_update_of_a_users_own_is_recorded_only_where_it_says_so(device):
    population, buffer = device.population(Unmarked()), device.buffer()
    for _ in range(4):
        population.learn(buffer, updates=1)
    assert not device.made


def test_images_are_recorded_as_well(device):
    space = spaces.Box(0, 255, (3, 8, 8), np.uint8)
    population = ev.Population("DQN", space, DISCRETE, 2, seed=0, hyperparameters={"batch_size": 4}, device=device.name,
                               network=ev.CNN(channels=(4,), kernels=(3,), strides=(1,), hidden=(8,)))  # fmt: skip
    g = np.random.default_rng(0)
    shape = (1, 20)
    pictures = g.integers(0, 255, (*shape, 3, 8, 8), dtype=np.uint8)
    never = np.zeros(shape, bool)
    buffer = ev.ReplayBuffer(50, device=device.name)
    buffer.add(Transition(
        observation=pictures, action=g.integers(0, 3, shape), reward=g.normal(size=shape), next_observation=pictures,
        terminated=never, truncated=never, reset_observation=pictures, valid=~never))  # fmt: skip
    losses = [population.learn(buffer, updates=1)["q"] for _ in range(6)]
    assert len(device.made) == 1
    assert len({tuple(one.tolist()) for one in losses}) == 6


def test_nothing_is_recorded_on_a_processor():
    assert not graphs.possible(torch.device("cpu"))
    here = Device("cpu")
    population, buffer = here.population("DQN"), here.buffer()
    for _ in range(4):
        population.learn(buffer, updates=1)
    assert buffer.filled is None
    assert not population.groups[0].recordings.made


def test_the_environment_variable_leaves_graphs_out(monkeypatch):
    assert graphs.possible(torch.device("cuda"))
    monkeypatch.setenv("EVOLAB_GRAPHS", "0")
    assert not graphs.possible(torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learning_on_cuda_never_waits_for_the_device(algorithm):
    discrete = algorithm == "DQN"
    population = mixed(algorithm, device="cuda")
    buffer = Device("cuda").buffer(discrete)
    for _ in range(4):
        population.learn(buffer, updates=6)
    torch.cuda.set_sync_debug_mode("error")
    try:
        population.learn(buffer, updates=6)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
def test_a_run_on_cuda_learns_by_recordings():
    exp = ev.Experiment("CartPole-v1", "DQN", population=4, num_envs=4, steps_per_generation=2000,
                        eval_episodes=2, seed=0, device="cuda", precision="tf32")  # fmt: skip
    exp.fill(1000)
    exp.run(generations=2)
    assert any(group.recordings.made for group in exp.population.groups)
    assert np.isfinite(exp.history.fitness.fitness).all()
    exp.close()
