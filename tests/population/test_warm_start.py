"""Warm starts across algorithms: what means the same is taken over, which is said; nothing is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.population.warm_start import start_from
from tests.toys import Choosing, Toy

BOX, CHOICE = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(4)
OBSERVATION = spaces.Box(-1, 1, (5,), np.float32)


def population(algorithm, actions, seed=0, network=(8, 8)):
    return ev.Population(algorithm, OBSERVATION, actions, 2, network=list(network), seed=seed, device="cpu")


def started(theirs, own, actions, **options):
    """An agent of one algorithm, one of another that started from it, and the share that was taken."""
    agent = population(theirs, actions)[0].copy()
    heirs = population(own, actions, seed=1, **options)
    share = start_from(heirs, agent)
    return agent.individual().tensors, heirs[1].individual().tensors, share


# Of a network 5-8-8-O: 48 and 72 in the hidden layers, 9 for each output.
HIDDEN = 5 * 8 + 8 + 8 * 8 + 8
CRITIC = (5 + 3) * 8 + 8 + 8 * 8 + 8 + 9  # Q(s, a) of three actions


@pytest.mark.parametrize(
    ("theirs", "own", "actions", "taken", "total"),
    [
        ("DQN", "CQN", CHOICE, HIDDEN + 36, HIDDEN + 36),
        ("DQN", "PPO", CHOICE, 2 * HIDDEN, 2 * HIDDEN + 36 + 9),
        ("PPO", "DQN", CHOICE, HIDDEN, HIDDEN + 36),
        ("TD3", "PPO", BOX, HIDDEN + 27 + HIDDEN, HIDDEN + 27 + 3 + HIDDEN + 9),
        ("PPO", "TD3", BOX, HIDDEN + 27, HIDDEN + 27 + 2 * CRITIC),
        ("TD3", "SAC", BOX, HIDDEN + 2 * CRITIC, HIDDEN + 54 + 2 * CRITIC + 1),
        ("DDPG", "TD3", BOX, HIDDEN + 27 + 2 * CRITIC, HIDDEN + 27 + 2 * CRITIC),
    ],
)
def test_what_is_taken_is_said_in_percent(capsys, theirs, own, actions, taken, total):
    _, _, share = started(theirs, own, actions)
    assert share == pytest.approx(taken / total)
    assert f"load: {taken / total:.0%} of the weights of each {own} agent are the {theirs} agent's" in (
        capsys.readouterr().err
    )


def test_a_policy_goes_over_whole_and_values_of_states_get_nothing_of_those_of_actions():
    theirs, mine, _ = started("TD3", "PPO", BOX)
    for name, value in theirs["actor"].items():
        assert torch.equal(mine["actor"][name], value), name
    for name in ("hidden.1.weight", "output.weight"):  # of the same shape in both critics
        assert theirs["critic"][name].shape[1:] == mine["critic"][name].shape[1:]
        for twin in theirs["critic"][name]:
            assert not torch.equal(mine["critic"][name][0], twin), name
    assert torch.equal(mine["critic"]["hidden.1.weight"], theirs["actor"]["hidden.1.weight"])


def test_outputs_of_the_same_width_that_mean_something_else_are_drawn_anew():
    theirs, mine, _ = started("DQN", "PPO", CHOICE)
    assert theirs["q"]["output.weight"].shape == mine["actor"]["output.weight"].shape
    assert not torch.equal(mine["actor"]["output.weight"], theirs["q"]["output.weight"])
    assert torch.equal(mine["actor"]["hidden.0.weight"], theirs["q"]["hidden.0.weight"])


def test_the_same_algorithm_is_taken_whole_without_a_word(capsys):
    _, _, share = started("SAC", "SAC", BOX)
    assert share == 1
    assert capsys.readouterr().err == ""


def test_where_nothing_means_the_same_it_is_refused():
    class Line(torch.nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.only = torch.nn.Linear(inputs, outputs)

        def forward(self, x):
            return self.only(x)

    def one(algorithm):
        return ev.Population(algorithm, OBSERVATION, CHOICE, 1, network=ev.Stack(Line), seed=0, device="cpu")

    with pytest.raises(
        ValueError, match=r"nothing of the DQN agent means the same in PPO \(actor 0%, critic 0%\)"
    ):
        start_from(one("PPO"), one("DQN")[0])


@pytest.mark.parametrize(("theirs", "own", "place"), [("DQN", "PPO", Choosing), ("PPO", "TD3", Toy)])
def test_an_experiment_goes_on_from_an_agent_of_another_algorithm(theirs, own, place):
    small = {"population": 1, "num_envs": 2, "network": [8], "steps_per_generation": 24, "seed": 0,
             "device": "cpu", "hyperparameters": {"batch_size": 8}}  # fmt: skip
    first = ev.Experiment(place, theirs, **small)
    with pytest.warns(UserWarning, match=rf"load: \d+% of the weights of each {own} agent"):
        second = ev.Experiment(place, own, load=first.population[0], **{**small, "network": None})
    if own != "PPO":
        second.fill(20)
    second.step()
    first.close()
    second.close()


@pytest.mark.parametrize("scaled", [True, False])
def test_an_agent_begins_only_where_observations_reach_it_on_its_scale(scaled):
    """On another one it would act otherwise, without a word."""
    made = ev.Experiment(
        "MountainCar-v0", "DQN", population=1, num_envs=1, normalise=scaled and "observations", seed=0
    )
    agent = made.population[0]
    with pytest.raises(
        ValueError, match=r"Pass normalise=" + (r"\('observations',\)" if scaled else "False")
    ):
        ev.Experiment("MountainCar-v0", "DQN", population=1, num_envs=1, normalise=not scaled and "observations",
                      load=agent)  # fmt: skip
    seen = np.random.default_rng(0).uniform(-1, 1, (32, 2)).astype(np.float32)
    for options in ({}, {"algorithm": "DQN"}, {"normalise": scaled and "observations"}):
        same = ev.Experiment("MountainCar-v0", population=1, num_envs=1, load=agent, **options)
        np.testing.assert_array_equal(same.population[0].act(seen), agent.act(seen))
