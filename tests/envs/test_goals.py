"""What environments say of goals that they did not set, and those that cannot."""

from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.core.goals import has_goals
from evolab.envs.base import EnvironmentFault
from evolab.envs.goals import EnvironmentGoals
from tests.goals import BitFlip

ASKED = {"hyperparameters": {"hindsight": 0.8}}


class OneByOne(BitFlip):
    """Answers for one goal alone."""

    def compute_reward(self, achieved, desired, info):
        assert achieved.shape == (self.bits,)
        return 0.0 if np.array_equal(achieved, desired) else -1.0

    def compute_terminated(self, achieved, desired, info):
        return bool(np.linalg.norm(achieved - desired) < 0.1) and self.ends


class Endless(BitFlip):
    """Its methods are those of a base class that nobody filled in, or answer with one number whatever they are asked."""

    def compute_reward(self, achieved, desired, info):
        return -1.0

    def compute_terminated(self, achieved, desired, info):
        raise NotImplementedError


def pairs(bits=4):
    achieved = np.array([[0, 0, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]], "f")[:, :bits]
    return achieved, np.array([[0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], "f")[:, :bits]


@pytest.mark.parametrize("kind", [BitFlip, OneByOne])
def test_one_goal_and_many_have_the_same_answers(kind):
    reward, over = EnvironmentGoals("bits", kind()).judge(*pairs())
    assert reward.dtype == np.float32
    assert reward.tolist() == [0, -1, 0]
    assert over.tolist() == [True, False, True]


def test_ends_may_not_depend_on_goals():
    reward, over = EnvironmentGoals("bits", Endless()).judge(*pairs())
    assert reward.tolist() == [-1, -1, -1]
    assert over is None


def test_goals_are_asked_in_the_precision_of_their_space():
    seen = []

    class Precise(BitFlip):
        def compute_reward(self, achieved, desired, info):
            seen.append(achieved.dtype)
            return super().compute_reward(achieved, desired, info)

    EnvironmentGoals("bits", Precise()).judge(*pairs())
    assert {*seen} == {np.dtype("float64")}


def test_to_try_goals_draws_none_of_the_environment_s_own():
    env = BitFlip()
    env.observation_space.seed(3)
    first = env.observation_space["desired_goal"].sample()
    env.observation_space.seed(3)
    EnvironmentGoals("bits", env).check()
    assert np.array_equal(env.observation_space["desired_goal"].sample(), first)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_transitions_say_it_through_wrappers_and_processes(vectorization):
    maker = partial(BitFlip, 3)
    with ev.envs.make(
        lambda: gymnasium.wrappers.TimeLimit(maker(), 2), 2, 2, vectorization=vectorization
    ) as envs:
        envs.reset()
        transition = envs.step(np.zeros((2, 2), int))
        achieved = transition.next_observation["achieved_goal"].reshape(4, 3)
        desired = transition.next_observation["desired_goal"].reshape(4, 3)
        reward, over = transition.goals.judge(achieved, desired)
        assert np.array_equal(reward, transition.reward.reshape(-1))
        assert np.array_equal(over, transition.terminated.reshape(-1))


def test_so_does_a_vector_environment():
    exp = ev.Experiment(
        vector=lambda n, seed: gymnasium.vector.SyncVectorEnv([partial(BitFlip, 3)] * n), algorithm="DQN", population=2,
        num_envs=2, seed=1, progress=False, **ASKED,
    )  # fmt: skip
    exp.run(max_steps=1_500)
    assert exp.history.generations


def without_reward(**options):
    """What has goals, and no `compute_reward`."""
    env = BitFlip()
    return gymnasium.wrappers.TransformObservation(Bare(env), lambda seen: seen, env.observation_space)


class Bare(gymnasium.Env):
    """A `BitFlip` of which only what every environment has can be reached."""

    def __init__(self, env):
        self.observation_space, self.action_space, self._inner = env.observation_space, env.action_space, env

    def reset(self, *, seed=None, options=None):
        return self._inner.reset(seed=seed)

    def step(self, action):
        return self._inner.step(action)


class Broken(BitFlip):
    def compute_reward(self, achieved, desired, info):
        return self.missing


class Hollow(BitFlip):
    def compute_reward(self, achieved, desired, info):
        raise NotImplementedError


class Endlessly(BitFlip):
    def compute_reward(self, achieved, desired, info):
        return np.full(np.shape(achieved)[:-1], np.nan)


REFUSED = {
    "without compute_reward": (without_reward, r"hindsight is above 0, and \w+ has no compute_reward"),
    "not filled in": (Hollow, r"Hollow: compute_reward\(.*\) says nothing: it is not implemented"),
    "raises": (Broken, "compute_reward.* raised AttributeError: 'Broken' object has no attribute 'missing'"),
    "gives NaN": (Endlessly, "Endlessly: compute_reward.* gave nan"),
    "no goals": ("CartPole-v1", "CartPole-v1 has no goals: its observations are Box"),
}


@pytest.mark.parametrize("how", REFUSED, ids=str)
def test_an_environment_that_cannot_say_it_is_refused_before_time_is_spent(how):
    source, said = REFUSED[how]
    with pytest.raises(ValueError, match=said):
        ev.Experiment(source, "DQN", progress=False, **ASKED)
    with pytest.raises(ValueError, match=said):
        ev.Experiment(
            source, "DQN", progress=False, search_space={"hindsight": ev.Float(0.0, 0.9, log=False)}
        )
    ev.Experiment(source, "DQN", progress=False).close()  # which is the user's right


def test_a_reward_that_is_no_number_is_named_when_it_comes():
    class Sometimes(BitFlip):
        broken = False

        def compute_reward(self, achieved, desired, info):
            return super().compute_reward(achieved, desired, info) + (np.inf if self.broken else 0)

    goals = EnvironmentGoals("bits", env := Sometimes())
    goals.check()
    env.broken = True
    with pytest.raises(EnvironmentFault, match=r"bits: compute_reward gave inf for the achieved goal \["):
        goals.judge(*pairs())


def test_goals_have_one_form():
    one, other = spaces.Box(0, 1, (3,)), spaces.Box(0, 1, (2,))
    assert has_goals(spaces.Dict(observation=one, achieved_goal=other, desired_goal=other))
    assert not has_goals(spaces.Dict(observation=one, achieved_goal=one, desired_goal=other))
    assert not has_goals(spaces.Dict(observation=one, achieved_goal=one))
    nested = spaces.Dict(a=one)
    assert not has_goals(spaces.Dict(observation=one, achieved_goal=nested, desired_goal=nested))
    assert not has_goals(one)
