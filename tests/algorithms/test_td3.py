from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from evolab.algorithms.ddpg import DDPG
from evolab.algorithms.exploration import gaussian, ornstein_uhlenbeck
from evolab.algorithms.td3 import TD3
from evolab.population.population import Population
from tests.mixed import BOX, OBSERVATIONS, experience, mixed


@pytest.mark.parametrize("algorithm", [DDPG(), TD3()], ids=lambda a: a.name)
def test_the_update_never_asks_the_device(algorithm):
    """Meta tensors have no values, so anything that waits for one raises."""
    population = mixed(algorithm, device="meta")
    batch = experience(8, 16, 0, discrete=False)
    noise = torch.empty(8, 16, 2, dtype=torch.float64, device="meta")
    for _ in range(3):  # the policy of some agents is due at the third update only
        losses = population.learn(
            type(batch)(**{name: value.to("meta") for name, value in vars(batch).items()}),
            noise=noise if algorithm.name == "TD3" else None,
        )
    assert set(losses) == {"critic"} | ({"actor"} if "actor" in losses else set())
    assert losses["critic"].device.type == "meta"


def test_smoothing_is_clipped_and_nothing_is_written_into_the_batch():
    population = mixed(TD3())
    batch = experience(8, 16, 0, discrete=False)
    before = {name: value.clone() for name, value in vars(batch).items()}
    noise = torch.full((8, 16, 2), 1e6, dtype=torch.float64)
    far = population.copy(range(8)).learn(batch, noise=noise)["critic"]
    farther = population.copy(range(8)).learn(batch, noise=1e3 * noise)["critic"]
    assert torch.equal(far, farther)
    assert all(torch.equal(getattr(batch, name), value) for name, value in before.items())
    assert noise[0, 0, 0] == 1e6


def test_the_policy_and_all_targets_wait_for_the_delay():
    population = Population(
        "TD3", OBSERVATIONS, BOX, 1, seed=0, hyperparameters={"policy_delay": 3, "batch_size": 8}
    )
    start = {name: value.clone() for name, value in population.table.items()}
    for update in range(1, 7):
        losses = population.learn(experience(1, 8, update, discrete=False))
        moved = {name for name in ("actor", "actor.target", "critic.target") if
                 not torch.equal(population.table[name], start[name])}  # fmt: skip
        if update in (3, 6):
            assert moved == {"actor", "actor.target", "critic.target"}
            assert "actor" in losses
            start = {name: value.clone() for name, value in population.table.items()}
        else:
            assert not moved
            assert "actor" not in losses
    assert float(population.table["critic.count"][0]) == 6
    assert float(population.table["actor.count"][0]) == 2


def test_actions_stay_in_the_environments_range():
    values = {"exploration_noise": 5.0}
    population = Population("TD3", OBSERVATIONS, BOX, 3, seed=0, hyperparameters=values, search_space={})
    acted = population.act(np.zeros((3, 200, 5)))
    assert acted.dtype == BOX.dtype
    assert all(BOX.contains(action) for action in acted.reshape(-1, 2))
    assert np.isclose(acted[..., 0], -2).any()
    assert np.isclose(acted[..., 1], 3).any()


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_box_actions_of_any_rank(shape):
    space = spaces.Box(-2, 4, shape, np.float32)
    population = Population(
        "TD3", OBSERVATIONS, space, 2, network=[8], seed=0, hyperparameters={"batch_size": 4}
    )
    acted = population.act(np.zeros((2, 3, 5), np.float32))
    assert acted.shape == (2, 3, *shape)
    assert space.contains(np.asarray(acted[0, 0]))
    unit = population.actions.to_unit(torch.as_tensor(acted), 2)
    assert unit.shape == (2, 3, population.actions.width)
    assert torch.allclose(population.actions.to_environment(unit), torch.as_tensor(acted), atol=1e-6)
    alone = population[0].act(np.zeros(5, np.float32))
    assert np.shape(alone) == shape
    assert population[0].module()(torch.zeros(7, 5)).shape == (7, *shape)
    batch = experience(2, 4, 0, discrete=False)
    batch.action = torch.as_tensor(population.act(np.zeros((2, 4, 5), np.float32)))
    assert torch.isfinite(population.learn(batch)["critic"]).all()


def test_an_action_without_a_choice_does_not_spoil_the_rest():
    space = spaces.Box(np.array([-1.0, 2.0], np.float32), np.array([1.0, 2.0], np.float32))
    population = Population(
        "DDPG", OBSERVATIONS, space, 2, network=[8], seed=0, hyperparameters={"batch_size": 4}
    )
    batch = experience(2, 4, 0, discrete=False)
    batch.action = torch.as_tensor(population.act(np.zeros((2, 4, 5), np.float32)))
    assert (batch.action[..., 1] == 2).all()
    assert torch.isfinite(population.learn(batch)["critic"]).all()


def test_infinite_bounds_are_refused():
    with pytest.raises(
        ValueError, match=r"has infinite bounds; a policy needs a finite range. Give it finite"
    ):
        Population("TD3", OBSERVATIONS, spaces.Box(-np.inf, np.inf, (2,)))


def test_ornstein_uhlenbeck_noise_has_its_stationary_spread_and_inertia():
    g = torch.Generator().manual_seed(0)
    state, scale = torch.zeros(1, 4000, 1), torch.full((1, 1, 1), 0.1)
    seen = [ornstein_uhlenbeck(state, scale, 0.15, 0.1, g).clone() for _ in range(400)]
    assert float(seen[-1].std()) == pytest.approx(0.1 / 0.3**0.5, rel=0.1)
    first, second = seen[-2].flatten(), seen[-1].flatten()
    assert float(torch.corrcoef(torch.stack([first, second]))[0, 1]) == pytest.approx(1 - 0.015, abs=0.01)
    white = gaussian(torch.zeros(1, 4000, 1), scale, g)
    assert float(white.std()) == pytest.approx(0.1, rel=0.05)


def test_noise_starts_anew_where_an_episode_has_ended():
    population = Population(TD3(ou_noise=True), OBSERVATIONS, BOX, 2, seed=0)
    observation = np.zeros((2, 3, 5))
    for _ in range(5):
        population.act(observation)
    before = population.table.memory["ou"].clone()
    ended = np.zeros((2, 3), bool)
    ended[1, 2] = True
    population.act(observation, explore=False)
    assert torch.equal(population.table.memory["ou"], before), "evaluation leaves the noise alone"
    population.table.generator.manual_seed(7)
    population.act(observation, ended=ended)
    fresh = population.table.memory["ou"]
    population.table.generator.manual_seed(7)
    step = torch.randn(2, 3, 2, generator=population.table.generator) * 0.2 * 0.1
    kept = before * (1 - 0.15 * 0.01)
    assert torch.allclose(fresh[1, 2], step[1, 2], atol=1e-6)
    assert torch.allclose(fresh[0, 0], kept[0, 0] + step[0, 0], atol=1e-6)


def test_it_refuses_actions_that_it_cannot_take():
    with pytest.raises(TypeError, match=r"TD3 needs Box actions; .*Discrete\(2\)\. Use DQN for it"):
        Population("TD3", OBSERVATIONS, spaces.Discrete(2))
