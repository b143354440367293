from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.rng import global_states
from evolab.evolution.evolve import evolve
from evolab.evolution.selection.base import Selected, Selection
from tests.mixed import BOX, DISCRETE, OBSERVATIONS, experience

NEVER = ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0)
ALWAYS = ev.Mutations(none=0, architecture=1, parameters=1, activation=1, hyperparameters=1)


def population_of(size=6, algorithm="TD3", seed=0):
    space = DISCRETE if algorithm == "DQN" else BOX
    return ev.Population(algorithm, OBSERVATIONS, space, size, network=[24, 16], seed=seed, draw=True)


def test_the_elite_survives_unchanged_under_its_own_id():
    population = population_of()
    fitness = np.array([1.0, 5.0, 2.0, 0.0, 3.0, 4.0])
    best = population.ids[1]
    population.individuals[1].fitness = [5.0]
    before = population[1].copy()
    births = evolve(population, fitness, ev.Tournament(), ALWAYS)
    elite = [birth for birth in births if birth.kind == "elite"]
    assert [(birth.agent, birth.parent) for birth in elite] == [(best, best)]
    row = population.row(best)
    assert population.individuals[row].fitness == [5.0]
    assert population[row].hyperparameters == before.hyperparameters
    observation = torch.randn(9, 5)
    assert torch.equal(population[row].act(observation), before.act(observation))
    assert all(individual.fitness == [] for individual in population.individuals if individual.id != best)
    assert all(birth.agent not in range(6) for birth in births if birth.kind != "elite")


def test_ids_are_never_used_again():
    population, seen = population_of(), set(range(6))
    for generation in range(5):
        births = evolve(population, np.arange(6.0), ev.Tournament(), NEVER, generation=generation)
        newborn = {birth.agent for birth in births if birth.kind != "elite"}
        assert len(newborn) == 5
        assert not newborn & seen
        seen |= newborn


@pytest.mark.parametrize("selection", [ev.Tournament(), ev.Truncation(), ev.MFPBT()], ids=repr)
def test_every_id_leads_back_to_the_first_population(selection):
    population, rng = population_of(8), np.random.default_rng(0)
    parents: dict[int, int] = {}
    for generation in range(12):
        before = set(population.ids)
        for birth in evolve(population, rng.normal(size=8), selection, ALWAYS, generation=generation):
            assert birth.parent in before, "a parent lived in the generation before"
            assert birth.agent in population.ids
            if birth.agent != birth.parent:
                assert birth.agent not in parents, "nobody is born twice"
                assert birth.agent > birth.parent
                parents[birth.agent] = birth.parent
    for individual in population.individuals:
        assert individual.parent is None or parents[individual.id] == individual.parent
        agent = individual.id
        while agent in parents:
            agent = parents[agent]
        assert agent in range(8)


def test_experience_of_its_own_follows_each_agent_to_its_row_and_to_its_children():
    """Rows are ordered by architecture, slots are not: what is gathered by slots ends up with strangers."""
    population, stream = population_of(), np.random.default_rng(0)
    buffer = ev.ReplayBuffer(4, shared=False)
    apart = False
    for generation in range(6):
        buffer.clear()
        buffer.add(belonging(population.ids))
        births = evolve(population, stream.normal(size=6), ev.Tournament(), ALWAYS,
                        generation=generation, buffer=buffer)  # fmt: skip
        assert [birth.agent for birth in births] == population.ids
        for row, birth in enumerate(births):
            drawn = buffer.sample(slice(row, row + 1), 16, torch.Generator().manual_seed(0))
            assert set(drawn.reward.flatten().tolist()) == {birth.parent}
        apart |= births[0].kind != "elite"  # the tournament's first slot
    assert apart


def belonging(ids):
    """Four transitions of each agent, which earn its id."""
    reward = np.repeat(np.array(ids, np.float32)[:, None], 4, 1)  # [P, E]
    observation = np.zeros((len(ids), 4, 5), np.float32)
    return SimpleNamespace(
        observation=observation, action=np.zeros((len(ids), 4, 2), np.float32), reward=reward,
        next_observation=observation, terminated=reward < 0, valid=None,
    )  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_fitness_that_is_not_finite_never_wins(bad):
    for seed in range(10):
        population = population_of(4, seed=seed)
        winner = population.ids[1]
        births = evolve(population, [bad, 1.0, bad, bad], ev.Tournament(size=3), NEVER)
        assert {birth.parent for birth in births} == {winner}


def test_where_no_fitness_is_known_every_agent_stays():
    population = population_of(3)
    births = evolve(population, [np.nan] * 3, ev.Tournament(), ALWAYS)
    assert sorted(population.ids) == [0, 1, 2]
    assert {birth.kind for birth in births} == {"none"}


