from __future__ import annotations

from math import exp, log
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.cqn import CQN
from evolab.population.population import Population
from tests.mixed import DISCRETE, OBSERVATIONS, experience

LINE = spaces.Box(-1, 1, (1,), np.float64)


def known(alpha: float, clip: float | None = None) -> Population:
    """One agent with values [x, 2x], its target's [10x, 5x]."""
    population = Population(
        CQN(clip=clip), LINE, spaces.Discrete(2), 1, network=[1], seed=0, dtype=torch.float64, search_space={},
        hyperparameters={"discount": 0.5, "batch_size": 2, "lr": 0.1, "tau": 0.5, "cql_alpha": alpha},
    )  # fmt: skip
    state = population.individual(0).tensors
    for kind, weights in (("q", [1.0, 2.0]), ("q.target", [10.0, 5.0])):
        state[kind]["hidden.0.weight"].fill_(1.0)
        state[kind]["hidden.0.bias"].zero_()
        state[kind]["output.weight"][0, :, 0] = torch.tensor(weights)
        state[kind]["output.bias"].zero_()
    return population


def one_batch() -> SimpleNamespace:
    x = torch.full((1, 2, 1), 0.8, dtype=torch.float64)
    return SimpleNamespace(
        observation=x, action=torch.zeros(1, 2, dtype=torch.int64), reward=torch.ones(1, 2, dtype=torch.float64),
        next_observation=x, terminated=torch.tensor([[False, True]]),
    )  # fmt: skip


def test_loss_by_hand():
    """Half the squared error of the double DQN target, plus alpha times logsumexp minus the data's value."""
    losses = known(alpha=0.7).learn(one_batch())
    squared = ((0.8 - (1 + 0.5 * 5.0 * 0.8)) ** 2 + (0.8 - 1.0) ** 2) / 2
    gap = log(exp(0.8) + exp(1.6)) - 0.8
    assert float(losses["gap"][0]) == pytest.approx(gap, abs=1e-12)
    assert float(losses["q"][0]) == pytest.approx(squared / 2 + 0.7 * gap, abs=1e-12)


def test_gap_weighs_the_data_s_own_action():
    """A penalty that ignores the data's action (a defect of the peer) would be the same for both."""
    found = []
    for action in (0, 1):  # of the values 0.8 and 1.6
        batch = one_batch()
        batch.action.fill_(action)
        found.append(float(known(alpha=1.0).learn(batch)["gap"][0]))
    assert found[0] - found[1] == pytest.approx(0.8, abs=1e-12)
    assert found[1] == pytest.approx(log(1 + exp(-0.8)), abs=1e-12)


def test_samples_beyond_an_agent_s_batch_do_not_count():
    space = {"batch_size": ev.Integer(2, 8)}
    population = Population("CQN", OBSERVATIONS, DISCRETE, 3, seed=0, search_space=space, draw=True,
                            dtype=torch.float64)  # fmt: skip
    sizes = [agent.hyperparameters["batch_size"] for agent in population]
    assert len(set(sizes)) > 1
    batch = experience(3, max(sizes), seed=3, discrete=True)
    expected = [
        penalty(agent.module(), batch, row, size).item()
        for row, (agent, size) in enumerate(zip(population, sizes))
    ]
    assert population.learn(batch)["gap"].tolist() == pytest.approx(expected, abs=1e-12)


def penalty(module, batch, row, size):
    """logsumexp of all values less the value of the data's action, meaned over an agent's own batch."""
    values = module(batch.observation[row, :size])  # [B, A]
    chosen = values[torch.arange(size), batch.action[row, :size].long()]
    return (torch.logsumexp(values, -1) - chosen).mean()


