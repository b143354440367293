from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from scripted import Failing

import evolab.envs as envs

HOWS = ("raise", "observation", "reward", "shape")
KINDS = {"raise": "raise", "observation": "nan", "reward": "nan", "shape": "shape"}


def build(how: str, **arguments: Any) -> envs.VectorEnvironments:
    return envs.make(partial(Failing, how), 2, 2, seed=1, **arguments)


def fail(environments: envs.VectorEnvironments, p: int = 1, e: int = 0) -> Any:
    action = np.zeros((2, 2), dtype=int)
    action[p, e] = 1
    return environments.step(action)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", [None, "next_step", "same_step"])
def test_a_failing_member_costs_its_own_episode_only(how: str, way: str | None) -> None:
    if how == "shape" and way is not None:
        pytest.skip("Gymnasium's own vector refuses it by itself")
    with build(how, autoreset=way) as environments:
        first = environments.reset()
        environments.step(np.zeros((2, 2), dtype=int))
        one = fail(environments)
        assert one.valid.tolist() == [[True, True], [False, True]]
        assert one.reward.tolist() == [[1, 1], [0, 1]]
        assert not one.terminated.any()
        assert not one.truncated.any()
        assert np.isfinite(one.next_observation).all()
        assert one.reset_observation[..., 1].tolist() == [[2, 2], [0, 2]]  # a new episode
        assert one.reset_observation[1, 0, 0] != first[1, 0, 0]
        fault = environments.faults[0]
        assert (fault.member, fault.kind) == ((1, 0), KINDS[how])
        assert environments.step(np.zeros((2, 2), dtype=int)).valid.all()


def test_a_fault_keeps_its_original_message_and_is_taken_once() -> None:
    with build("raise") as environments:
        environments.reset()
        fail(environments)
        assert environments.take_faults() == [
            envs.MemberFault((1, 0), "raise", "ZeroDivisionError: physics exploded")
        ]
        assert environments.take_faults() == []
        assert environments.faults == []


def test_a_run_with_faults_can_be_repeated() -> None:
    seen = []
    for _ in range(2):
        with build("raise") as environments:
            environments.reset(4)
            seen.append([fail(environments).reset_observation for _ in range(3)])
    assert (np.stack(seen[0]) == np.stack(seen[1])).all()
    assert len({draw[1, 0, 0] for draw in seen[0]}) == 3


@pytest.mark.parametrize("how", HOWS)
def test_ten_faults_in_a_row_end_it_with_the_members_name(how: str) -> None:
    with build(how) as environments:
        environments.reset()
        for _ in range(9):
            fail(environments)
        with pytest.raises(envs.EnvironmentFault, match=r"Failing: member \(1, 0\) failed 10 times in a row"):
            fail(environments)


def test_a_valid_step_between_faults_forgives_them() -> None:
    with build("raise") as environments:
        environments.reset()
        for _ in range(15):
            fail(environments)
            environments.step(np.zeros((2, 2), dtype=int))
        assert len(environments.faults) == 15


def test_a_fault_without_autoreset_starts_the_episode_again() -> None:
    with build("raise") as environments:
        environments.reset()
        one = environments.step(np.array([[0, 0], [1, 0]]), autoreset=False)
        assert not one.valid[1, 0]
        assert not environments.resting.any()
        assert environments.step(np.zeros((2, 2), dtype=int), autoreset=False).valid.all()


def test_an_environment_that_cannot_start_is_told_at_once() -> None:
    with pytest.raises(envs.EnvironmentFault, match=r"failed to start an episode .*no license server"):
        build("reset")


def test_a_first_observation_that_is_not_finite_is_replaced() -> None:
    count = iter(range(100))

    class BadStart(Failing):
        def show(self) -> Any:
            value = super().show()
            return value * np.nan if next(count) in (2, 4) else value

    with envs.make(partial(BadStart, ""), 1, 3) as environments:
        assert np.isfinite(environments.reset()).all()
        assert environments.take_faults()[0].kind == "nan"


