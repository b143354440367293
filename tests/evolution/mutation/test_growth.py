"""What mutations leave alone: the function, the moments of what survives, the padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evolab.algorithms.ddpg import DDPG
from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.evolution.mutation.architecture_path import reshape
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import change_layers
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.mlp.mlp import MLP, MLPGenes
from evolab.population.individual import Individual
from evolab.population.population import Population
from tests.mixed import BOX, DISCRETE, FEATURES, OBSERVATIONS, experience

ALGORITHMS = [DQN(), DDPG(), TD3()]


def learned(algorithm, hidden=(24, 20), activation="relu", layer_norm=False):
    """One agent after a few updates, so that moments and targets are its own."""
    space = DISCRETE if algorithm.name == "DQN" else BOX
    network = MLP(hidden, activation, layer_norm)
    population = Population(
        algorithm, OBSERVATIONS, space, 1, network=network, seed=3, dtype=torch.float64,
        hyperparameters={"batch_size": 16, "tau": 0.3},
    )  # fmt: skip
    for update in range(4):
        population.learn(experience(1, 16, update, discrete=algorithm.name == "DQN"))
    return population


def context_of(population, seed=0):
    return Context(
        population.network,
        population.roles,
        population.search_space,
        0.1,
        torch.Generator().manual_seed(seed),
    )


def taken(population) -> Individual:
    return population.individual(0).child(1)


def outputs(population, targets=False):
    """Raw outputs of every network on common inputs."""
    g = torch.Generator().manual_seed(9)
    observation = torch.randn(1, 40, FEATURES, generator=g, dtype=torch.float64)
    result = {}
    for name, role in population.roles.items():
        shape = (1, 40, role.extra)
        extra = torch.rand(shape, generator=g, dtype=torch.float64) if role.extra else None
        result[name] = population.groups[0].network(name, target=targets)(observation, extra)
    return result


def unchanged(before, after):
    return all(float((before[name] - after[name]).abs().max()) < 1e-6 for name in before)


class Coin:
    """A generator whose coin always falls on one side."""

    def __init__(self, adding):
        self.adding = adding

    def random(self):
        return 0.1 if self.adding else 0.9


@pytest.mark.parametrize("gene", ["hidden.0", "hidden.1"])
@pytest.mark.parametrize("layer_norm", [False, True], ids=["bare", "layer_norm"])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_new_units_keep_the_function_and_the_moments(algorithm, layer_norm, gene):
    population = learned(algorithm, layer_norm=layer_norm)
    before, slow = outputs(population), outputs(population, targets=True)
    old = population.copy([0]).individual(0)
    child = taken(population)
    resize(child, context_of(population), gene, 40)
    population.rebuild([child])
    assert population.individuals[0].genes.hidden == ((40, 20) if gene == "hidden.0" else (24, 40))
    if not layer_norm:  # a normalised layer sees its new units in the mean
        assert unchanged(before, outputs(population))
        assert unchanged(slow, outputs(population, targets=True))
    new = population.individual(0)
    for kind, state in old.tensors.items():
        for name, value in state.items():
            corner = tuple(slice(0, size) for size in value.shape)
            assert torch.equal(new.tensors[kind][name][corner], value), f"{kind} {name} must survive"
            if kind.endswith((".mean", ".square")):
                rest = new.tensors[kind][name].clone()
                rest[corner] = 0
                assert not rest.any(), f"newborn entries of {kind} {name} must have zero moments"
    assert {name: float(count) for name, count in new.counts.items()} == {
        name: float(count) for name, count in old.counts.items()
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_new_units_come_to_life(algorithm):
    population = learned(algorithm)
    child = taken(population)
    resize(child, context_of(population), "hidden.0", 40)
    population.rebuild([child])
    name = next(iter(population.roles))
    start = population.individual(0).tensors[name]["hidden.1.weight"][0, :, 24:].clone()
    assert not start.any()
    assert population.individual(0).tensors[name]["hidden.0.weight"][0, 24:].abs().min(0).values.any()
    for update in range(3):
        population.learn(experience(1, 16, 50 + update, discrete=algorithm.name == "DQN"))
    assert population.individual(0).tensors[name]["hidden.1.weight"][0, :, 24:].any()


@pytest.mark.parametrize("activation", ["relu", "elu", "gelu", "tanh"])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_a_new_layer_keeps_the_function_and_the_moments(algorithm, activation):
    population = learned(algorithm, activation=activation)
    before, slow = outputs(population), outputs(population, targets=True)
    old = population.copy([0]).individual(0)
    child = taken(population)
    detail = change_layers(child, context_of(population), Coin(adding=True))
    population.rebuild([child])
    assert population.individuals[0].genes.hidden == (24, 20, 20)
    assert "24x20" in detail
    assert "24x20x20" in detail
    assert unchanged(before, outputs(population))
    assert unchanged(slow, outputs(population, targets=True))
    new = population.individual(0)
    for kind, state in old.tensors.items():
        for name, value in state.items():
            assert torch.equal(new.tensors[kind][name], value)
        if kind.endswith((".mean", ".square")):
            assert not new.tensors[kind]["hidden.2.weight"].any()
            assert not new.tensors[kind]["hidden.2.bias"].any()


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_a_layer_that_was_just_added_is_removed_without_a_trace(algorithm):
    population = learned(algorithm)
    before, slow = outputs(population), outputs(population, targets=True)
    child = taken(population)
    change_layers(child, context_of(population), Coin(adding=True))
    change_layers(child, context_of(population), Coin(adding=False))
    population.rebuild([child])
    assert population.individuals[0].genes.hidden == (24, 20)
    assert unchanged(before, outputs(population))
    assert unchanged(slow, outputs(population, targets=True))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_units_that_matter_least_go_first(algorithm):
    population = learned(algorithm)
    context, child = context_of(population), taken(population)
    resize(child, context, "hidden.0", 40)  # sixteen units without any outgoing weight
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for state in child.tensors.values():  # hide them among the others
        state["hidden.0.weight"] = state["hidden.0.weight"][:, order]
        state["hidden.0.bias"] = state["hidden.0.bias"][:, order]
        state["hidden.1.weight"] = state["hidden.1.weight"][:, :, order]
    population.rebuild([child])
    before, slow = outputs(population), outputs(population, targets=True)
    square = {
        n: population.individual(0).tensors[f"{n}.square"]["hidden.0.bias"].clone() for n in population.roles
    }
    shrunk = population.individual(0).child(2)
    resize(shrunk, context, "hidden.0", 24)
    population.rebuild([shrunk])
    assert population.individuals[0].genes.hidden == (24, 20)
    assert unchanged(before, outputs(population))
    assert unchanged(slow, outputs(population, targets=True))
    for name in population.roles:  # the moments of the survivors are theirs still
        kept = population.individual(0).tensors[f"{name}.square"]["hidden.0.bias"]
        for index in range(kept.shape[0]):
            assert torch.equal(kept[index], square[name][index][order < 24])


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_a_mutation_does_not_touch_the_parent(algorithm):
    from evolab.evolution.mutation.mutations import Mutations

    population = learned(algorithm)
    before = {name: value.clone() for name, value in population.table.items()}
    parent = population.individual(0)
    values, genes = dict(parent.hyperparameters), parent.genes
    generator = np.random.default_rng(0)
    mutations = Mutations(none=0, new_layer=0.5)
    for index in range(60):
        child = parent.child(index + 1)
        mutations.mutate(child, population.network, population.roles, population.search_space, generator)
    assert (parent.hyperparameters, parent.genes) == (values, genes)
    assert all(torch.equal(population.table[name], value) for name, value in before.items())


def test_an_agent_is_reshaped_by_the_steps_that_mutations_take():
    """Replays of a line need it: layers come and go at the end, then every width is set."""
    population = Population("TD3", OBSERVATIONS, BOX, 1, network=[8, 16, 12], seed=0)
    context = Context(population.network, population.roles, {}, 0.0, torch.Generator().manual_seed(0))
    for hidden in ((8,), (8, 24, 4), (16, 24)):
        individual = population.individual(0)
        reshape(individual, context, MLPGenes(hidden, ("relu",) * len(hidden)))
        population.rebuild([individual])
        assert population.individuals[0].genes.hidden == hidden
        population.act(np.zeros((1, 1, FEATURES), np.float32))
