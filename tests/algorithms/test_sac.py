from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.sac import SAC, squashed
from evolab.evolution.evolve import evolve
from evolab.population.population import Population
from tests.mixed import BOX, OBSERVATIONS, experience, mixed


def test_the_update_never_asks_the_device():
    population = mixed(SAC(), device="meta")
    batch = experience(8, 16, 0, discrete=False)
    noise = torch.empty(8, 16, 2, 2, dtype=torch.float64, device="meta")
    moved = type(batch)(**{name: value.to("meta") for name, value in vars(batch).items()})
    for _ in range(3):  # the policy of some agents is due at the third update only
        losses = population.learn(moved, noise=noise)
    assert set(losses) == {"critic", "actor", "temperature"}
    assert losses["actor"].device.type == "meta"


def test_the_density_of_squashed_actions_is_that_of_their_distribution():
    g = torch.Generator().manual_seed(0)
    out = torch.randn(3, 50, 4, generator=g, dtype=torch.float64) / 3  # atanh is inexact near 1
    noise = torch.randn(3, 50, 2, generator=g, dtype=torch.float64)
    action, density = squashed(out, noise)
    inner = torch.distributions.Normal(out[..., :2], out[..., 2:].exp())
    outer = torch.distributions.TransformedDistribution(inner, torch.distributions.TanhTransform())
    assert torch.allclose(outer.log_prob(action).sum(-1), density, atol=1e-8)


def test_densities_and_gradients_stay_finite_at_the_ends_of_the_range():
    out = torch.tensor([[[40.0, -40.0, 5.0, -60.0]]], requires_grad=True)
    action, density = squashed(out, torch.ones(1, 1, 2))
    density.sum().backward()
    assert torch.isfinite(density).all()
    assert torch.isfinite(out.grad).all()
    assert action.abs().max() <= 1


def test_greedy_actions_are_the_means_and_exploring_ones_follow_the_policy():
    population = Population("SAC", OBSERVATIONS, BOX, 2, network=[8], seed=0, dtype=torch.float64)
    observation = torch.randn(2, 1, 5, dtype=torch.float64).expand(2, 20_000, 5)
    out = torch.stack([population.groups[0].network("actor")(observation)[row, 0] for row in range(2)])
    unit = population.actions.to_unit(population.act(observation), 2)
    raw = torch.atanh(unit.clamp(-1 + 1e-12, 1 - 1e-12))
    assert torch.allclose(raw.mean(1), out[:, :2], atol=0.05)
    assert torch.allclose(raw.std(1), out[:, 2:].exp(), rtol=0.05)
    greedy = population.actions.to_unit(population.act(observation, explore=False), 2)
    assert torch.allclose(greedy[:, 0], torch.tanh(out[:, :2]))
    assert np.isfinite(population[0].act(np.zeros(5), explore=True)).all()


def test_each_agents_temperature_follows_its_own_entropy():
    """Entropy above its target lowers the price of it, entropy below raises it."""
    population = Population(
        "SAC", OBSERVATIONS, BOX, 2, network=[8], seed=0, hyperparameters={"batch_size": 16}, search_space={}
    )
    row = population.table.hyper["entropy_per_action"]
    row[0], row[1] = -10.0, 1.0
    for update in range(20):
        losses = population.learn(experience(2, 16, update, discrete=False))
    low, high = population.table["temperature"].flatten().exp().tolist()
    assert low < 1 < high
    assert torch.isfinite(losses["temperature"]).all()


def test_the_temperature_starts_where_it_is_told_and_travels_with_its_agent(tmp_path):
    population = Population(SAC(start_temperature=0.2), OBSERVATIONS, BOX, 2, network=[8], seed=0)
    assert torch.allclose(population.table["temperature"].exp(), torch.tensor(0.2))
    population.table["temperature"][1] = -3.0
    agent = population[1]
    agent.save(tmp_path / "agent")
    again = ev.Agent.load(tmp_path / "agent")
    assert float(again.table["temperature"]) == -3.0
    observation = np.ones((4, 5))
    assert np.allclose(again.act(observation), agent.act(observation))
    assert torch.allclose(
        agent.module()(torch.as_tensor(observation)).double(), torch.as_tensor(agent.act(observation))
    )


