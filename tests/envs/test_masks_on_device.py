"""Masks of environments that live on a device: those of arrays, whatever the way to begin the next episode."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

import evolab as ev
from evolab.envs.base import EnvironmentFault

MODES = {mode.name.lower(): mode for mode in AutoresetMode}


class Clocks:
    """N clocks, of which each shows its time t and forbids the action t % 3.

    Args:
        num_envs: N.
        mode: "next_step", "same_step" or "disabled".
        ends: terminate, where everything is forbidden then; else truncate.
        nothing: [N], the time at which each forbids everything; -1 for never.
        how: "both", "reset" or "step", whose `info` has masks, which are written over those before.
        width: entries of a mask.
    """

    def __init__(self, num_envs, mode="next_step", ends=False, nothing=None, how="both", width=3):
        self.num_envs, self.mode, self.ends, self.how, self.width = num_envs, mode, ends, how, width
        self.metadata = {"autoreset_mode": MODES[mode]}
        self.single_observation_space = spaces.Box(0.0, 100.0, (1,), np.float32)
        self.single_action_space = spaces.Discrete(3)
        self.longest = 3 + torch.arange(num_envs) % 3
        self.nothing = torch.full((num_envs,), -1) if nothing is None else torch.as_tensor(nothing)
        self.written = torch.zeros(num_envs, width, dtype=torch.bool)

    def told(self, over, when, **more):
        mask = torch.ones(self.num_envs, self.width, dtype=torch.bool)
        mask[torch.arange(self.num_envs), self.time % 3] = False
        mask[(over & self.ends) | (self.time == self.nothing)] = False
        return more | ({"action_mask": self.written.copy_(mask)} if self.how in ("both", when) else {})

    def reset(self, *, seed=None, options=None):
        chosen = (options or {}).get("reset_mask", torch.ones(self.num_envs, dtype=torch.bool))
        self.time = torch.where(chosen, 0, getattr(self, "time", torch.zeros(self.num_envs))).long()
        self.over = ~chosen & getattr(self, "over", ~chosen)
        return self.time[:, None].float(), self.told(self.over, "reset")

    def step(self, action):
        again = self.over if self.mode == "next_step" else torch.zeros_like(self.over)
        self.time = torch.where(again, 0, self.time + 1)
        self.over = self.time >= self.longest
        ends = (self.over & self.ends, self.over & (not self.ends))
        told = self.told(self.over, "step")
        if self.mode == "same_step":
            final, seen = {"action_mask": self.written.clone()}, self.time[:, None].float()
            self.time = torch.where(self.over, 0, self.time)
            told = self.told(torch.zeros_like(self.over), "step", final_info=final, final_obs=seen)
        return self.time[:, None].float(), torch.ones(self.num_envs), *ends, told


def clocks(population=1, num_envs=3, **options):
    return ev.envs.make(vector=lambda n, seed: Clocks(n, **options), population=population, num_envs=num_envs)


def agents(envs):
    about = envs.single_observation_space, envs.single_action_space
    return ev.Population("DQN", *about, envs.population, seed=0, device="cpu")


def played(envs, steps=12):
    """Transitions of an agent that obeys; a mask must not change once it was given."""
    population, found = agents(envs), []
    observation = envs.reset(seed=0)
    for _ in range(steps):
        mask, kept = envs.action_mask, envs.action_mask.clone()
        found.append(envs.step(population.act(observation, action_mask=mask)))
        assert torch.equal(found[-1].action_mask, kept)
        observation = found[-1].reset_observation
    return found


def permitted(observation):
    return torch.arange(3) != observation.long() % 3


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_successor_permits_what_it_says_and_everything_where_nothing_is_left_to_do(mode, ends):
    # An episode that is cut goes on from its own end: what is forbidden there is worth nothing there.
    for one in played(clocks(mode=mode, ends=ends)):
        valid, over = one.valid, one.terminated[one.valid]
        expected = permitted(one.next_observation[valid]) | over[:, None]
        assert torch.equal(one.next_action_mask[valid], expected)
        assert torch.equal(one.action_mask[valid], permitted(one.observation[valid]))


@pytest.mark.parametrize("mode", MODES)
def test_whoever_rests_forbids_nothing_to_the_others(mode):
    envs = clocks(mode=mode, ends=True)
    assert ev.evaluate(agents(envs), envs, episodes=3).tolist() == [4.0]


@pytest.mark.parametrize("mode", MODES)
def test_one_that_forbids_everything_costs_that_episode_alone(mode):
    envs = clocks(mode=mode, nothing=[-1, 2, -1])
    steps = played(envs, 7)
    fault = envs.take_faults()[0]
    assert (fault.index, fault.kind, fault.message) == ((0, 1), "shape", "action_mask forbids every action")
    assert [bool(one.valid[0, 1]) for one in steps[:3]] == [True, False, mode == "disabled"]
    assert all(one.valid[0, [0, 2]].all() for one in steps) or mode == "next_step"


def test_an_environment_that_forbids_everything_again_and_again_ends_the_run():
    with pytest.raises(
        EnvironmentFault, match=r"environment \(0, 1\) failed 10 times in a row: action_mask forbids"
    ):
        played(clocks(mode="disabled", nothing=[-1, 1, -1]), 30)


def test_masks_that_stop_permit_everything():
    _, *steps = played(clocks(how="reset"), 3)
    assert all(one.action_mask.all() for one in steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"how": "step"},
            r"Clocks: the info of step has an 'action_mask', that of reset has none. Give it in both",
        ),
        (
            {"width": 4},
            r"Clocks: info\['action_mask'\] has shape \(3, 4\); \(3, 3\) is expected, one row for each",
        ),
    ],
)
def test_masks_that_do_not_fit_are_named(options, message):
    def one_step(envs):
        envs.reset()
        envs.step(torch.zeros(1, 3, dtype=torch.int64))

    with pytest.raises(ValueError, match=message):
        one_step(clocks(**options))
