from __future__ import annotations

import types

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.experience import Transition


def transition(step, agents=2, members=3, **changes):
    """A step whose every entry tells its step, agent and environment."""
    place = 100 * step + 10 * np.arange(agents)[:, None] + np.arange(members)
    fields = {
        "observation": np.stack([place, place], -1).astype("f"),
        "action": place.astype("f"),
        "reward": place.astype("f"),
        "next_observation": np.stack([place + 1, place + 1], -1).astype("f"),
        "terminated": np.zeros((agents, members), bool),
        "truncated": np.zeros((agents, members), bool),
        "valid": np.ones((agents, members), bool),
    }
    return types.SimpleNamespace(**fields | changes)


def filled(horizon=4, steps=4):
    buffer = ev.RolloutBuffer(horizon)
    for step in range(steps):
        assert buffer.add(transition(step)) == 6
    return buffer


def test_it_is_full_at_its_horizon_and_empty_when_it_was_learned_from():
    buffer = ev.RolloutBuffer(4)
    assert len(buffer) == 0
    for step in range(4):
        assert not buffer.full
        buffer.add(transition(step))
    assert buffer.full
    assert len(buffer) == 4 * 3
    assert repr(buffer) == "RolloutBuffer(4 of 4 steps): population.learn(buffer)"
    buffer.consumed()
    assert (len(buffer), buffer.full) == (0, False)
    buffer.add(transition(9))
    assert buffer.rollout(slice(1, 2)).reward.tolist() == [[910, 911, 912]]


def test_the_last_steps_count_where_they_are_enough():
    buffer = filled(horizon=8, steps=2)
    assert not buffer.full
    buffer.end_generation(6)
    assert buffer.full
    buffer = filled(horizon=8, steps=2)
    buffer.end_generation(7)
    assert (len(buffer), buffer.full) == (0, False)


def test_every_agent_takes_its_own_steps_environments_side_by_side():
    taken = filled(steps=2, horizon=2).rollout(slice(1, 2))
    assert taken.reward.tolist() == [[10, 11, 12, 110, 111, 112]]
    assert taken.observation.shape == (1, 6, 2)
    assert taken.next_observation[0, :, 0].tolist() == [11, 12, 13, 111, 112, 113]


def test_parts_of_an_observation_are_kept_apart():
    buffer = ev.RolloutBuffer(2)
    for step in range(2):
        one = transition(step)
        nested = {"a": one.observation, "b": (one.reward, one.action)}
        buffer.add(transition(step, observation=nested, next_observation=nested))
    taken = buffer.rollout(slice(0, 2)).observation
    assert taken["a"].shape == (2, 6, 2)
    assert taken["b"][0].tolist() == taken["b"][1].tolist()
    seen = buffer.observations(5, torch.Generator())
    assert seen["a"].shape == (5, 2)


@pytest.mark.parametrize(
    ("size", "lengths"), [(5, [4, 4, 4]), (12, [12]), (100, [12]), (4, [4, 4, 4]), (7, [6, 6])]
)
def test_every_pass_uses_every_step_once_in_an_order_of_each_agents_own(size, lengths):
    population = small(hyperparameters={"batch_size": size, "epochs": 2})
    (group,) = population.groups
    buffer = filled()
    whole = population.learner.batch_of(group, buffer.rollout(group.rows))
    batches = list(population.algorithm.minibatches(group, whole, torch.Generator().manual_seed(1)))
    assert [batch.weight.shape[1] for batch in batches] == lengths * 2
    for batch in batches:
        assert torch.equal(batch.observation[..., 0], batch.action.float()), "rows belong together"
        assert torch.allclose(batch.weight.sum(1), torch.ones(2))
    passes = torch.cat([batch.observation[..., 0] for batch in batches], 1).unflatten(1, (2, 12))
    for agent in range(2):
        for one in passes[agent]:
            assert sorted(one.tolist()) == sorted(whole.reward[agent].tolist())
    assert (passes[0] + 10 != passes[1]).any(), "agents differ in their order"
    assert (passes[:, 0] != passes[:, 1]).any(), "so do passes"


def test_a_step_that_was_none_counts_for_nothing():
    population = small(hyperparameters={"batch_size": 100, "epochs": 1})
    (group,) = population.groups
    buffer = ev.RolloutBuffer(2)
    buffer.add(transition(0))
    lost = np.ones((2, 3), bool)
    lost[0, 1] = False
    buffer.add(transition(1, valid=lost))
    whole = population.learner.batch_of(group, buffer.rollout(group.rows))
    (batch,) = population.algorithm.minibatches(group, whole, torch.Generator())
    gone = batch.action[0] == 101
    assert batch.weight[0][gone].tolist() == [0.0]
    assert batch.weight[0][~gone].tolist() == pytest.approx([1 / 5] * 5)
    assert batch.weight[1].tolist() == pytest.approx([1 / 6] * 6)


def small(**options):
    import gymnasium

    return ev.Population("PPO", gymnasium.spaces.Box(-9e9, 9e9, (2,)), gymnasium.spaces.Discrete(2000), 2,
                         network=[8], seed=0, device="cpu", search_space={}, **options)  # fmt: skip


def test_a_change_of_generation_drops_it_but_not_what_changes_are_measured_on():
    buffer = filled()
    buffer.follow([0, 0])
    assert len(buffer) == 0
    assert buffer.observations(8, torch.Generator()).shape == (8, 2)
    buffer.clear()
    assert buffer.observations(8, torch.Generator()) is None


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"RolloutBuffer: horizon is 0; a whole number of at least 1"):
        ev.RolloutBuffer(0)
    buffer = filled()
    with pytest.raises(
        ValueError, match=r"the rollout is full \(4 steps\): call population\.learn\(buffer\)"
    ):
        buffer.add(transition(4))
    buffer.clear()
    with pytest.raises(
        ValueError, match=r"transitions of shape \[2, 3\] are expected, reward has shape \(2, 4\)"
    ):
        buffer.add(transition(0, members=4))
    with pytest.raises(ValueError, match=r"a transition's field has shape \(2, 3, 5\)"):
        buffer.add(transition(0, observation=np.zeros((2, 3, 5), "f")))
    with pytest.raises(ValueError, match=r"transitions of shape \[P, E\] are expected"):
        ev.RolloutBuffer(4).add(transition(0, reward=np.zeros(3)))
    assert Transition.of(transition(0)).metrics == {}
    with pytest.raises(TypeError, match=r"SimpleNamespace has no observation, action, next_observation"):
        ev.RolloutBuffer(4).add(types.SimpleNamespace(reward=np.zeros((2, 3))))


def test_its_memory_is_counted():
    assert filled().nbytes == 4 * 6 * (8 + 4 + 4 + 8 + 3)