@pytest.mark.parametrize("start", [-1, "0.2", (0.1,), (0.0, 1.0), (0.1, float("nan")), [0.1, 0.2, 0.3]])
def test_a_temperature_that_cannot_be_started_from_is_named(start):
    with pytest.raises(ValueError, match=r"start_temperature is .*; a number above 0, or two, are expected"):
        SAC(start_temperature=start)


@pytest.mark.parametrize("kind", [SAC, ev.TQC])
def test_on_scaled_returns_each_agent_draws_where_its_temperature_starts(tmp_path, kind):
    """Where a return deviates by 1, a nat in each step may be worth twenty times too much, or just enough."""

    def starts(algorithm, agents=3, **options):
        population = Population(algorithm, OBSERVATIONS, BOX, agents, network=[8], seed=0, **options)
        population[0].save(tmp_path / "agent")
        again = ev.Agent.load(tmp_path / "agent")
        drawn = population.table["temperature"].flatten().exp()
        assert float(again.table["temperature"].exp()) == float(drawn[0])
        return [round(one, 6) for one in drawn.tolist()]

    assert starts(kind()) == starts(kind(), normalise="observations") == [1.0] * 3
    assert starts(kind(start_temperature=0.2), normalise=("observations", "returns")) == [0.2] * 3
    drawn = starts(kind(), agents=400, normalise="returns")
    assert 0.05 <= min(drawn) < 0.052
    assert 0.96 < max(drawn) <= 1.0
    assert 0.2 < sorted(drawn)[200] < 0.25  # half of them below the geometric mean
    assert set(starts(kind(start_temperature=(0.3, 0.3)), normalise="returns")) == {0.3}


def test_a_child_has_the_temperature_of_its_parent_and_a_saved_run_its_range(tmp_path):
    """Nothing is drawn again: where its parent's temperature has come to is where a child goes on."""
    exp = ev.Experiment("Pendulum-v1", SAC(start_temperature=(0.05, 1.0)), population=4, network=[8], seed=0)
    before = exp.population.table["temperature"].flatten().tolist()
    assert len(set(before)) == 4
    evolve(exp.population, [3.0, 2.0, 1.0, 0.0], ev.Tournament(), ev.Mutations())
    assert set(exp.population.table["temperature"].flatten().tolist()) < set(before)
    exp.save(tmp_path / "run")
    exp.close()
    again = ev.Experiment.load(tmp_path / "run")
    assert again.algorithm.start_temperature == (0.05, 1.0)
    again.close()


def test_the_policy_waits_for_the_delay_and_has_no_target():
    population = Population(
        "SAC", OBSERVATIONS, BOX, 1, seed=0, hyperparameters={"policy_delay": 3, "batch_size": 8}
    )
    assert "actor.target" not in population.table
    losses = [set(population.learn(experience(1, 8, update, discrete=False))) for update in range(3)]
    assert losses == [{"critic"}, {"critic"}, {"critic", "actor", "temperature"}]
    assert float(population.table["critic.count"][0]) == 3
    assert float(population.table["temperature.count"][0]) == 1


def test_it_refuses_actions_that_it_cannot_take():
    with pytest.raises(TypeError, match=r"SAC needs Box actions; .*Discrete\(2\)\. Use DQN for it"):
        Population("SAC", OBSERVATIONS, spaces.Discrete(2))
    with pytest.raises(ValueError, match="infinite bounds"):
        Population("SAC", OBSERVATIONS, spaces.Box(-math.inf, math.inf, (2,)))


def test_a_population_of_it_evolves_and_goes_on_from_a_checkpoint(tmp_path):
    options = {
        "population": 3,
        "num_envs": 2,
        "network": [8],
        "steps_per_generation": 80,
        "hyperparameters": {"batch_size": 16},
        "search_space": {"lr_actor": ev.Float(1e-4, 1e-2)},
        "eval_steps": 20,
        "mutations": ev.Mutations(none=0.0),
        "seed": 4,
        "update_ratio": 1 / 3,
    }
    exp = ev.Experiment("Pendulum-v1", "SAC", **options)
    exp.fill(60)
    exp.run(generations=2)
    exp.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    exp.step()
    again.step()
    for name, value in exp.population.table.items():
        assert torch.equal(value, again.population.table[name]), name
