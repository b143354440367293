"""Environments that fail in the middle of a run: the episode is dropped and recorded, the run goes on."""

from __future__ import annotations

import os
import time
from functools import partial

import numpy as np
import pytest

import evolab as ev
from evolab.envs import EnvironmentFault, factory
from evolab.envs.workers import Workers
from evolab.evaluation.episodes import TRIES, Evaluated, evaluating
from evolab.reporting.dashboard.feed import Feed
from tests.small import QUICK
from tests.toys import Choosing

KINDS = {"raise": "raise", "nan": "nan", "infinite": "nan", "shape": "shape", "kill": "crash", "hang": "hang"}


class Unlucky(Choosing):
    """Fails in some steps, as its own generator decides, in the way it was told to."""

    def __init__(self, how, chance=0.02):
        super().__init__()
        self.how, self.chance = how, chance

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.np_random.random() < self.chance:
            if self.how == "raise":
                raise ZeroDivisionError("physics exploded")
            if self.how == "kill":
                os._exit(7)
            if self.how == "hang":
                time.sleep(3600)
            if self.how == "shape":
                observation = np.zeros(5, np.float32)
            if self.how == "infinite":
                reward = np.inf
            if self.how == "nan":
                observation = observation * np.nan
        return observation, reward, *rest


def experiment(environment, **options):
    exp = ev.Experiment(
        environment, "DQN", **{**QUICK, "steps_per_generation": 40, "eval_steps": None, **options}
    )
    exp.fill(30)
    return exp


@pytest.mark.parametrize("how", KINDS)
def test_a_run_goes_on_and_what_happened_is_recorded(monkeypatch, how):
    vectorization = "async" if how in ("kill", "hang") else "sync"
    monkeypatch.setattr(
        factory, "Workers", lambda makers, name, timeout, space: Workers(makers, name, 1.0, space)
    )
    chance = 0.01 if how == "hang" else 0.03  # a second each
    exp = experiment(partial(Unlucky, how, chance), vectorization=vectorization)
    while not any(generation.faults for generation in exp.history):
        exp.run(generations=3)
        assert exp.generation < 30
    faults = [fault for generation in exp.history for fault in generation.faults]
    assert {fault.kind for fault in faults} == {KINDS[how]}
    born = {one.agent for generation in exp.history for one in generation.evaluations}
    assert {fault.agent for fault in faults} <= born
    assert all(np.isfinite(one.fitness) for generation in exp.history for one in generation.evaluations)
    fields = exp.buffer.fields
    size = len(exp.buffer)
    assert bool(np.isfinite(fields["observation"][:size].numpy()).all())
    assert bool(np.isfinite(fields["reward"][:size].numpy()).all())
    exp.close()


def test_a_run_with_faults_resumes_bit_for_bit(tmp_path):
    environment = partial(Unlucky, "raise", 0.05)
    whole, part = experiment(environment), experiment(environment)
    whole.run(generations=5)
    part.run(generations=2)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run", environment=environment)
    again.run(generations=3)
    assert sum(len(generation.faults) for generation in whole.history)
    from tests.small import assert_same

    assert_same(whole, again)


