"""What the kernels make of a rollout is what PPO's own file writes out, minibatch by minibatch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

import evolab as ev
from evolab.networks.batching import whole_updates as whole
from evolab.population import batched_updates

pytestmark = pytest.mark.kernels
AGENTS, ENVS, STEPS = 3, 5, 33  # 165 steps of each agent: minibatches of 41 and 42


def rollout(space, masks=False):
    """Steps of nowhere, of which some are at a bound, end, were cut, or are none."""
    stream, buffer = np.random.default_rng(1), ev.RolloutBuffer(STEPS)
    shape = AGENTS, ENVS
    while not buffer.full:
        if isinstance(space, Box):
            action = np.clip(2 * stream.normal(size=(*shape, *space.shape)), -2, 2).astype("f")
        else:
            action = stream.integers(0, 2, (*shape, *space.shape))
        buffer.add(
            SimpleNamespace(
                observation=stream.normal(size=(*shape, 5)).astype("f"), action=action,
                reward=stream.normal(size=shape).astype("f"),
                next_observation=stream.normal(size=(*shape, 5)).astype("f"),
                terminated=stream.random(shape) < 0.1, truncated=stream.random(shape) < 0.1,
                valid=stream.random(shape) < 0.9, action_mask=np.ones((*shape, 3), bool) if masks else None,
            )
        )  # fmt: skip
    return buffer


def learnt(space, composed=False, dtype=torch.float64, masks=False, rounds=2, **hyperparameters):
    """The table and the losses after some rollouts, and how many calls made them."""
    with pytest.MonkeyPatch.context() as patch:
        calls, make = [], whole.make
        patch.setattr(whole, "make", lambda jobs: (calls.append(len(jobs)), make(jobs)))
        if composed:
            patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
        settings = {"batch_size": 42, "lr": 3e-3, **hyperparameters}
        agents = ev.Population(
            "PPO", Box(-1, 1, (5,)), space, size=AGENTS, seed=3, dtype=dtype, hyperparameters=settings,
            network=ev.MLP([21, 12], activation="elu", layer_norm=masks is None),
        )  # fmt: skip
        losses = [agents.learn(rollout(space, bool(masks))) for _ in range(rounds)]
        assert {one.updates for one in agents.individuals} == {rounds * 4 * 4}
        return {name: value.clone() for name, value in agents.table.items()}, losses, calls


SPACES = [Box(-2, 2, (2,)), Discrete(3)]


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_whole_rollout_is_its_composed_minibatches(space, dtype):
    table, losses, calls = learnt(space, dtype=dtype)
    other, expected, none = learnt(space, composed=True, dtype=dtype)
    assert calls == [1, 1]
    assert not none
    close = {"rtol": 1e-9, "atol": 1e-11} if dtype is torch.float64 else {"rtol": 1e-3, "atol": 1e-4}
    for name in table:
        torch.testing.assert_close(table[name], other[name], **close, msg=name)
    for found, same in zip(losses, expected, strict=True):
        assert found.keys() == same.keys()
        for name in found:
            torch.testing.assert_close(found[name], same[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"clip": 0.01}, {"max_grad_norm": 1e9}, {"entropy_coefficient": 3.0}, {"value_coefficient": 0.0}],
    ids=str,
)
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_coefficient_counts_as_it_is_written_out(space, settings):
    table, _, _ = learnt(space, **settings)
    other, _, _ = learnt(space, composed=True, **settings)
    plain, _, _ = learnt(space)
    for name in table:
        torch.testing.assert_close(table[name], other[name], rtol=1e-9, atol=1e-11, msg=name)
    assert not torch.equal(table["actor"], plain["actor"])


def test_layers_are_normalised(monkeypatch):
    table, _, calls = learnt(SPACES[0], masks=None)
    other, _, _ = learnt(SPACES[0], composed=True, masks=None)
    assert calls
    for name in table:
        torch.testing.assert_close(table[name], other[name], rtol=1e-9, atol=1e-11, msg=name)


def test_actions_far_beyond_what_the_policy_does_have_finite_gradients():
    narrow, found = torch.full((AGENTS, 1, 2), -4.5), []
    for composed in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if composed:
                patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
            agents = ev.Population(
                "PPO", Box(-1, 1, (5,)), SPACES[0], AGENTS, seed=3, dtype=torch.float64, network=[8]
            )
            agents.table["spread"][:, :, :2] = narrow  # 90 deviations from the mean to the bound
            agents.learn(rollout(SPACES[0]))
            found.append({name: value.clone() for name, value in agents.table.items()})
    for name in found[0]:
        assert found[0][name].isfinite().all()
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-7, atol=1e-9, msg=name)


def test_more_threads_give_rollouts_of_the_same_bits(monkeypatch):
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("evolab.networks.kernels.td_updates.threads", lambda threads=threads: threads)
        monkeypatch.setattr("evolab.networks.kernels.td_updates.GRAIN", 1)
        found.append(learnt(SPACES[0], dtype=torch.float32)[0])
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in other)


@pytest.mark.parametrize(
    ("space", "masks"),
    [(MultiDiscrete([2, 2]), False), (Box(0, 3, (2,), dtype=np.int32), False), (Discrete(3), True)],
    ids=str,
)
def test_what_the_kernels_do_not_know_is_composed(space, masks):
    _, losses, calls = learnt(space, masks=masks, rounds=1)
    assert not calls
    assert losses[0]["critic"].isfinite().all()


def test_a_choice_that_is_none_is_refused():
    agents = ev.Population("PPO", Box(-1, 1, (5,)), Discrete(3), AGENTS, seed=3)
    buffer = rollout(Discrete(3))
    buffer.fields["action"][7, 1, 2] = 9
    with pytest.raises(IndexError, match="a choice is no output; 0 to 2 are there"):
        agents.learn(buffer)
