"""Masks of environments, behind every kind of vector: they are those of the observations beside them."""

from __future__ import annotations

import os
import re
import warnings
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import evolab as ev
from evolab.core.masks import random_permitted
from evolab.envs.masks import mask_now
from tests.any_env import Env
from tests.masked import Permitting, permitted

SEVERAL = spaces.MultiDiscrete([2, 3], start=[1, -1])
SPACES = {"Discrete": None, "MultiDiscrete": SEVERAL, "MultiBinary": spaces.MultiBinary(3)}


def of_gymnasium(mode, make, count, seed):
    return SyncVectorEnv([make] * count, autoreset_mode=mode)


def made(kind, ends):
    """2 x 3 environments of a kind of vector."""
    make = partial(Permitting, ends=ends)
    if kind in ("sync", "async"):
        return ev.envs.make(make, 2, 3, seed=1, vectorization=kind)
    if kind.startswith("guarded "):
        return ev.envs.make(make, 2, 3, seed=1, autoreset=kind.split()[1])
    return ev.envs.make(
        None, 2, 3, seed=1, vector=partial(of_gymnasium, AutoresetMode[kind.split()[1].upper()], make)
    )


MODES = ("next_step", "same_step", "disabled")
KINDS = ["sync", "async", *(f"{of} {mode}" for of in ("guarded", "gymnasium's") for mode in MODES)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize("ends", [True, False], ids=["terminated", "truncated"])
def test_they_belong_to_the_observations_that_they_come_with(kind, autoreset, ends):
    stream, ended = np.random.default_rng(0), 0
    with made(kind, ends) as envs:
        seen = envs.reset()
        for _ in range(23):
            assert envs.action_mask.dtype == bool
            resting = envs.resting
            assert (envs.action_mask == permitted(seen))[~resting].all()
            one = envs.step(random_permitted(envs.single_action_space, envs.action_mask, stream), autoreset)
            for mask, shown in (
                (one.action_mask, one.observation),
                (one.next_action_mask, one.next_observation),
            ):
                assert (mask == permitted(shown))[one.valid].all()
            seen, ended = one.reset_observation, ended + int((one.terminated | one.truncated).sum())
            if not autoreset and envs.resting.all():
                seen = envs.reset()
        assert ended >= 12
        assert not envs.faults


class Dying(Permitting):
    """Ends its process in the third step of every episode."""

    def step(self, action):
        if self.time == 2:
            os._exit(3)
        return super().step(action)


def test_a_process_that_is_replaced_brings_the_mask_of_its_new_episode():
    stream, lost = np.random.default_rng(0), 0
    with ev.envs.make(Dying, 1, 2, seed=1, vectorization="async", on_fault="survive") as envs:
        seen = envs.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(7):
                assert (envs.action_mask == permitted(seen)).all()
                one = envs.step(random_permitted(envs.single_action_space, envs.action_mask, stream))
                seen, lost = one.reset_observation, lost + int((~one.valid).sum())
    assert lost == 4


@pytest.mark.parametrize("how", ["info", "method"])
@pytest.mark.parametrize("dtype", [np.int8, bool, np.int64])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_they_are_read_from_info_or_by_a_method(how, dtype, space):
    with ev.envs.make(partial(Permitting, space, how, dtype), 1, 2, seed=1) as envs:
        assert (envs.reset() > 0.5).tolist() == envs.action_mask.tolist()
    env = gymnasium.wrappers.TimeLimit(Permitting(space, how, dtype), 3)
    shown, info = env.reset(seed=1)
    assert mask_now(env, info).tolist() == (shown > 0.5).tolist()


def test_where_there_are_none_nothing_is_said():
    with ev.envs.make(Env, 1, 2) as envs:
        envs.reset()
        one = envs.step(np.zeros((1, 2), int))
    assert envs.action_mask is one.action_mask is one.next_action_mask is None


def test_masks_of_each_choice_may_come_apart():
    class Apart(Permitting):
        def shown(self):
            return super().shown()[0], {"action_mask": (self.mask[:2], self.mask[2:])}

    with ev.envs.make(partial(Apart, SEVERAL), 1, 1) as envs:
        assert (envs.reset() > 0.5).tolist() == envs.action_mask.tolist()


class Broken(Permitting):
    """Gives something else in place of its mask, from its third step on or from the beginning."""

    instead: object = None
    begins = 3

    def shown(self):
        observation, info = super().shown()
        return observation, {"action_mask": self.instead} if self.time >= self.begins else info


def broken(instead, begins=3):
    return type("Broken", (Broken,), {"instead": instead, "begins": begins})


WRONG = {
    "size": (
        np.ones(3, np.int8),
        r"action_mask has shape \(3,\) and dtype int8; Discrete\(4, start=2\) needs 4",
    ),
    "dtype": (
        np.ones(4),
        r"action_mask has shape \(4,\) and dtype float64; .* needs 4 entries of bool or int8",
    ),
    "axes": (np.ones((1, 4), bool), r"action_mask has shape \(1, 4\); one axis is expected"),
    "nothing": (np.zeros(4, np.int8), "action_mask forbids every action, and the episode has not ended"),
    "missing": (None, "info has no 'action_mask' any more; every reset and step has to give one"),
}


@pytest.mark.parametrize(("instead", "message"), WRONG.values(), ids=WRONG)
def test_one_that_does_not_fit_costs_its_episode_and_is_named(instead, message):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        exp = ev.Experiment(
            broken(instead), "DQN", population=2, num_envs=2, seed=0, device="cpu", network=[8],
            steps_per_generation=20, hyperparameters={"batch_size": 4}, search_space={}, eval_episodes=1,
        )  # fmt: skip
        exp.fill(16)
        generation = exp.step()
        exp.close()
    assert generation.faults
    assert {fault.kind for fault in generation.faults} == {"raise"}
    assert sum("action_mask" in str(one.message) for one in told) == 1, "the first of a kind is shown"
    assert any(re.search(message, fault.detail) for fault in generation.faults)


@pytest.mark.parametrize("case", ["size", "dtype", "axes", "nothing"])
def test_one_that_never_fits_is_named_when_the_environment_is_made(case):
    instead, message = WRONG[case]
    with pytest.raises(ev.envs.EnvironmentFault, match=message):
        ev.envs.make(broken(instead, begins=0))


def test_masks_that_only_steps_have_are_named_too():
    class Late(Permitting):
        def shown(self):
            observation, info = super().shown()
            return observation, info if self.time else {}

    with pytest.raises(ValueError, match="the info of step has an 'action_mask', that of reset has none"):
        ev.envs.make(Late)


class Telling(Permitting):
    """Tells masks in steps alone, of actions that are choices or a Box."""

    def shown(self):
        observation, info = super().shown()
        return observation, info if self.time else {}


def test_masks_that_only_the_steps_of_a_vector_have_are_named_too():
    with ev.envs.make(vector=lambda n, seed: SyncVectorEnv([Telling] * n)) as envs:
        envs.reset(seed=0)
        with pytest.raises(
            ValueError, match="SyncVectorEnv: the info of step has an 'action_mask', that of reset"
        ):
            envs.step(np.full((1, 1), 2))


def test_of_actions_that_are_a_box_nobody_asks_what_is_permitted():
    class Push(gymnasium.Env):
        observation_space = action_space = spaces.Box(-1.0, 1.0, (1,))

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {"action_mask": np.ones(3, np.int8)}

        def step(self, action):
            return np.zeros(1, np.float32), 1.0, False, False, {"action_mask": np.ones(3, np.int8)}

    with ev.envs.make(vector=lambda n, seed: SyncVectorEnv([Push] * n)) as envs:
        envs.reset(seed=0)
        assert envs.step(np.zeros((1, 1, 1), np.float32)).valid.all()
        assert envs.action_mask is None


def test_a_vectors_mask_that_forbids_everything_costs_that_episode():
    with ev.envs.make(
        None, 1, 2, vector=lambda n, seed: SyncVectorEnv([broken(np.zeros(4, np.int8))] * n)
    ) as envs:
        envs.reset(seed=1)
        with pytest.warns(UserWarning, match="action_mask forbids every action"):
            steps = [envs.step(random_permitted(envs.single_action_space, envs.action_mask, np.random.default_rng(i)))
                     for i in range(3)]  # fmt: skip
    assert [one.valid.tolist() for one in steps] == [[[True] * 2]] * 2 + [[[False] * 2]]
    assert (steps[2].reset_observation > 0.5).tolist() == envs.action_mask.tolist(), "another one has begun"


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_random_recordings_and_those_of_agents_obey(space):
    make = partial(Permitting, space)
    assert ev.collect(make, steps=200, num_envs=2).mean_return == 5
    with ev.envs.make(make) as envs:
        spaces_ = envs.single_observation_space, envs.single_action_space
    population = ev.Population("DQN", *spaces_, 1, network=[8], seed=0, device="cpu")
    assert ev.collect(make, population[0], steps=200, num_envs=2).mean_return == 5
