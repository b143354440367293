"""Whole updates in one call of the kernels are the updates that the algorithms' files write out."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete

import evolab as ev
from evolab.networks.batching import whole_updates as whole
from evolab.networks.kernels.td_updates import torch_tanh
from evolab.population import batched_updates

pytestmark = pytest.mark.kernels
STORED = 200


def population(algorithm, dtype=torch.float32, **options):
    """Agents of different batch size, in several groups where the policy's delay differs."""
    discrete = "DQN" in type(algorithm).__name__
    return ev.Population(
        algorithm, Box(-1, 1, (5,)), Discrete(3) if discrete else Box(-2, 2, (2,)), size=5, seed=3,
        network=ev.MLP([21, 12], activation="elu"), dtype=dtype,
        search_space={"batch_size": ev.Integer(20, 60)}, **options,
    )  # fmt: skip


def buffer(discrete, dtype="f", choices=3, masks=False):
    """Transitions of nowhere."""
    stream = np.random.default_rng(1)
    kept = ev.ReplayBuffer(STORED)
    kept.add(
        SimpleNamespace(
            observation=stream.normal(size=(STORED, 5)).astype(dtype),
            action=stream.integers(0, choices, STORED) if discrete else (
                np.clip(stream.uniform(-3, 3, (STORED, 2)), -2, 2).astype("f")),
            reward=stream.normal(size=STORED).astype("f"),
            next_observation=stream.normal(size=(STORED, 5)).astype(dtype),
            terminated=stream.random(STORED) < 0.2,
            truncated=np.zeros(STORED, bool),
            valid=None,
            next_action_mask=np.eye(choices, dtype=bool)[stream.integers(0, choices, STORED)] | (
                stream.random((STORED, choices)) < 0.3) if masks else None,
        )
    )  # fmt: skip
    return kept


def learnt(monkeypatch, algorithm, composed=False, updates=(1, 11), dtype=torch.float32, masks=False):
    """The table and the losses after some updates from a buffer, and how many calls made them."""
    with monkeypatch.context() as patch:
        calls, make = [], whole.make
        patch.setattr(whole, "make", lambda jobs: (calls.append(len(jobs)), make(jobs)))
        if composed:
            patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
        agents = population(algorithm, dtype)
        source = buffer("DQN" in type(algorithm).__name__, masks=masks)
        losses = [agents.learn(source, updates=count) for count in updates]
        return {name: value.clone() for name, value in agents.table.items()}, losses, calls


