from __future__ import annotations

import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
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
        assert (fault.index, fault.kind) == ((1, 0), KINDS[how])
        assert environments.step(np.zeros((2, 2), dtype=int)).valid.all()


def test_a_fault_keeps_its_original_message_and_is_taken_once() -> None:
    with build("raise") as environments:
        environments.reset()
        fail(environments)
        assert environments.take_faults() == [
            envs.StepFault((1, 0), "raise", "ZeroDivisionError: physics exploded")
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
        with pytest.raises(
            envs.EnvironmentFault, match=r"Failing: environment \(1, 0\) failed 10 times in a row"
        ):
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
        """Two environments that count to 4; a wrapper around Sync that does not show it."""

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


@pytest.mark.parametrize(
    ("how", "kind"),
    [("raise", "raise"), ("observation", "nan"), ("shape", "shape"), ("kill", "crash"), ("hang", "hang")],
)
def test_a_member_in_a_process_costs_its_own_episode_only(how: str, kind: str) -> None:
    started = time.perf_counter()
    # Who answers is given a minute: on a busy machine even a quick answer may take seconds.
    with build(how, vectorization="async", timeout=5.0 if how == "hang" else 60.0) as environments:
        first = environments.reset()
        environments.step(np.zeros((2, 2), dtype=int))
        one = fail(environments)
        assert one.valid.tolist() == [[True, True], [False, True]]
        assert one.reward.tolist() == [[1, 1], [0, 1]]
        assert one.reset_observation[..., 1].tolist() == [[2, 2], [0, 2]]  # a new episode
        assert one.reset_observation[1, 0, 0] != first[1, 0, 0]
        (fault,) = environments.take_faults()
        assert (fault.index, fault.kind) == ((1, 0), kind)
        again = environments.step(np.zeros((2, 2), dtype=int))
        assert again.valid.all()
        assert (again.observation == one.reset_observation).all()
    assert time.perf_counter() - started < 1800, "it hangs for an hour"


def test_a_run_with_killed_processes_can_be_repeated() -> None:
    seen = []
    for _ in range(2):
        with build("kill", vectorization="async") as environments:
            environments.reset(4)
            seen.append([fail(environments).reset_observation for _ in range(3)])
    assert (np.stack(seen[0]) == np.stack(seen[1])).all()
    assert len({draw[1, 0, 0] for draw in seen[0]}) == 3


def test_all_processes_may_be_killed_at_once() -> None:
    with build("", vectorization="async") as environments:
        environments.reset()
        for worker in environments._backend.crew:  # type: ignore[attr-defined]
            worker.process.kill()
        one = environments.step(np.zeros((2, 2), dtype=int))
        assert not one.valid.any()
        assert {fault.kind for fault in environments.take_faults()} == {"crash"}
        assert environments.step(np.zeros((2, 2), dtype=int)).valid.all()


def test_an_answer_to_a_call_that_was_broken_off_is_not_taken_for_the_next() -> None:
    with build("", vectorization="async") as environments:
        environments.reset()
        for worker in environments._backend.crew:  # type: ignore[attr-defined]
            worker.pipe.send((1, "step", {"action": 0}))
        one = environments.step(np.zeros((2, 2), dtype=int))
        assert one.next_observation[..., 1].tolist() == [[2, 2], [2, 2]]


def test_a_process_that_cannot_begin_an_episode_is_told_with_its_reason() -> None:
    count = iter(range(100))

    class Late(Failing):
        def __init__(self) -> None:
            super().__init__("reset" if next(count) else "")

    with pytest.raises(envs.EnvironmentFault, match=r"Late: .*no license server"):
        envs.make(Late, 1, 1, vectorization="async").reset()


def test_processes_end_when_the_one_that_started_them_is_killed() -> None:
    script = """
import sys, numpy as np
sys.path[:0] = sys.argv[1:]
from functools import partial
import evolab.envs as envs
from scripted import Failing
if __name__ == "__main__":
    made = envs.make(partial(Failing, ""), 1, 3, vectorization="async")
    made.reset()
    print(*(worker.process.pid for worker in made._backend.crew), flush=True)
    made._backend.crew[0].pipe.send((0, "step", {"action": 0}))
    import time; time.sleep(60)
"""
    paths = [str(Path(envs.__file__).parents[2]), str(Path(__file__).parent)]
    first = subprocess.Popen([sys.executable, "-c", script, *paths], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    numbers = [int(word) for word in first.stdout.readline().split()]
    first.kill()
    first.wait()
    first.stdout.close()
    assert len(numbers) == 3
    deadline = time.monotonic() + 20
    while any(alive(number) for number in numbers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [number for number in numbers if alive(number)]


def alive(number: int) -> bool:
    """True where a process runs; one that has ended and that nobody asked about does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_close_does_not_wait_for_a_process_that_hangs() -> None:
    environments = build("hang", vectorization="async", timeout=3000.0)
    environments.reset()
    crew = list(environments._backend.crew)  # type: ignore[attr-defined]
    for worker in crew:
        worker.pipe.send((0, "step", {"action": 1}))
    started = time.perf_counter()
    environments.close()
    environments.close()
    assert time.perf_counter() - started < 1800
    assert not any(worker.process.is_alive() for worker in crew)


def test_killed_processes_leave_resting_members_alone() -> None:
    with build("kill", vectorization="async") as environments:
        environments.reset()
        environments._resting[0] = True
        one = environments.step(np.array([[0, 1], [0, 0]]), autoreset=False)
        assert one.valid.tolist() == [[False, False], [True, True]]
        assert (one.reset_observation[0, 0] == one.observation[0, 0]).all()
        assert environments.resting.tolist() == [[True, False], [False, False]]


class Broken(Failing):
    """Never takes a step."""

    def step(self, action: Any) -> Any:
        raise ZeroDivisionError("physics exploded")


@pytest.mark.parametrize("way", [{}, {"autoreset": "next_step"}, {"vectorization": "async"}])
def test_the_first_failure_of_a_kind_is_shown_once_with_its_step_and_traceback(way: dict[str, Any]) -> None:
    with build("raise", **way) as environments:
        environments.reset()
        environments.step(np.zeros((2, 2), dtype=int))
        environments.step(np.zeros((2, 2), dtype=int))
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            for _ in range(3):
                fail(environments)
        (one,) = shown
        text = str(one.message)
        assert text.startswith(
            "Failing: environment (1, 0) failed: ZeroDivisionError: physics exploded\nin step 3 of"
        )
        assert 'raise ZeroDivisionError("physics exploded")' in text
        assert "scripted.py" in text
        assert len(environments.take_faults()) == 3


@pytest.mark.parametrize("how", HOWS)
def test_on_fault_raise_ends_with_the_first_failure(how: str) -> None:
    with build(how, on_fault="raise") as environments:
        environments.reset()
        environments.step(np.zeros((2, 2), dtype=int))
        with pytest.raises(envs.EnvironmentFault, match=r"Failing: environment \(1, 0\) failed: "):
            fail(environments)


@pytest.mark.parametrize("way", ["next_step", "same_step", "disabled"])
def test_what_fails_in_an_episode_that_nobody_plays_is_nobodys_fault(way: str) -> None:
    # What must not rest goes on behind one that does, and its failures ended an evaluation of long episodes.
    with build("raise", autoreset=way) as environments:
        environments.reset()
        environments.step(np.zeros((2, 2), dtype=int))
        environments._resting[0] = True
        for _ in range(12):
            one = environments.step(np.array([[1, 0], [0, 0]]), autoreset=False)
            assert one.valid.tolist() == [[False, True], [True, True]]
        assert not environments.take_faults()


@pytest.mark.parametrize("way", [{}, {"autoreset": "next_step"}, {"vectorization": "async"}])
def test_what_an_environment_raises_that_has_never_worked_is_raised(way: dict[str, Any]) -> None:
    with envs.make(partial(Broken, ""), 2, 2, **way) as environments:
        environments.reset()
        with pytest.raises(
            envs.EnvironmentFault,
            match=r"(?s)exploded.*in step 1 of.*Traceback.*No step has",
        ):
            environments.step(np.zeros((2, 2), dtype=int))
    with envs.make(partial(Broken, ""), 2, 2, on_fault="survive", **way) as environments:
        environments.reset()
        assert not environments.step(np.zeros((2, 2), dtype=int)).valid.any()


def test_evaluation_goes_on_by_what_training_has_seen() -> None:
    with build("raise") as environments, environments.evaluator(1) as others:
        environments.reset()
        fail(environments)
        others.reset()
        with warnings.catch_warnings(record=True) as shown:
            others.step(np.array([[1], [1]]))  # nobody has taken a step here, and the kind is known
        assert not shown
        assert len(others.take_faults()) == 2


def test_an_unknown_word_for_on_fault_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'raise'"):
        build("raise", on_fault="rais")