def test_siblings_share_nothing():
    population = population_of(4)
    evolve(population, [np.nan, np.nan, 9.0, np.nan], ev.Tournament(), NEVER)
    assert len({individual.parent for individual in population.individuals if individual.id > 3}) == 1
    first, second = [row for row in range(4) if population.individuals[row].id > 3][:2]
    other = {name: value[second].clone() for name, value in population.table.items()}
    population.individuals[first].hyperparameters["lr_actor"] = 123.0
    population.individuals[first].fitness.append(1.0)
    for value in population.table.values():
        value[first] += 1
    assert population.individuals[second].hyperparameters["lr_actor"] != 123.0
    assert population.individuals[second].fitness == []
    assert all(torch.equal(population.table[name][second], value) for name, value in other.items())


def test_hyperparameters_may_come_from_another_than_the_weights():
    class Migrating(Selection):
        def choose(self, fitness, generator, generation):
            return Selected((0, 0), None, frozenset({0}), mutated=frozenset(), hyperparameters=(0, 1))

    population = population_of(2)
    values = {individual.id: dict(individual.hyperparameters) for individual in population.individuals}
    zero, one = sorted(population.ids)  # by slot; rows are in an order of their own
    weights = population[population.ids.index(zero)].module()
    births = evolve(population, [1.0, 2.0], Migrating(), ALWAYS)
    row = next(row for row, birth in enumerate(births) if birth.agent > 1)
    assert births[row].parent == zero
    assert population.individuals[row].hyperparameters == values[one]
    observation = torch.randn(5, 5)
    assert torch.equal(population[row].module()(observation), weights(observation))


def test_the_change_of_the_function_is_measured_and_recorded():
    population = population_of(8)
    mutations = ev.Mutations(
        none=0, architecture=1, parameters=1, activation=0, hyperparameters=1, new_layer=0
    )
    buffer = ev.ReplayBuffer(256)
    buffer.add(experience(8, 32, 0, discrete=False))
    births = evolve(population, np.arange(8.0), ev.Tournament(), mutations, buffer=buffer)
    for birth in births:
        if birth.kind in ("elite", "hyperparameters"):
            assert birth.change is None
        elif birth.kind == "parameters":
            assert birth.change > 1e-4
        elif "->" in birth.detail:
            old, new = birth.detail.split(" relu")[0].split()[-1], birth.detail.split("-> ")[1].split()[0]
            grown = sum(map(int, new.split("x"))) > sum(map(int, old.split("x")))
            assert (birth.change < 1e-5) == grown


def test_evolution_follows_its_seed_and_touches_no_global_generator():
    states = global_states()
    results = []
    for _ in range(2):
        population = population_of(6)
        for generation in range(4):
            population.learn(experience(6, 512, generation, discrete=False))
            evolve(population, np.arange(6.0), ev.Tournament(), ALWAYS, generation=generation)
        results.append(population)
    assert repr(results[0]) == repr(results[1])
    assert all(torch.equal(results[0].table[name], value) for name, value in results[1].table.items())
    assert global_states() == states


def test_a_population_of_one_evolves():
    population = population_of(1)
    births = evolve(population, [1.0], ev.Tournament(size=1), ALWAYS)
    assert [birth.kind for birth in births] == ["elite"]


def test_fitness_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"fitness has shape \(3,\); \(P,\) = \(6,\) is expected."):
        evolve(population_of(), [1.0, 2.0, 3.0], ev.Tournament(), NEVER)


def test_a_selection_may_be_named_and_what_is_none_is_refused():
    """It ended in: 'str' object has no attribute 'select'."""
    births = evolve(population_of(), np.arange(6.0), "truncation", NEVER)
    assert births == evolve(population_of(), np.arange(6.0), ev.Truncation(), NEVER)
    with pytest.raises(ValueError, match=r"Unknown selection 'tournamnt'.*did you mean 'Tournament'"):
        evolve(population_of(), np.arange(6.0), "tournamnt", NEVER)
    with pytest.raises(TypeError, match=r"mutations is 'y'; ev\.Mutations\(\.\.\.\) is expected"):
        evolve(population_of(), np.arange(6.0), ev.Tournament(), "y")


def test_storage_that_fits_keeps_its_address():
    population = population_of(4)
    before = {name: value.data_ptr() for name, value in population.table.items() if value.dim() == 3}
    evolve(population, np.arange(4.0), ev.Tournament(), NEVER)
    assert {name: population.table[name].data_ptr() for name in before} == before
