from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from evolab.algorithms.dqn import DQN
from evolab.population.population import Population
from tests.mixed import DISCRETE, OBSERVATIONS, experience, mixed

LINE = spaces.Box(-1, 1, (1,), np.float64)


def known(double):
    """One agent with hidden layer h = relu(x) and known values: online [x, 2x], target [10x, 5x]."""
    population = Population(
        DQN(double=double), LINE, spaces.Discrete(2), 1, network=[1], seed=0, dtype=torch.float64,
        hyperparameters={"discount": 0.5, "batch_size": 2, "lr": 0.1, "tau": 0.5}, search_space={},
    )  # fmt: skip
    state = population.individual(0).tensors
    for kind, weights in (("q", [1.0, 2.0]), ("q.target", [10.0, 5.0])):
        state[kind]["hidden.0.weight"].fill_(1.0)
        state[kind]["hidden.0.bias"].zero_()
        state[kind]["output.weight"][0, :, 0] = torch.tensor(weights)
        state[kind]["output.bias"].zero_()
    return population


@pytest.mark.parametrize(("double", "target"), [(True, 1 + 0.5 * 5.0 * 0.8), (False, 1 + 0.5 * 10.0 * 0.8)])
def test_target_by_hand(double, target):
    """The online network prefers action 1; the target network values it at 5x, its own best at 10x."""
    population = known(double)
    x = torch.full((1, 2, 1), 0.8, dtype=torch.float64)
    batch = SimpleNamespace(
        observation=x, action=torch.zeros(1, 2).long(), reward=torch.ones(1, 2, dtype=torch.float64),
        next_observation=x, terminated=torch.tensor([[False, True]]),
    )  # fmt: skip
    loss = population.learn(batch)["q"]
    error = ((0.8 - target) ** 2 + (0.8 - 1.0) ** 2) / 2  # a terminated step does not bootstrap
    assert float(loss[0]) == pytest.approx(error, abs=1e-12)
    moved = population.individual(0).tensors["q"]["output.weight"][0, :, 0]
    assert float(moved[0]) == pytest.approx(1.1, abs=1e-6), "Adam's first step is its learning rate"
    assert float(moved[1]) == 2.0
    follower = population.individual(0).tensors["q.target"]["output.weight"][0, :, 0]
    assert float(follower[0]) == pytest.approx((10 + float(moved[0])) / 2, abs=1e-12)


def test_epsilon_falls_with_the_steps_of_each_agent():
    values = {"epsilon_start": 1.0, "epsilon_end": 0.0, "epsilon_steps": 100}
    population = Population("DQN", OBSERVATIONS, DISCRETE, 2, seed=0, hyperparameters=values)
    observation = torch.zeros(2, 1000, 5)
    greedy = population.act(observation, explore=False)
    population.table.hyper["steps"][0] = 50
    for member, steps in zip(population.individuals, (50, 0), strict=True):
        member.steps = steps
    acted = population.act(observation)
    share = (acted != greedy).double().mean(1)
    assert share[0] == pytest.approx(0.5 * 2 / 3, abs=0.06)
    assert share[1] == pytest.approx(1.0 * 2 / 3, abs=0.06)
    assert population.table.hyper["steps"].tolist() == [1050, 1000]
    assert torch.equal(population.act(observation)[0], greedy[0]), "epsilon_end is 0"


def test_every_environment_tosses_its_own_coin():
    population = Population("DQN", OBSERVATIONS, DISCRETE, 2, seed=0)
    acted = population.act(torch.zeros(2, 64, 5))
    assert all(len(set(row.tolist())) == 3 for row in acted)
    assert not torch.equal(acted[0], acted[1])


def test_a_single_agents_epsilon_falls_too():
    population = Population("DQN", OBSERVATIONS, DISCRETE, 2, seed=0, hyperparameters={"epsilon_steps": 10})
    agent = population[1]
    for _ in range(5):
        agent.act(np.zeros((2, 5)), explore=True)
    assert population.table.hyper["steps"].tolist() == [0, 10]
    assert agent.describe()["steps"] == 10


@pytest.mark.parametrize("space", [spaces.Discrete(3, start=5), spaces.MultiDiscrete([2, 3])], ids=repr)
def test_actions_are_counted_as_the_environment_counts(space):
    population = Population("DQN", OBSERVATIONS, space, 2, seed=0)
    acted = population.act(np.zeros((2, 50, 5), np.float32))
    assert all(space.contains(action) for action in acted.reshape(-1, *space.shape))
    code = population.actions.to_unit(torch.as_tensor(acted), 2)
    assert 0 <= int(code.min()) <= int(code.max()) < population.actions.width
    assert torch.equal(population.actions.to_environment(code), torch.as_tensor(acted))


