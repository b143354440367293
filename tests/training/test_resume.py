"""Exact resume: ten generations equal four, a kill and six more, bit for bit, whatever is learned."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import textwrap

import gymnasium
import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core import registry
from tests.small import QUICK, assert_same, evolving, experiment, quiet, recorded, told

ONCE = """
import os, signal, time
from tests.small import evolving, experiment

exp = experiment(algorithm, folder=folder, search_space=evolving(algorithm))
exp.run(generations=4)
exp.start(generations=3)  # no more, however long this process is left waiting
time.sleep(0.05)  # in the middle of some generation
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def processes():
    """Processes that start from one where evolab is imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.small", "evolab.experiment.experiment", "gymnasium", "tqdm.auto", "evolab.envs"]
    )
    return context


@pytest.mark.parametrize("algorithm", registry.names("algorithm"))
def test_ten_generations_are_four_and_a_kill_and_six(tmp_path, processes, algorithm):
    whole = experiment(algorithm, search_space=evolving(algorithm))
    whole.run(generations=10)
    names = {"algorithm": algorithm, "folder": str(tmp_path / "run")}
    process = processes.Process(target=exec, args=(ONCE, names))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    again = ev.Experiment.load(tmp_path / "run")
    assert 4 <= again.generation < 10
    again.run(generations=10 - again.generation)
    assert_same(whole, again)


@pytest.mark.parametrize("algorithm", registry.names("algorithm"))
def test_one_thread_and_two_give_the_same_run(algorithm):
    runs = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            runs.append(experiment(algorithm, network=[64, 64]))
            runs[-1].run(generations=2)
        finally:
            torch.set_num_threads(before)
    assert_same(*runs)


@pytest.mark.parametrize("algorithm", registry.names("algorithm"))
def test_two_runs_with_one_seed_are_equal_and_another_seed_is_another_run(algorithm):
    one, same, other = (experiment(algorithm, seed=seed) for seed in (3, 3, 4))
    for exp in (one, same, other):
        exp.run(generations=2)
    assert_same(one, same)
    assert told(one) != told(other)


def acting(**options):
    """What an environment alone gives, with less to compute; it narrows from eight agents to four after generation 2."""
    about = {
        "population": 8,
        "network": [4],
        "seed": 2,
        "device": "cpu",
        "update_ratio": 0.02,
        "eval_steps": 50,
    }
    return ev.Experiment("CartPole-v1", **about | options)


@pytest.mark.parametrize("saved", [1, 2, 3])
def test_where_acting_is_the_fitness_a_run_goes_on_from_any_generation(tmp_path, monkeypatch, saved):
    """What is known of the agents, the elite, its offset and its challengers' allowance are part of it."""
    monkeypatch.setattr("evolab.training.options.TRANSITIONS", 240)
    whole = acting()
    whole.run(generations=saved)
    whole.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    assert again._state.episodes.horizon == whole._state.episodes.horizon
    assert again._state.hall.take_state() == whole._state.hall.take_state()
    assert (again.population.ids, again.config) == (whole.population.ids, whole.config)
    for exp in (whole, again):
        exp.run(generations=4 - saved)
    assert len(whole.population) == 4
    assert "4 DQN agents" in repr(again)
    assert whole.config == again.config == acting().config, "it does not depend on how far the run is"
    assert_same(whole, again)
    assert again._state.hall.take_state() == whole._state.hall.take_state()
    assert whole.evaluation_steps > 0


def test_who_was_proposed_and_what_confirmations_had_taught_outlive_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("evolab.training.options.TRANSITIONS", 240)
    exp = acting(population=4, evaluation_share=0.0)
    exp.run(generations=1)
    exp._state.hall.offset = 12.5
    for _ in range(2):  # a better proposal replaces the one on the disk
        exp.save(tmp_path / "run")
        again = ev.Experiment.load(tmp_path / "run")
        assert again._state.hall.take_state() == exp._state.hall.take_state()
        assert (again._state.hall.proposed, again._state.hall.offset) == (exp._state.hall.proposed, 12.5)
        on_disk = ev.Agent.load(tmp_path / "run" / "elite")
        for elite in (again.elite, on_disk):
            assert torch.equal(elite.table["q"], exp.elite.table["q"])
        exp._state.hall.propose(exp.best, exp._state.hall.proposed + 1.0)
    exp.evaluation_share = 1.0
    generation = exp.step()
    assert generation.changes["evaluation_share"] == 1.0
    assert exp.evaluation_steps > 0
    exp.close()


