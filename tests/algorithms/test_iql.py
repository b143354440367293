"""Implicit Q-learning: against a loop by hand, against what data hold, and never beyond them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import evolab as ev
from evolab.algorithms.iql import ExpectileError
from evolab.population.batched_updates import Waiting
from tests.mixed import BOX, OBSERVATIONS, experience

VALUES = {
    "batch_size": 16, "lr_actor": 2e-3, "lr_critic": 3e-3, "lr_value": 4e-3, "discount": 0.9, "tau": 0.1,
    "expectile": 0.8, "advantage_weight": 2.0,
}  # fmt: skip


def alone(size=1, **values):
    return ev.Population(
        "IQL", OBSERVATIONS, BOX, size, network=[12], seed=0, hyperparameters={**VALUES, **values}, search_space={},
        dtype=torch.float64, device="cpu",
    )  # fmt: skip


def perceptron(state, member=0):
    """A network of torch's own with these weights."""
    state = {name: value[member] for name, value in state.items()}
    width, entries = state["hidden.0.weight"].shape
    layers = nn.Sequential(
        nn.Linear(entries, width), nn.ReLU(), nn.Linear(width, len(state["output.bias"]))
    ).double()
    with torch.no_grad():
        for layer, name in ((layers[0], "hidden.0"), (layers[2], "output")):
            layer.weight.copy_(state[f"{name}.weight"])
            layer.bias.copy_(state[f"{name}.bias"])
    return layers


def members(state):
    """The networks of an ensemble of two."""
    return [perceptron(state, member) for member in range(2)]