def test_a_nan_action_is_recorded_and_never_reaches_the_environment() -> None:
    with envs.make("Pendulum-v1", 2, 1) as environments:
        environments.reset()
        one = environments.step(np.array([[[np.nan]], [[1.0]]]))
        assert one.valid.tolist() == [[False], [True]]
        assert one.action.tolist() == [[[0.0]], [[1.0]]]
        assert np.isfinite(one.next_observation).all()
        assert [fault.kind for fault in environments.take_faults()] == ["action"]
        for _ in range(20):  # a broken agent never stops the others
            environments.step(np.array([[[np.nan]], [[1.0]]]))


def test_a_vector_whose_members_cannot_be_reset_alone_waits_for_the_episodes_end() -> None:
    class Kernel(VectorEnv):
        """Two members that count to 4; a wrapper around Sync that does not show it."""

        def __init__(self) -> None:
            self.num_envs = 2
            self.inner = SyncVectorEnv([partial(Failing, "")] * 2)
            self.single_observation_space = self.inner.single_observation_space
            self.single_action_space = self.inner.single_action_space
            self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
            self.time = 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            assert options is None
            return self.inner.reset(seed=seed)

        def step(self, actions: Any) -> Any:
            self.time += 1
            observation, reward, _, truncated, info = self.inner.step(actions)
            if self.time in (2, 3):
                observation[0] = np.nan
            return observation, reward, np.full(2, self.time == 4), truncated, info

        def close_extras(self, **_: Any) -> None:
            self.inner.close()

    with envs.make(Kernel(), 1, 2) as environments:
        environments.reset()
        steps = [environments.step(np.zeros((1, 2), dtype=int)) for _ in range(7)]
        assert all(np.isfinite(one.reset_observation).all() for one in steps)
        assert [one.valid[0, 0] for one in steps] == [True, False, False, False, False, True, True]
        assert [one.valid[0, 1] for one in steps] == [True, True, True, True, False, True, True]


@pytest.mark.parametrize("how", ["raise", "observation"])
def test_a_process_that_raises_survives(how: str) -> None:
    with build(how, vectorization="async") as environments:
        environments.reset()
        one = fail(environments)
        assert one.valid.tolist() == [[True, True], [False, True]]
        assert environments.take_faults()[0].kind == KINDS[how]
        assert environments.step(np.zeros((2, 2), dtype=int)).valid.all()


@pytest.mark.parametrize(("how", "kind"), [("kill", "crash"), ("hang", "hang"), ("shape", "crash")])
def test_a_process_that_dies_or_hangs_is_replaced_with_all_others(how: str, kind: str) -> None:
    started = time.perf_counter()
    with build(how, vectorization="async", timeout=1.0) as environments:
        first = environments.reset()
        environments.step(np.zeros((2, 2), dtype=int))
        one = fail(environments)
        assert not one.valid.any()
        assert (one.reward == 0).all()
        assert (one.reset_observation[..., 1] == 0).all()
        assert (one.reset_observation[..., 0] != first[..., 0]).all()
        fault = environments.take_faults()[0]
        assert fault.kind == kind
        if how != "shape":
            assert fault.member == (1, 0)
        again = environments.step(np.zeros((2, 2), dtype=int))
        assert again.valid.all()
        assert (again.observation == one.reset_observation).all()
    assert time.perf_counter() - started < 20


def test_close_does_not_wait_for_a_process_that_hangs() -> None:
    environments = build("hang", vectorization="async", timeout=60.0)
    environments.reset()
    vector = environments._members.vector  # type: ignore[attr-defined]
    vector.step_async(np.ones(4, dtype=int))
    started = time.perf_counter()
    environments.close()
    assert time.perf_counter() - started < 10
    assert not any(process.is_alive() for process in vector.processes)


def test_killed_processes_leave_resting_members_alone() -> None:
    with build("kill", vectorization="async") as environments:
        environments.reset()
        environments._resting[0] = True
        one = environments.step(np.array([[0, 1], [0, 0]]), autoreset=False)
        assert not one.valid.any()
        assert (one.reset_observation[0, 0] == one.observation[0, 0]).all()
        assert environments.resting.tolist() == [[True, False], [False, False]]