@pytest.mark.parametrize(
    "algorithm",
    [
        *(ev.TD3(), ev.TD3BC(), ev.IQL(), ev.DDPG(), ev.SAC(), ev.DQN(), ev.DQN(double=False, huber=0.5)),
        *(ev.QRDQN(quantiles=5), ev.QRDQN(double=False, quantiles=37, huber=0.3)),
        *(ev.TQC(quantiles=5), ev.TQC(quantiles=21, critics=3, huber=0.5), ev.TQC(quantiles=1, critics=1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_whole_updates_are_the_composed_ones(monkeypatch, algorithm, dtype):
    table, losses, calls = learnt(monkeypatch, algorithm, dtype=dtype)
    other, expected, none = learnt(monkeypatch, algorithm, composed=True, dtype=dtype)
    assert calls
    assert not none
    assert [set(found) for found in losses] == [set(found) for found in expected]
    # Torch's exponentials of SAC's densities cannot be called from outside: they differ in the last bit.
    # Targets that are distributions round once less: their products and sums are fused. The mean size of TD3BC's values
    # is summed in another order than torch's.
    exact = type(algorithm) is ev.DQN or (
        torch_tanh(dtype) is not None and not isinstance(algorithm, (ev.SAC, ev.QRDQN, ev.TD3BC, ev.IQL))
    )
    close = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-3, "atol": 1e-5}
    for name in table:
        torch.testing.assert_close(table[name], other[name], **close, msg=name)
    for found, same in zip(losses, expected, strict=True):
        for name in found:
            torch.testing.assert_close(found[name], same[name], rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("algorithm", [ev.DQN(), ev.DQN(double=False), ev.QRDQN(quantiles=5)], ids=repr)
def test_whole_updates_obey_masks(monkeypatch, algorithm):
    table, _, calls = learnt(monkeypatch, algorithm, masks=True)
    other, _, none = learnt(monkeypatch, algorithm, composed=True, masks=True)
    free, _, _ = learnt(monkeypatch, algorithm)
    assert calls
    assert not none
    close = {"rtol": 1e-3, "atol": 1e-5} if isinstance(algorithm, ev.QRDQN) else {"rtol": 0.0, "atol": 0.0}
    for name in table:
        torch.testing.assert_close(table[name], other[name], **close, msg=name)
    assert not torch.allclose(table["q"], free["q"])


def test_soft_updates_wait_for_the_delay_and_spreads_stay_within_their_limits():
    found = []
    for composed in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if composed:
                patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
            agents = population(ev.SAC(), torch.float64, hyperparameters={"policy_delay": 3})
            (group,) = agents.table.groups
            for row in range(len(group)):
                layout = group.layout("actor", row)
                at = layout.offsets[layout.names.index("output.bias")]
                agents.table["actor"][row, 0, at : at + 4] += torch.tensor([0.0, 20.0, 3.0, -30.0]).double()
            losses = [agents.learn(buffer(False), updates=count) for count in (2, 5)]
            found.append([*losses[0].items(), *losses[1].items(), *agents.table.items()])
    # Spreads this large leave actions where torch's softplus drops e^-20 beside its argument.
    for (name, value), (_, other) in zip(*found, strict=True):
        torch.testing.assert_close(
            value, other, rtol=1e-7, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_narrow_deviations_are_left_alone_by_imitation():
    found = []
    for composed in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if composed:
                patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
            agents = population(ev.IQL(), torch.float64)
            agents.table["spread"][:, 0, 0] = -7.0
            losses = agents.learn(buffer(False), updates=5)
            found.append([*sorted(losses.items()), *agents.table.items()])
            assert (agents.table["spread"][:, 0, 0] == -7).all()
            assert (agents.table["spread"][:, 0, 1] != -7).all()
    for (name, value), (_, other) in zip(*found, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-7, atol=1e-10, msg=name)


@pytest.mark.parametrize("space", [Box(0, 9, (2,), np.int64), Box(-2, 2, (65,))], ids=str)
def test_actions_that_the_kernels_cannot_imitate_are_learned_by_torch(monkeypatch, space):
    """Whole numbers, whose chances are areas, and more entries than there is room for."""
    calls, make, count = [], whole.make, space.shape[0]
    monkeypatch.setattr(whole, "make", lambda jobs: (calls.append(len(jobs)), make(jobs)))
    stream, kept = np.random.default_rng(1), ev.ReplayBuffer(60)
    seen, zero = stream.normal(size=(60, 5)), np.zeros(60, "f")
    action = (
        stream.integers(0, 3, (60, count)) if space.dtype == np.int64 else stream.normal(size=(60, count))
    )
    kept.add(
        SimpleNamespace(
            observation=seen, action=action, reward=zero + 1, next_observation=seen,
            terminated=zero, truncated=zero, valid=None,
        )
    )  # fmt: skip
    agents = ev.Population(
        "IQL", Box(-1, 1, (5,)), space, size=2, seed=1, network=ev.MLP([8]), hyperparameters={"batch_size": 16}
    )  # fmt: skip
    losses = agents.learn(kept, updates=3)
    assert not calls
    assert all(one.updates == 3 for one in agents.individuals)
    assert all(torch.isfinite(loss).all() for loss in losses.values())


def test_the_agents_of_all_groups_share_one_call(monkeypatch):
    _, _, calls = learnt(monkeypatch, ev.TD3(), updates=(8,))
    agents = population(ev.TD3())
    assert sum(calls) == len(agents.table.groups)
    assert len(calls) == 1


def test_more_threads_give_whole_updates_of_the_same_bits(monkeypatch):
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("evolab.networks.kernels.td_updates.threads", lambda threads=threads: threads)
        monkeypatch.setattr("evolab.networks.kernels.td_updates.GRAIN", 1)
        found.append(learnt(monkeypatch, ev.TD3())[0])
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in other)


@dataclass(frozen=True)
class Eager(ev.TD3):
    """Updates otherwise."""

    def improve(self, agents, batch):
        return super().improve(agents, batch) + 1000


def test_a_class_that_derives_from_an_algorithm_speaks_for_itself(monkeypatch):
    _, losses, calls = learnt(monkeypatch, Eager())
    assert not calls
    assert (losses[1]["actor"] > 900).all()


def test_a_choice_that_is_none_is_refused():
    agents = population(ev.DQN())
    with pytest.raises(IndexError, match="a choice is no output; 0 to 2 are there"):
        agents.learn(buffer(True, choices=9), updates=3)


def test_observations_of_any_space_are_read(monkeypatch):
    spaces = Dict({"at": Discrete(4), "speed": Box(-1, 1, (2,))})
    stream, found = np.random.default_rng(1), []
    seen = {"at": stream.integers(0, 4, 60), "speed": stream.normal(size=(60, 2))}
    zero = np.zeros(60, "f")
    kept = ev.ReplayBuffer(60)
    kept.add(
        SimpleNamespace(
            observation=seen, action=stream.integers(0, 3, 60), reward=zero + 1, next_observation=seen,
            terminated=zero, truncated=zero, valid=None,
        )
    )  # fmt: skip
    for composed in (False, True):
        with monkeypatch.context() as patch:
            if composed:
                patch.setattr(batched_updates.Waiting, "take", lambda *about: False)
            agents = ev.Population(
                "DQN",
                spaces,
                Discrete(3),
                size=2,
                seed=1,
                network=ev.MLP([8]),
                hyperparameters={"batch_size": 16},
            )
            agents.learn(kept, updates=9)
            found.append(agents.table["q"].clone())
    assert torch.equal(*found)


def test_a_copy_has_its_own_updates():
    import copy

    agents, source = population(ev.TD3()), buffer(False)
    agents.learn(source, updates=2)
    before = {name: value.clone() for name, value in agents.table.items()}
    twin = copy.deepcopy(agents)
    twin.learn(source, updates=2)
    assert all(torch.equal(before[name], agents.table[name]) for name in before)
    assert not torch.equal(twin.table["actor"], agents.table["actor"])
