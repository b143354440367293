"""Noise with inertia: what it is, where it starts anew, and that agents without it notice nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.algorithms.ddpg import DDPG
from evolab.algorithms.sac import SAC
from evolab.algorithms.td3 import TD3
from evolab.population.population import Population
from tests.mixed import BOX, OBSERVATIONS

NOISY = [DDPG(), TD3(), SAC()]
NAMED = pytest.mark.parametrize("algorithm", NOISY, ids=lambda a: a.name)


def explorer(algorithm, persistence, environments):
    """Agents with small noise in double precision; how they explore: the noise behind their actions [P, E, A]."""
    population = Population(
        algorithm, OBSERVATIONS, BOX, len(persistence), network=[4], seed=0, dtype=torch.float64
    )
    individuals = [population.individual(row) for row in range(len(population))]
    for individual, steps in zip(individuals, persistence, strict=True):
        individual.hyperparameters["persistence"] = float(steps)
        if algorithm.name != "SAC":
            individual.hyperparameters["exploration_noise"] = 0.01
    population.rebuild(individuals)
    observation = torch.zeros(len(persistence), environments, 5, dtype=torch.float64)
    greedy = population.actions.to_unit(population.act(observation, explore=False), 2)
    spread = 1.0
    if algorithm.name == "SAC":
        out = torch.cat([group.network("actor")(observation[group.rows]) for group in population.groups])
        spread = out[..., 2:].exp()

    def act(ended=None):
        unit = population.actions.to_unit(population.act(observation, ended=ended), 2)
        if algorithm.name == "SAC":
            return (torch.atanh(unit) - torch.atanh(greedy)) / spread
        return (unit - greedy) / 0.01

    return population, act


@NAMED
def test_noise_has_unit_variance_from_the_first_step_and_the_correlations_of_its_persistence(algorithm):
    persistence = torch.tensor([1.0, 2.0, 10.0])
    _, act = explorer(algorithm, persistence, 5_000)
    noise = torch.stack([act() for _ in range(6)])  # [T, P, E, A]
    assert noise.std(2) == pytest.approx(torch.ones(6, 3, 2), abs=0.05)
    for lag in (1, 2, 5):
        found = (noise[0] * noise[lag]).mean((1, 2))
        assert found == pytest.approx((1 - 1 / persistence) ** lag, abs=0.05)


def test_correlations_over_all_later_steps_sum_up_to_the_persistence():
    for steps in (1, 4, 50):
        rho = 1 - 1 / steps
        assert sum(rho**lag for lag in range(10_000)) == pytest.approx(steps)


@NAMED
def test_an_agent_with_white_noise_acts_the_same_beside_one_with_inertia(algorithm):
    _, alone = explorer(algorithm, [1, 1], 10)
    _, mixed = explorer(algorithm, [1, 20], 10)
    differs = False
    for _ in range(5):
        white, other = alone(), mixed()
        assert torch.equal(white[0], other[0])
        differs |= not torch.equal(white[1], other[1])
    assert differs


@NAMED
def test_noise_starts_anew_where_an_episode_has_ended_and_nowhere_else(algorithm):
    population, act = explorer(algorithm, [1000, 1000], 500)
    for _ in range(5):
        before = act()
    memory = population.table.memory["noise"].clone()
    population.act(torch.zeros(2, 500, 5, dtype=torch.float64), explore=False)
    assert torch.equal(population.table.memory["noise"], memory), "evaluation leaves the noise alone"
    ended = np.zeros((2, 500), bool)
    ended[1] = True
    after = act(ended)
    kept = [
        float(torch.corrcoef(torch.stack([before[row].flatten(), after[row].flatten()]))[0, 1])
        for row in (0, 1)
    ]
    assert kept[0] > 0.99
    assert abs(kept[1]) < 0.1
    assert float(after[1].std()) == pytest.approx(1.0, abs=0.07)


def test_persistence_leaves_the_ornstein_uhlenbeck_process_alone():
    acted = []
    for steps in (1, 50):
        population, act = explorer(TD3(ou_noise=True), [steps], 3)
        acted.append([act() for _ in range(4)])
        assert set(population.table.memory) == {"ou"}
    assert all(torch.equal(one, other) for one, other in zip(*acted, strict=True))


@pytest.mark.parametrize("algorithm", ["DQN", *NOISY], ids=str)
def test_persistence_below_a_step_is_refused(algorithm):
    space = ev.envs.make("CartPole-v1", 1, 1, seed=0).single_action_space if algorithm == "DQN" else BOX
    with pytest.raises(ValueError, match=r"persistence is 0\.5"):
        Population(algorithm, OBSERVATIONS, space, 1, hyperparameters={"persistence": 0.5})


@pytest.mark.parametrize("algorithm", ["CQN", "BCQ", "TD3BC", "IQL", "PPO", "BC"])
def test_what_does_not_explore_by_it_has_no_persistence(algorithm):
    assert "persistence" not in ev.search_space(algorithm).name.tolist()


@NAMED
def test_a_saved_agent_keeps_its_persistence(algorithm, tmp_path):
    population, _ = explorer(algorithm, [1, 7.5], 1)
    next(agent for agent in population if agent.hyperparameters["persistence"] > 1).save(tmp_path / "agent")
    assert ev.Agent.load(tmp_path / "agent").hyperparameters["persistence"] == 7.5


def test_a_run_goes_on_with_the_persistence_of_each_agent(tmp_path):
    exp = ev.Experiment(
        "CartPole-v1", "DQN", population=3, num_envs=2, network=[8], steps_per_generation=40, eval_steps=20, seed=3,
        hyperparameters={"batch_size": 16}, search_space={"persistence": ev.Float(1, 32)}, draw=True,
        mutations=ev.Mutations(none=0, architecture=0, parameters=0, activation=0, hyperparameters=1),
    )  # fmt: skip
    exp.fill(60)
    exp.run(generations=2)
    assert len({agent.hyperparameters["persistence"] for agent in exp.population}) > 1
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    for one in (exp, again):
        one.step()
    for name, value in exp.population.table.items():
        assert torch.equal(value, again.population.table[name]), name
    exp.close()
    again.close()