@pytest.mark.parametrize("heavy", [2.0, 60.0])
def test_five_updates_by_hand(heavy):
    population = alone(advantage_weight=heavy)
    one = population.individual(0).tensors
    actor, value = perceptron(one["actor"]), perceptron(one["value"])
    critics, targets = members(one["critic"]), members(one["critic.target"])
    spread = one["spread"]["value"][0].clone().requires_grad_()
    own = {"actor": [*actor.parameters(), spread], "value": [*value.parameters()]}
    own["critic"] = [weight for critic in critics for weight in critic.parameters()]
    adam = {name: torch.optim.Adam(own[name], lr=VALUES[f"lr_{name}"]) for name in own}
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    limited = False
    for update in range(5):
        batch = experience(1, 16, seed=update, discrete=False)
        losses = population.learn(batch)
        see, then, reward, over = (
            torch.as_tensor(np.asarray(part)[0]).double()
            for part in (batch.observation, batch.next_observation, batch.reward, batch.terminated)
        )
        action = 2 * (torch.as_tensor(np.asarray(batch.action)[0]).double() - low) / (high - low) - 1
        both = torch.cat([see, action], -1)
        with torch.no_grad():
            worth = torch.minimum(*(target(both) for target in targets)).squeeze(-1)
        error = worth - value(see).squeeze(-1)
        tilted = (torch.where(error > 0, 0.8, 0.2) * error.square()).mean()
        moved(adam["value"], tilted)
        with torch.no_grad():
            counts = (heavy * (worth - value(see).squeeze(-1))).exp().clamp(max=100)
            limited |= bool((counts == 100).any())
            aim = reward + 0.9 * (1 - over) * value(then).squeeze(-1)
        policy = torch.distributions.Normal(torch.tanh(actor(see)), spread.exp())
        imitation = -(counts * policy.log_prob(action).sum(-1)).mean()
        moved(adam["actor"], imitation)
        wrong = sum((critic(both).squeeze(-1) - aim).square().mean() for critic in critics)
        moved(adam["critic"], wrong)
        with torch.no_grad():
            for slow, fast in zip(targets, critics, strict=True):
                for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    old.lerp_(new, 0.1)
        for name, loss in (("value", tilted), ("actor", imitation), ("critic", wrong)):
            assert float(losses[name][0]) == pytest.approx(float(loss.detach()), rel=1e-7), name
    assert limited == (heavy > 10)
    one = population.individual(0).tensors
    torch.testing.assert_close(
        one["actor"]["output.weight"][0], actor[2].weight.detach(), rtol=1e-7, atol=1e-9
    )
    torch.testing.assert_close(one["spread"]["value"][0], spread.detach(), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(
        one["value"]["output.weight"][0], value[2].weight.detach(), rtol=1e-7, atol=1e-9
    )
    for member, target in enumerate(targets):
        found = one["critic.target"]["output.weight"][member]
        torch.testing.assert_close(found, target[2].weight.detach(), rtol=1e-7, atol=1e-9)


def moved(adam, loss):
    adam.zero_grad()
    loss.backward()
    adam.step()


def test_the_gradient_is_that_of_the_formula():
    stream = torch.Generator().manual_seed(0)
    out, target = (torch.randn(3, 7, generator=stream, dtype=torch.float64) for _ in "ab")
    weight = torch.rand(3, 7, generator=stream, dtype=torch.float64)
    loss = ExpectileError(target, weight, torch.tensor([0.5, 0.7, 0.99]))
    leaf = out.unsqueeze(-1).requires_grad_()
    losses = loss(leaf)
    slope = torch.autograd.grad(losses.sum(), leaf)[0]
    written, gradient = loss.gradient(out.unsqueeze(-1))
    torch.testing.assert_close(written, losses.detach())
    torch.testing.assert_close(gradient, slope)
    assert torch.allclose(loss(out.unsqueeze(-1))[0], (weight * (target - out).square() / 2).sum(-1)[0])


def bandit(seen=5, count=512):
    """One step, two kinds of action: around -0.5, which earn 0, and a quarter of them around 0.5, which earn 1."""
    stream = np.random.default_rng(0)
    good = stream.random(count) < 0.25
    unit = np.where(good, 0.5, -0.5)[:, None] + 0.05 * stream.normal(size=(count, 2))
    action = (unit + 1) / 2 * (BOX.high - BOX.low) + BOX.low
    observation = stream.uniform(-1, 1, (count, seen))
    return SimpleNamespace(
        observation=observation, action=action, reward=good.astype("f"), next_observation=observation,
        terminated=np.ones(count, bool), truncated=np.zeros(count, bool), valid=None,
    )  # fmt: skip


def learned(**values):
    """What the policy does, in [-1, 1], and what the value is, in the mean, after learning from the bandit."""
    buffer = ev.ReplayBuffer(512)
    buffer.add(bandit())
    population = alone(batch_size=128, lr_actor=5e-3, lr_critic=5e-3, lr_value=5e-3, tau=0.1, **values)
    population.learn(buffer, updates=600)
    seen = np.random.default_rng(1).uniform(-1, 1, (1, 64, 5))
    acted = 2 * (np.asarray(population.act(seen)) - BOX.low) / (BOX.high - BOX.low) - 1
    value = population.algorithm.value(population.groups[0], torch.from_numpy(seen))
    return acted.mean(), float(value.mean())


def test_an_advantage_that_weighs_nothing_imitates_and_a_heavy_one_picks_the_best():
    cloned, _ = learned(advantage_weight=0.0, expectile=0.5)
    picked, _ = learned(advantage_weight=10.0, expectile=0.7)
    assert cloned == pytest.approx(-0.25, abs=0.1), "the mean of the data"
    assert picked == pytest.approx(0.5, abs=0.1), "a quarter of the data"


def test_the_value_is_an_expectile_of_what_the_data_earned():
    """Of 0 and 1, a quarter of them 1: v with t (1 - v) / 4 = (1 - t) 3 v / 4."""
    for expectile in (0.5, 0.9):
        _, value = learned(expectile=expectile)
        exact = expectile / (expectile + 3 * (1 - expectile))
        assert value == pytest.approx(exact, abs=0.1), expectile


def test_critics_are_asked_for_no_action_that_is_not_in_the_data(monkeypatch):
    population, batch = alone(), experience(1, 16, seed=0, discrete=False)
    group, asked = population.groups[0], []
    network = type(group).network

    def watched(self, name, target=False):
        made = network(self, name, target)
        if name != "critic":
            return made

        def call(observation, extra=None, member=None):
            asked.append(extra)
            return made(observation, extra, member)

        return call

    monkeypatch.setattr(type(group), "network", watched)
    monkeypatch.setattr(Waiting, "take", lambda *about: False)  # kernels tell nobody whom they ask
    population.learn(batch)
    own = 2 * (torch.as_tensor(np.asarray(batch.action)).double() - torch.tensor(BOX.low))
    own = own / torch.tensor(BOX.high - BOX.low) - 1
    assert asked
    assert all(torch.allclose(extra, own) for extra in asked)


def test_options_are_checked_and_other_actions_refused():
    with pytest.raises(ValueError, match="IQL: start_spread is 0"):
        ev.IQL(start_spread=0)
    with pytest.raises(TypeError, match="IQL needs Box actions"):
        ev.Population("IQL", OBSERVATIONS, ev.envs.make("CartPole-v1").single_action_space, 1)
    ev.testing.check_algorithm(ev.IQL())


def test_it_evolves_from_data_and_is_saved(tmp_path):
    stream = np.random.default_rng(0)
    data = {
        "observations": stream.normal(size=(200, 3)).astype("f"), "rewards": stream.normal(size=200),
        "actions": stream.uniform(-1, 1, (200, 2)).astype("f"), "terminals": np.arange(200) % 20 == 19,
        "next_observations": stream.normal(size=(200, 3)).astype("f"),
    }  # fmt: skip
    exp = ev.Experiment(
        data, "IQL", population=3, network=[8], steps_per_generation=20, seed=1, device="cpu", progress=False,
        hyperparameters={"batch_size": 32},
    )  # fmt: skip
    exp.run(generations=2)
    exp.best.save(tmp_path / "agent")
    again, seen = ev.Agent.load(tmp_path / "agent"), data["observations"][:7]
    assert np.array_equal(again.act(seen), exp.best.act(seen))
    module = exp.best.module()
    with torch.no_grad():
        assert module(torch.from_numpy(seen)).shape[0] == 7
