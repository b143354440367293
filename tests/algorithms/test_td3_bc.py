from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from evolab.algorithms.search_space import algorithm_named
from evolab.algorithms.td3_bc import TD3BC
from evolab.core.experience import to_batch
from evolab.population.population import Population
from tests.mixed import BOX, OBSERVATIONS, experience


def alone(**values: float) -> Population:
    settings = {"batch_size": 64, "lr_actor": 3e-3, "policy_delay": 1, **values}
    return Population(
        "TD3BC", OBSERVATIONS, BOX, 1, seed=0, hyperparameters=settings, search_space={}, dtype=torch.float64
    )


def test_without_the_critic_it_clones_the_data():
    generator = torch.Generator().manual_seed(0)
    observation = torch.rand(1, 64, 5, generator=generator, dtype=torch.float64) * 2 - 1
    action = torch.stack([1.5 * observation[..., 0], 1.5 + observation[..., 1]], -1)
    batch = SimpleNamespace(
        observation=observation, action=action, reward=torch.zeros(1, 64, dtype=torch.float64),
        next_observation=observation, terminated=torch.ones(1, 64),
    )  # fmt: skip
    population = alone(bc_alpha=0.0)
    for _ in range(300):
        losses = population.learn(batch)
    assert float(losses["actor"][0]) < 0.01
    acted = population.act(observation)
    assert float((acted - action).abs().mean()) < 0.1, (
        "in the environment's own range, and without exploration"
    )


def test_policy_loss_by_hand():
    """-alpha Q / mean|Q| + (pi - a)^2: with a constant critic the first term is -alpha times its sign."""
    population = alone(bc_alpha=2.5)
    for name in ("actor", "critic"):
        population.table[name].zero_()
    critic = population.individual(0).tensors["critic"]
    critic["output.bias"].fill_(-7.0)
    batch = experience(1, 64, seed=1, discrete=False)
    inner = population.learner.batch_of(population.groups[0], to_batch(batch, population.device))
    group = population.groups[0]
    loss = TD3BC().policy_loss(group, group.network("actor"), inner)
    assert float(loss[0]) == pytest.approx(2.5 + float(inner.action.square().mean()), abs=1e-9)


def test_the_reward_s_unit_does_not_matter_to_the_policy():
    """Dividing by mean |Q|: a critic of ten times the size pulls no harder."""
    batch = experience(1, 64, seed=1, discrete=False)
    moved = []
    for unit in (1.0, 10.0):
        population = alone(lr_critic=1e-7, bc_alpha=2.5)
        critic = population.individual(0).tensors["critic"]
        critic["output.weight"].mul_(unit)
        critic["output.bias"].mul_(unit)
        population.learn(batch, noise=torch.zeros(1, 64, 2, dtype=torch.float64))
        moved.append(population.table["actor"].clone())
    torch.testing.assert_close(moved[0], moved[1], atol=1e-5, rtol=0)


def test_its_name_may_carry_the_plus():
    assert isinstance(algorithm_named("TD3+BC"), TD3BC)
    assert TD3BC.offline
    assert "exploration_noise" not in TD3BC.hyperparameters