def test_a_new_process_goes_on_as_well(tmp_path):
    whole, part = experiment("TD3"), experiment("TD3")
    whole.run(generations=3)
    part.run(generations=1)
    part.save(tmp_path / "run")
    part.close()
    script = f"""
        import evolab as ev
        exp = ev.Experiment.load({str(tmp_path / "run")!r})
        exp.run(generations=2)
        exp.save()
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, env=quiet()
    )
    assert_same(whole, ev.Experiment.load(tmp_path / "run"))


VARIANTS = {
    "ou noise": ("TD3", {"algorithm": ev.TD3(ou_noise=True)}),
    "layer norm": ("DQN", {"network": ev.MLP([16], layer_norm=True)}),
    "frequencies": ("DQN", {"population": 8, "selection": ev.MFPBT()}),
    "truncation": ("DDPG", {"population": 5, "selection": ev.Truncation()}),
    "a window of fitness": ("DQN", {"selection": ev.Tournament(window=3)}),
    "a revived elite": ("DQN", {"revive": True}),
    "an elite at rest": ("TD3", {"revive": "resting"}),
    "drawn at birth": ("TD3", {"draw": True}),
    "only architecture": (
        "DQN",
        {"mutations": ev.Mutations(none=0, architecture=1, parameters=0, activation=0, hyperparameters=0)},
    ),
    "in float64": ("DDPG", {"dtype": torch.float64}),
    "more updates than steps": ("TD3", {"update_ratio": 2.5}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_resumes(tmp_path, name):
    algorithm, options = VARIANTS[name]
    options = dict(options)
    algorithm = options.pop("algorithm", algorithm)
    whole, part = experiment(algorithm, **options), experiment(algorithm, **options)
    whole.run(generations=7)
    part.run(generations=4)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    again.run(generations=3)
    assert_same(whole, again)


class Pictures(gymnasium.Env):
    """A bright spot that moves where it is pushed."""

    observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = int(self.np_random.integers(16)), 0
        return self.show(), {}

    def step(self, action):
        self.place, self.time = (self.place + 2 * int(action) - 1) % 16, self.time + 1
        return self.show(), float(self.place == 8), False, self.time >= 10, {}

    def show(self):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[8, self.place] = 255
        return picture


def test_learning_from_pictures_resumes(tmp_path):
    def make():
        options = QUICK | {"network": ev.CNN(channels=[8], hidden=[16])}
        exp = ev.Experiment(Pictures, "DQN", buffer=ev.ReplayBuffer(150), **options)
        exp.fill(60)
        return exp

    whole, part = make(), make()
    whole.run(generations=4)
    part.run(generations=2)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=Pictures)
    again.run(generations=2)
    assert_same(whole, again)


def test_a_population_that_does_not_evolve_resumes_as_well(tmp_path):
    options = {"evolving": False, "hyperparameters": {"batch_size": 8, "learn_step": 3}}
    whole, part = experiment("TD3", **options), experiment("TD3", **options)
    whole.run(generations=4)
    part.run(generations=2)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    again.run(generations=2)
    assert_same(whole, again)


def test_a_run_saved_before_its_first_generation_resumes(tmp_path):
    whole, part = experiment(), experiment()
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    for exp in (whole, again):
        exp.run(generations=2)
    assert_same(whole, again)


def test_agents_that_share_no_buffer_resume(tmp_path):
    def make():
        return experiment(buffer=ev.ReplayBuffer(100, shared=False))

    whole, part = make(), make()
    whole.run(generations=4)
    part.run(generations=2)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    assert again.buffer.pools == 3
    again.run(generations=2)
    assert_same(whole, again)


@pytest.mark.parametrize("environment", ["CartPole-v1", None])
def test_learning_from_data_resumes_with_its_critics(tmp_path, environment):
    from evolab.evaluation.fqe.fqe import FQE

    def make():
        fitness = FQE(first=4, batch_size=16, hidden=(8,)) if environment is None else "return"
        exp = ev.Experiment(environment, "CQN", fitness=fitness, **QUICK)
        exp.fill(recorded())
        return exp

    whole, part = make(), make()
    whole.run(generations=5)
    part.run(generations=2)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    again.run(generations=3)
    assert_same(whole, again)
    again.save()
    assert_same(whole, ev.Experiment.load(tmp_path / "run"))
