from __future__ import annotations

import types

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.data.buffers.rollout import advantages


def slow(reward, value, next_value, terminated, ended, valid, discount, trace):
    """The definition, written out: for each step the weighted sum of all errors that follow in its episode."""
    agents, steps, members = reward.shape
    found = np.zeros(reward.shape)
    for agent in range(agents):
        for member in range(members):
            for start in range(steps):
                weight = 1.0
                for step in range(start, steps):
                    place = agent, step, member
                    if not valid[place]:
                        break
                    following = 0.0 if terminated[place] else next_value[place]
                    found[agent, start, member] += weight * (
                        reward[place] + discount[agent] * following - value[place]
                    )
                    if ended[place]:
                        break
                    weight *= discount[agent] * trace[agent]
    return found


def drawn(shape=(3, 17, 4), seed=0):
    """Random rewards and values, with episodes that end either way, and with faults."""
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, *shape))
    terminated = rng.random(shape) < 0.1
    ended = terminated | (rng.random(shape) < 0.1)
    valid = rng.random(shape) > 0.05
    assert terminated.any()
    assert (ended & ~terminated).any()
    assert not valid.all()
    return [reward, value, next_value, terminated, ended, valid]


@pytest.mark.parametrize("seed", range(3))
def test_advantages_are_those_of_the_definition(seed):
    parts = drawn(seed=seed)
    discount, trace = np.array([0.99, 0.5, 1.0]), np.array([0.95, 1.0, 0.0])
    found = advantages(*(torch.as_tensor(part, dtype=torch.float64) for part in [*parts, discount, trace]))
    assert np.allclose(found.numpy(), slow(*parts, discount, trace), atol=1e-12, rtol=0)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not():
    zero, one = numbers(0, 0), numbers(0, 1)
    rest = (numbers(1, 1), torch.tensor([0.5]), torch.tensor([1.0]))
    reward, value, following = numbers(1, 1), numbers(2, 4), numbers(4, 8)
    # the last step: 1 + 0.5 * 8 - 4 = 1, or 1 - 4 = -3; the first: 1 + 0.5 * 4 - 2 = 1, and half of the last
    assert advantages(reward, value, following, zero, one, *rest).flatten().tolist() == [1.5, 1.0]
    assert advantages(reward, value, following, one, one, *rest).flatten().tolist() == [-0.5, -3.0]


def test_nothing_of_the_next_episode_reaches_the_one_before():
    reward = numbers(0, 0, 100)
    args = (numbers(0, 0, 0), numbers(0, 0, 0), numbers(0, 0, 0), numbers(0, 1, 0), numbers(1, 1, 1))
    found = advantages(reward, *args, torch.tensor([0.9]), torch.tensor([1.0]))
    assert found.flatten().tolist() == [0.0, 0.0, 100.0]


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
    assert repr(buffer) == "RolloutBuffer(4 of 4 steps)"
    buffer.consumed()
    assert (len(buffer), buffer.full) == (0, False)
    buffer.add(transition(9))
    assert buffer.taken(slice(1, 2)).reward.tolist() == [[910, 911, 912]]


def test_the_last_steps_count_where_they_are_enough():
    buffer = filled(horizon=8, steps=2)
    assert not buffer.full
    buffer.finish(6)
    assert buffer.full
    buffer = filled(horizon=8, steps=2)
    buffer.finish(7)
    assert (len(buffer), buffer.full) == (0, False)


def test_every_agent_takes_its_own_steps_environments_side_by_side():
    taken = filled(steps=2, horizon=2).taken(slice(1, 2))
    assert taken.reward.tolist() == [[10, 11, 12, 110, 111, 112]]
    assert taken.observation.shape == (1, 6, 2)
    assert taken.next_observation[0, :, 0].tolist() == [11, 12, 13, 111, 112, 113]


def test_parts_of_an_observation_are_kept_apart():
    buffer = ev.RolloutBuffer(2)
    for step in range(2):
        one = transition(step)
        nested = {"a": one.observation, "b": (one.reward, one.action)}
        buffer.add(transition(step, observation=nested, next_observation=nested))
    taken = buffer.taken(slice(0, 2)).observation
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
    whole = population.learner.batch_of(group, buffer.taken(group.rows))
    batches = list(buffer.batches(population.algorithm, group, whole, torch.Generator().manual_seed(1)))
    assert [batch.reward.shape[1] for batch in batches] == lengths * 2
    for batch in batches:
        assert torch.equal(batch.observation[..., 0], batch.reward), "rows belong together"
        assert torch.allclose(batch.weight.sum(1), torch.ones(2))
    passes = torch.cat([batch.reward for batch in batches], 1).unflatten(1, (2, 12))
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
    whole = population.learner.batch_of(group, buffer.taken(group.rows))
    (batch,) = buffer.batches(population.algorithm, group, whole, torch.Generator())
    gone = batch.reward[0] == 101
    assert batch.weight[0][gone].tolist() == [0.0]
    assert batch.weight[0][~gone].tolist() == pytest.approx([1 / 5] * 5)
    assert batch.weight[1].tolist() == pytest.approx([1 / 6] * 6)


def small(**options):
    import gymnasium

    return ev.Population("PPO", gymnasium.spaces.Box(-9e9, 9e9, (2,)), gymnasium.spaces.Discrete(2000), 2,
                         network=[8], seed=0, device="cpu", search_space={}, **options)  # fmt: skip


def test_a_change_of_generation_drops_it_but_not_what_changes_are_measured_on():
    buffer = filled()
    buffer.gather([0, 0])
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
        ev.RolloutBuffer(4).add(types.SimpleNamespace(reward=np.zeros(3)))


def test_its_memory_is_counted():
    assert filled().nbytes == 4 * 6 * (8 + 4 + 4 + 8 + 3)
