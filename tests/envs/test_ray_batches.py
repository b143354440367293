"""Environments in actors of Ray: the same run as in one process; what fails costs its batch, and is replaced."""

from __future__ import annotations

import os
import signal
import threading
import time

import gymnasium
import numpy as np
import pytest

import evolab as ev
from evolab.envs.base import EnvironmentFault
from tests.small import assert_same, experiment
from tests.toys import Toy

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]


class Dangerous(Toy):
    """Shows its process; action 9 kills it, action 8 hangs, action 7 raises."""

    actions = gymnasium.spaces.Discrete(10)

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gymnasium.spaces.Box(0.0, 1e8, (2,), np.float32)

    def show(self):
        return np.array([os.getpid() % 2**20, self.time], np.float32)

    def earn(self, action):
        if action == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        if action == 8:
            time.sleep(60)
        if action == 7:
            raise OSError("the simulator has lost its licence")
        return 1.0


def test_a_run_is_the_same_as_in_one_process():
    made = [experiment("DQN", vectorization=way) for way in ("sync", "ray")]
    for one in made:
        one.run(generations=2)
    assert_same(*made)
    for one in made:
        one.close()


def test_what_dies_or_hangs_costs_its_batch_and_is_replaced():
    with ev.envs.make(Dangerous, 2, 2, seed=1, vectorization="ray", timeout=2.0) as envs:
        first = envs.reset()
        assert len({*first[..., 0].ravel()}) == 2  # two CPUs, two batches
        action = np.zeros((2, 2), dtype=int)
        action[1, 0] = 9
        step = envs.step(action)
        assert step.valid.tolist() == [[True, True], [False, False]]
        assert {(fault.index, fault.kind) for fault in envs.take_faults()} == {
            ((1, 0), "crash"),
            ((1, 1), "crash"),
        }
        assert step.reset_observation[..., 1].tolist() == [[1, 1], [0, 0]]
        assert step.reset_observation[1, 0, 0] != first[1, 0, 0]
        action[1, 0] = 7
        step = envs.step(action)
        assert step.valid.tolist() == [[True, True], [False, True]]
        assert [fault.kind for fault in envs.take_faults()] == ["raise"]
        action[:] = [[0, 8], [0, 0]]
        step = envs.step(action)
        assert step.valid.tolist() == [[False, False], [True, True]]
        assert [fault.kind for fault in envs.take_faults()] == ["hang", "hang"]
        assert envs.step(np.zeros((2, 2), dtype=int)).valid.all()


def test_an_actor_without_memory_costs_its_batch(monkeypatch):
    ray = pytest.importorskip("ray")
    get, left = ray.get, []

    def lossy(*arguments, **options):
        if left:
            left.pop()
            raise ray.exceptions.OutOfMemoryError("killed, for want of memory")
        return get(*arguments, **options)

    monkeypatch.setattr(ray, "get", lossy)
    with ev.envs.make(Dangerous, 2, 2, seed=1, vectorization="ray") as envs:
        envs.reset()
        left.append(1)
        assert envs.step(np.zeros((2, 2), dtype=int)).valid.tolist() == [[False, False], [True, True]]
        assert [fault.kind for fault in envs.take_faults()] == ["crash", "crash"]


def test_what_cannot_be_sent_says_what_to_pass():
    held = threading.Lock()

    def locked():
        with held:
            return Toy()

    with pytest.raises(TypeError, match=r"Toy cannot be sent to an actor: .*'my_module:MyEnv-v0'"):
        ev.envs.make(locked, 1, 2, vectorization="ray")


def test_one_that_can_never_begin_is_a_fault():
    with pytest.raises(EnvironmentFault, match="the licence is for one process"):
        ev.envs.make(Licensed, 1, 2, vectorization="ray").reset()


class Licensed(Toy):
    def __init__(self):
        super().__init__()
        if os.environ.get("RAY_RAYLET_PID"):  # in a process of Ray's
            raise OSError("the licence is for one process")
