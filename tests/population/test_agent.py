from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evolab as ev
from tests.mixed import BOX, DISCRETE, OBSERVATIONS, experience


def agent_of(algorithm="TD3", **options):
    space = DISCRETE if algorithm == "DQN" else BOX
    return ev.Population(algorithm, OBSERVATIONS, space, 2, network=[8], seed=0, **options)[1]


@pytest.mark.parametrize(("algorithm", "space"), [("TD3", BOX), ("DQN", DISCRETE)])
def test_one_observation_gives_one_action_ready_for_the_environment(algorithm, space):
    agent = agent_of(algorithm)
    action = agent.act(np.zeros(5, np.float32))
    assert space.contains(action)
    batch = agent.act(np.zeros((7, 5), np.float32))
    assert batch.shape == (7, *(space.shape or ()))
    assert np.allclose(batch[0], action)
    tensors = agent.act(torch.zeros(7, 5))
    assert isinstance(tensors, torch.Tensor)
    assert np.allclose(tensors.numpy(), batch, atol=1e-6)


def test_describe_says_what_it_is():
    agent = agent_of()
    known = agent.describe()
    assert known["agent"] == agent.id
    assert known["architecture"] == "8 relu"
    assert known["algorithm"] == "TD3"
    assert known["lr_actor"] == agent.hyperparameters["lr_actor"]
    module = agent.module()
    actor = sum(p.numel() for p in module.parameters())
    critics = 2 * ((5 + 2) * 8 + 8 + 8 + 1)
    assert agent.network_size == actor + critics
    assert "fitness not yet known" in repr(agent)
    assert "<b>Agent 1</b>" in agent._repr_html_()


def test_an_agent_says_that_it_can_be_read_only_and_what_to_call():
    agent = agent_of()
    before = dict(agent.hyperparameters)
    with pytest.raises(
        TypeError,
        match=r"read only, 'lr_actor' too\. exp\.set\(agent, .*exp\.search_space = .*hyperparameters=",
    ):
        agent.hyperparameters["lr_actor"] = 9.0
    with pytest.raises(TypeError, match="hyperparameters can be read only"):
        agent.hyperparameters.update(lr_actor=9.0)
    values = agent.hyperparameters
    with pytest.raises(TypeError, match="hyperparameters can be read only"):
        values |= {"lr_actor": 9.0}
    for name in ("lr_actor", "lr", "hyperparameters", "fitness"):
        with pytest.raises(AttributeError, match=f"an agent can be read only: {name} is not set"):
            setattr(agent, name, 9.0)
    assert agent.hyperparameters == before
    again = copy.deepcopy(agent.hyperparameters)
    again["lr_actor"] = 9.0  # a copy is the caller's own
    assert json.loads(json.dumps(agent.hyperparameters)) == before


def test_an_agent_that_diverged_still_acts_within_its_range():
    agent = agent_of()
    agent.table["actor"][:] = float("nan")
    assert BOX.contains(agent.act(np.zeros(5)))


def test_a_copy_learns_for_itself():
    agent = agent_of()
    twin = agent.copy()
    batch = experience(2, 128, 0, discrete=False)
    mine = type(batch)(**{name: value[0] for name, value in vars(batch).items()})
    before = agent.module()(torch.ones(1, 5))
    for _ in range(4):
        losses = twin.learn(mine)
    assert set(losses) == {"critic", "actor"}
    assert torch.equal(agent.module()(torch.ones(1, 5)), before)
    assert not torch.equal(twin.module()(torch.ones(1, 5)), before)
    assert (twin.id, twin.describe()["updates"], agent.describe()["updates"]) == (agent.id, 4, 0)


def test_steps_that_an_agent_takes_by_itself_count_for_it_alone():
    agent = agent_of()
    agent.act(np.zeros((3, 5), np.float32), explore=True)
    agent.act(np.zeros(5, np.float32), explore=True)
    table = agent.table
    assert table.hyper["steps"].tolist() == [0.0, 4.0]
    assert [one.steps for one in table.individuals] == [0, 4]


def test_a_fitness_known_anew_takes_the_place_of_the_last_one():
    agent = agent_of()
    for fitness in (1.0, 2.0):
        agent.evaluated(fitness)
    agent.evaluated(3.0, again=True)
    assert agent.table.individuals[agent.row].fitness == [1.0, 3.0]


def test_a_lone_update_counts_on_from_those_of_the_population():
    """TD3 moves its actor at every second update, whoever asked for the first."""
    population = ev.Population(
        "TD3", OBSERVATIONS, BOX, 2, network=[8], seed=0, hyperparameters={"batch_size": 8}
    )
    alone = SimpleNamespace(**{name: leaf[0] for name, leaf in vars(experience(1, 8, 1, False)).items()})
    moved = []
    population.learn(experience(2, 8, 0, False))
    for _ in range(3):
        before = population.individual(1).tensors["actor"]
        before = {name: value.clone() for name, value in before.items()}
        population[1].learn(alone)
        after = population.individual(1).tensors["actor"]
        moved.append(any(not torch.equal(value, after[name]) for name, value in before.items()))
    assert moved == [True, False, True]