def test_it_refuses_actions_that_it_cannot_take():
    with pytest.raises(
        TypeError, match=r"DQN needs Discrete or MultiDiscrete actions; .*Use TD3 or DDPG for it"
    ):
        Population("DQN", OBSERVATIONS, spaces.Box(-1, 1, (2,)))


def test_the_update_never_asks_the_device():
    """Meta tensors have no values, so anything that waits for one raises."""
    population = mixed(DQN(), device="meta")
    batch = experience(8, 16, 0, discrete=True)
    losses = population.learn(type(batch)(**{name: value.to("meta") for name, value in vars(batch).items()}))
    assert losses["q"].device.type == "meta"
    assert losses["q"].shape == (8,)


def population_of(persistence, epsilon, actions=1000, **options):
    """Agents with a constant epsilon, each with a persistence of its own."""
    values = {"epsilon_start": epsilon, "epsilon_end": epsilon}
    population = Population(
        DQN(**options),
        LINE,
        spaces.Discrete(actions),
        len(persistence),
        network=[1],
        seed=0,
        hyperparameters=values,
    )
    individuals = [population.individual(row) for row in range(len(population))]
    for individual, steps in zip(individuals, persistence, strict=True):
        individual.hyperparameters["persistence"] = float(steps)
    population.rebuild(individuals)
    return population


def explored(persistence, epsilon, environments, steps, **options):
    """[T, P, E]: what becomes of greedy actions 0 among 1 000."""
    population = population_of(persistence, epsilon, **options)
    (group,), generator = population.groups, torch.Generator().manual_seed(1)
    shape = len(persistence), environments
    memory = {"held": torch.zeros(shape)}
    greedy = torch.zeros(shape, dtype=torch.int64)
    return torch.stack([population.algorithm.explore(group, greedy, memory, generator) for _ in range(steps)])


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.4, 0.9, 1.0])
def test_epsilon_is_the_share_of_random_actions_however_long_they_are_held(epsilon):
    actions = explored([1, 3, 16], epsilon, 5_000, 180)
    # The first steps are greedy more often: nothing is held yet.
    shares = (actions[100:] != 0).double().mean((0, 2))
    assert shares.numpy() == pytest.approx(np.full(3, epsilon), abs=0.015)


@pytest.mark.parametrize("epsilon", [0.1, 1.0])
def test_random_actions_are_held_for_their_persistence_in_the_mean_with_geometric_lengths(epsilon):
    """Geometric: however long a stretch has been, it goes on with probability 1 - 1 / persistence."""
    persistence = np.array([2.0, 8.0])
    actions = explored(persistence, epsilon, 8_000, 40)
    random, goes_on = actions[:-1] != 0, actions[1:] == actions[:-1]
    for past in range(3):
        held = random[past:].clone()
        for back in range(1, past + 1):
            held &= goes_on[past - back : len(goes_on) - back]
        share = (goes_on[past:] & held).sum((0, 2)) / held.sum((0, 2))
        assert share.numpy() == pytest.approx(1 - 1 / persistence, abs=0.01)


def test_with_a_persistence_of_1_every_step_has_a_draw_of_its_own():
    white, beside = explored([1, 1], 0.5, 500, 20), explored([1, 20], 0.5, 500, 20)
    generator = torch.Generator().manual_seed(1)
    coin, guess = torch.rand(2, 500, generator=generator), torch.randint(1000, (2, 500), generator=generator)
    assert torch.equal(white[0], torch.where(coin < 0.5, guess, 0)), "the numbers of every version so far"
    assert torch.equal(white[:, 0], beside[:, 0]), "whoever else is there"
    assert not torch.equal(white[:, 1], beside[:, 1])


def test_a_stretch_of_a_random_action_ends_with_the_episode():
    population = population_of([1000], 1.0)
    observation, ended = np.zeros((1, 500, 1)), np.zeros((1, 500), bool)
    ended[0, ::2] = True
    before, again, after = (population.act(observation, ended=e) for e in (None, ~ended & ended, ended))
    assert (again == before).mean() > 0.98
    assert (after == again)[0, ::2].mean() < 0.02
    assert (after == again)[0, 1::2].mean() > 0.98


@pytest.mark.parametrize("persistence", [1, 4, 32])
def test_environments_of_one_agent_explore_at_a_spread_of_epsilons(persistence):
    actions = explored([persistence], 0.5, 5, 12_000, spread=1.0)
    shares = (actions[:, 0] != 0).double().mean(0)
    assert shares.numpy() == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.07)


def test_an_agent_alone_holds_its_random_actions_too():
    population = population_of([1000, 1000], 1.0)
    first, second = (population[1].act(np.zeros((20, 1)), explore=True) for _ in range(2))
    assert len(set(first)) > 10
    assert (first == second).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "name"),
    [({"huber": 0.0}, "huber"), ({"spread": 2.0}, "spread")],
)
def test_settings_of_exploration_have_a_range(options, name):
    with pytest.raises(ValueError, match=name):
        DQN(**options)