class Doomed(Choosing):
    """Works until the file is there; raises from then on."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def step(self, action):
        if self.sign.exists():
            raise OSError("the simulator's licence has expired")
        return super().step(action)


class Expiring:
    """A tracker that lets the licence expire at the end of a generation."""

    name = "expiring"

    def __init__(self, sign, number):
        self.sign, self.number = sign, number

    def start(self, config):
        pass

    def log(self, generation):
        if generation.number == self.number:
            self.sign.touch()

    def finish(self):
        pass


@pytest.mark.parametrize("every", [1, 5])
def test_repeated_failure_stops_the_run_with_its_reason_and_a_saved_state(tmp_path, every):
    sign = tmp_path / "expired"
    environment = partial(Doomed, sign)
    exp = experiment(
        environment, folder=tmp_path / "run", checkpoint_every=every, trackers=[Expiring(sign, 3)]
    )
    with (
        pytest.warns(UserWarning, match="licence has expired"),  # the first of its kind is shown
        pytest.warns(UserWarning, match=r"stopped in generation 4; generation 3 is saved: Experiment\.load"),
        pytest.raises(EnvironmentFault, match=r"failed 10 times in a row: OSError: the simulator's licence"),
    ):
        exp.run(generations=9)
    assert exp.status == "failed"
    exp.close()
    sign.unlink()
    again = ev.Experiment.load(tmp_path / "run", environment=environment)
    assert again.generation == 3
    again.step()
    assert again.generation == 4
    again.close()


def test_a_failed_run_can_be_gone_on_with_in_the_same_process(tmp_path):
    sign = tmp_path / "expired"
    exp = experiment(partial(Doomed, sign))
    exp.step()
    sign.touch()
    with pytest.raises(EnvironmentFault):
        exp.step()
    sign.unlink()
    assert exp.step().number == 2


def test_a_failure_in_the_background_is_told_by_wait(tmp_path):
    sign = tmp_path / "expired"
    exp = experiment(partial(Doomed, sign), folder=tmp_path / "run")
    exp.step()
    sign.touch()
    exp.start()
    with pytest.raises(EnvironmentFault, match="licence"):
        exp.wait(60)
    assert exp.status == "failed"
    assert ev.Experiment.load(tmp_path / "run", environment=partial(Doomed, sign)).generation == 1


class Scripted(Choosing):
    """Earns one per step for ten steps; raises in the given steps of its life, counted from one."""

    def __init__(self, bad=()):
        super().__init__()
        self.bad, self.steps = bad, 0

    def step(self, action):
        type(self).lived = getattr(type(self), "lived", 0) + 1
        if type(self).lived in self.bad:
            raise ValueError("bad luck")
        return super().step(action)

    def earn(self, action):
        return 1.0


@pytest.mark.parametrize(("bad", "expected", "wasted"), [((), 10, 0), ((4,), 10, 3), ((4, 8), 10, 6)])
def test_an_episode_that_a_fault_breaks_off_is_played_again(bad, expected, wasted):
    kind = type("Fresh", (Scripted,), {})
    envs = ev.envs.make(partial(kind, bad), population=1, num_envs=1)
    kind.lived = 0
    population = ev.Population(
        "DQN", envs.single_observation_space, envs.single_action_space, 1, network=[8], seed=0
    )
    *_, result = evaluating(population, envs, 3)
    assert isinstance(result, Evaluated)
    assert result.returns.tolist() == [[expected]]
    assert result.lengths.tolist() == [[10]]
    assert result.steps == 10 + wasted
    assert len(envs.take_faults()) == len(bad)


def test_an_episode_that_always_breaks_off_is_lost_after_some_tries():
    kind = type("Fresh", (Scripted,), {})
    envs = ev.envs.make(partial(kind, range(2, 200, 2)), population=1, num_envs=1)
    kind.lived = 0
    population = ev.Population(
        "DQN", envs.single_observation_space, envs.single_action_space, 1, network=[8], seed=0
    )
    *_, result = evaluating(population, envs, 3)
    assert np.isnan(result.fitness).all()
    assert len(envs.take_faults()) == TRIES


def test_failures_are_counted_where_the_user_looks():
    with pytest.warns(UserWarning, match=r"(?s)Unlucky: environment .*: ZeroDivisionError.*in step \d+ of"):
        exp = experiment(partial(Unlucky, "raise", 0.1))  # the random steps meet it first
    exp.run(generations=2)
    count = sum(fault.kind == "raise" for generation in exp.history for fault in generation.faults)
    assert count
    told = f"environments failed, and training went on: {count} x ZeroDivisionError"
    assert told in repr(exp)
    assert Feed(exp).head()["error"] == told
    exp.close()


def test_a_run_that_raises_stops_at_the_first_failure():
    with pytest.raises(EnvironmentFault, match=r"(?s)Unlucky: .*physics exploded.*Traceback"):
        experiment(partial(Unlucky, "raise", 0.5), on_fault="raise")


def test_a_run_in_an_environment_that_never_worked_ends_at_once():
    with pytest.raises(
        EnvironmentFault, match=r"(?s)physics exploded.*in step 1 of an episode.*No step has ever gone well"
    ):
        experiment(partial(Unlucky, "raise", 1.0))