def test_the_penalty_s_gradient_is_that_of_logsumexp_less_the_data_s_value():
    """What an alpha of 0.7 adds to the gradient, by autograd; Adam's first mean is a tenth of the gradient."""
    batch, means = experience(1, 8, seed=3, discrete=True), []
    for alpha in (0.7, 0.0):
        values = {"batch_size": 8, "cql_alpha": alpha}
        population = Population("CQN", OBSERVATIONS, DISCRETE, 1, seed=5, hyperparameters=values,
                                search_space={}, dtype=torch.float64)  # fmt: skip
        module = population[0].module()
        population.learn(batch)
        means.append(population.individual(0).tensors["q.mean"])
    gradients = torch.autograd.grad(0.7 * penalty(module, batch, 0, 8), list(module.parameters()))
    added = [
        10 * (mean - without)[0] for mean, without in zip(means[0].values(), means[1].values(), strict=True)
    ]
    for mine, expected in zip(added, gradients, strict=True):
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(mine, expected, atol=1e-12, rtol=0)


def test_without_alpha_it_moves_as_double_dqn_on_half_the_error():
    """Adam does not see a loss's scale, so the parameters are those of DQN up to its epsilon."""
    batch = experience(2, 8, seed=3, discrete=True)
    populations = []
    for name, more in (("CQN", {"cql_alpha": 0.0}), ("DQN", {})):
        population = Population(
            name, OBSERVATIONS, DISCRETE, 2, seed=5, hyperparameters={"batch_size": 8, "lr": 5e-4, "tau": 0.005, **more},
            search_space={}, dtype=torch.float64,
        )  # fmt: skip
        for _ in range(5):
            population.learn(batch)
        populations.append(population)
    torch.testing.assert_close(populations[0].table["q"], populations[1].table["q"], atol=1e-4, rtol=0)


def test_a_large_alpha_imitates_the_data():
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(1, 256, 5, generator=generator)
    action = (observation[..., 0] > 0).long()
    batch = SimpleNamespace(
        observation=observation, action=action, reward=torch.randn(1, 256, generator=generator),
        next_observation=observation, terminated=torch.ones(1, 256),
    )  # fmt: skip
    values = {"batch_size": 256, "cql_alpha": 100.0, "lr": 5e-3}
    population = Population("CQN", OBSERVATIONS, DISCRETE, 1, seed=0, hyperparameters=values, search_space={})
    before = float(population.learn(batch)["gap"][0])
    for _ in range(60):
        after = float(population.learn(batch)["gap"][0])
    assert after < before / 3
    acted = population.act(observation, explore=True)
    assert float((acted == action).float().mean()) > 0.95, (
        "and exploring acts the same: there is nobody to explore for"
    )


def test_clip_bounds_the_gradient_s_norm():
    for clip in (None, 1.0):
        population = known(alpha=50.0, clip=clip)
        population.learn(one_batch())
        norm = float(population.table["q.mean"].norm()) / (
            1 - 0.9
        )  # Adam's first mean is a tenth of the gradient
        assert (norm <= 1 + 1e-6) is (clip is not None)


def test_alpha_evolves_and_is_refused_below_zero():
    population = Population("CQN", OBSERVATIONS, DISCRETE, 2, seed=0)
    assert population.search_space["cql_alpha"] == ev.Float(0.1, 10.0)
    assert not any(name.startswith("epsilon") for name in population.individuals[0].hyperparameters)
    with pytest.raises(ValueError, match="cql_alpha is -1"):
        Population("CQN", OBSERVATIONS, DISCRETE, 2, hyperparameters={"cql_alpha": -1.0})


def test_a_narrow_expert_is_imitated():
    """With a true CQL loss a few hundred updates on one policy's data are enough to act like it."""

    def controller(observation):
        return (np.asarray(observation) @ np.array([0.1, 0.25, 1.0, 0.5]) > 0).astype(np.int64)

    from evolab.data.buffers.offline import buffer_from

    buffer, (observations, actions) = buffer_from(ev.collect("CartPole-v1", controller, steps=2_000, seed=0))
    population = Population("CQN", observations, actions, 1, hyperparameters={"lr": 2e-3}, seed=0)
    population.learn(buffer, updates=600)
    acted = population.act(buffer.fields["observation"][None], explore=False)[0]
    assert float((acted == buffer.fields["action"]).float().mean()) > 0.9
