from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.core.ranges import Float, Integer
from evolab.evolution.evolve import evolve
from evolab.evolution.mutation.activation import change_activation
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import change_layers
from evolab.evolution.mutation.hyperparameters import change_hyperparameter
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.mutation.parameters import SHARE, change_parameters
from evolab.evolution.mutation.width import change_units
from evolab.evolution.selection.tournament import Tournament
from evolab.networks.activations import ACTIVATIONS
from evolab.networks.mlp.mlp import MLP
from evolab.networks.recurrent.recurrent import Recurrent
from evolab.population.population import Population
from tests.mixed import BOX, DISCRETE, OBSERVATIONS, experience, padding

SEARCH = {"lr": Float(1e-4, 1e-2), "batch_size": Integer(4, 64), "learn_step": Integer(1, 8)}


def population_of(algorithm, size=6, **options):
    space = DISCRETE if algorithm.name == "DQN" else BOX
    return Population(algorithm, OBSERVATIONS, space, size, **{"network": MLP([24, 20]), "seed": 1} | options)


def context_of(population):
    return Context(
        population.network, population.roles, population.search_space, 0.1, torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("algorithm", [DQN(), TD3()], ids=lambda a: a.name)
def test_hundreds_of_mutations_keep_every_invariant(algorithm):
    network = MLP([32, 24], layer_norm=algorithm.name == "TD3", max_units=80)
    rates = {k: v for k, v in SEARCH.items() if k != "lr"} | (
        {"lr": SEARCH["lr"]}
        if algorithm.name == "DQN"
        else {"lr_actor": SEARCH["lr"], "policy_delay": Integer(1, 3)}
    )
    population = population_of(
        algorithm, 8, network=network, search_space=rates, hyperparameters={"batch_size": 16}
    )
    rng = np.random.default_rng(0)
    seen = set()
    for generation in range(30):
        population.learn(experience(8, 64, generation, discrete=algorithm.name == "DQN"))
        fitness = rng.normal(size=8)
        fitness[rng.random(8) < 0.1] = np.nan
        births = evolve(
            population,
            fitness,
            Tournament(),
            Mutations(none=0.05, new_layer=0.4, sd=0.1),
            generation=generation,
        )
        seen |= {birth.kind for birth in births}
        for row, individual in enumerate(population.individuals):
            genes = individual.genes
            assert 1 <= len(genes.hidden) <= 3
            assert all(16 <= width <= 80 for width in genes.hidden)
            assert len(genes.activation) == len(genes.hidden)
            assert set(genes.activation) <= set(ACTIVATIONS)
            for name, value in individual.hyperparameters.items():
                assert float(population.table[name][row]) == pytest.approx(value, rel=1e-6)
                if name in rates:
                    assert rates[name].low <= value <= rates[name].high
                    assert isinstance(value, int) or not isinstance(rates[name], Integer)
            for kind, state in population.individual(row).tensors.items():
                role = population.roles[kind.split(".")[0]]
                axes = network.axes(role, genes)
                assert list(state) == list(axes)
                for name, value in state.items():
                    assert tuple(value.shape) == (role.ensemble_size, *(axis.size for axis in axes[name]))
                    assert torch.isfinite(value).all()
                    if kind.endswith(".square"):
                        assert (value >= 0).all()
            individual.tensors = {}
        for name, mask in padding(population).items():
            assert not population.table[name][mask].any(), f"padding of {name} after generation {generation}"
        assert len(set(population.ids)) == 8
    assert seen >= {"elite", "architecture", "parameters", "activation", "hyperparameters"}


def test_kinds_come_as_often_as_their_weights_say():
    population = population_of(DQN(), 1)
    mutations, rng = (
        Mutations(none=0.5, architecture=0.3, parameters=0, activation=0, hyperparameters=0.2),
        None,
    )
    rng = np.random.default_rng(0)
    parent = population.individual(0)
    kinds = []
    for index in range(1500):
        child = parent.child(index + 1)
        kinds.append(
            mutations.mutate(child, population.network, population.roles, population.search_space, rng)[0]
        )
    shares = {kind: kinds.count(kind) / 1500 for kind in set(kinds)}
    assert shares == pytest.approx({"none": 0.5, "architecture": 0.3, "hyperparameters": 0.2}, abs=0.05)


def test_an_activation_is_never_the_current_one_and_the_same_in_all_networks():
    population = population_of(TD3(), 1)
    rng = np.random.default_rng(0)
    for start in ("relu", "elu", "gelu", "tanh"):
        for _ in range(10):
            child = population.individual(0).child(1)
            child.genes = population.network.activated(child.genes, start)
            change_activation(child, context_of(population), rng)
            assert child.genes.activation[0] != start
            assert len(set(child.genes.activation)) == 1


def test_a_parameter_mutation_touches_a_tenth_of_the_policy_and_its_target_alike():
    population = population_of(TD3(), 1, network=MLP([200, 200]), dtype=torch.float64)
    population.learn(experience(1, 64, 0, discrete=False))
    population.learn(experience(1, 64, 1, discrete=False))
    before = population.copy([0]).individual(0)
    child = population.individual(0).child(1)
    detail = change_parameters(child, context_of(population), np.random.default_rng(3))
    touched = 0
    for name, value in child.tensors["actor"].items():
        changed = value != before.tensors["actor"][name]
        touched += int(changed.sum())
        if not changed.any():
            continue
        assert value.dim() == 3, "matrices only"
        assert float(changed.double().mean()) == pytest.approx(SHARE, abs=0.03)
        gap = (value - before.tensors["actor"][name])[changed].abs()
        relative = gap / before.tensors["actor"][name][changed].abs().clamp(min=1e-12)
        assert float(relative.median()) == pytest.approx(0.0675, rel=0.3), "mostly w += N(0, sd |w|)"
        target, old = child.tensors["actor.target"][name], before.tensors["actor.target"][name]
        assert torch.equal(target[changed], value[changed])
        assert torch.equal(target[~changed], old[~changed])
        for kind in ("actor.mean", "actor.square"):
            assert not child.tensors[kind][name][changed].any()
            assert torch.equal(child.tensors[kind][name][~changed], before.tensors[kind][name][~changed])
    assert detail == f"{touched} weights of actor"
    for kind in ("critic", "critic.target", "critic.mean"):
        for name, value in child.tensors[kind].items():
            assert torch.equal(value, before.tensors[kind][name])


def test_a_fresh_weight_of_a_unit_that_remembers_has_the_spread_of_what_it_reads():
    # Its gates stand in an axis of their own: 1 / 8 and 1 / 4 of 64 units and 16 inputs, where 64 times 64 gave 1 / 64.
    population = population_of(DQN(), 1, network=Recurrent(64, encoder=[16]))
    child = population.individual(0).child(1)
    child.tensors["q"] = {name: torch.zeros_like(value) for name, value in child.tensors["q"].items()}
    rng, context = np.random.default_rng(0), context_of(population)
    for _ in range(20):  # noise in proportion to a weight of 0 is none: what is drawn anew is seen
        change_parameters(child, context, rng)
    found = {name: value[value != 0] for name, value in child.tensors["q"].items()}
    assert float(found["recurrent.weight"].std()) == pytest.approx(64**-0.5, rel=0.2)
    assert float(found["encoder.output.weight"].std()) == pytest.approx(16**-0.5, rel=0.2)
    assert not sum(len(value) for name, value in found.items() if name.endswith("bias")), "matrices only"


@pytest.mark.parametrize(
    ("change", "told"),
    [(change_units, r"(hidden\.0|units) \d+ -> \d+"), (change_layers, "hidden: one (more|fewer)")],
    ids=["width", "depth"],
)
def test_a_birth_of_a_network_that_remembers_tells_only_what_changed_in_it(change, told):
    """It told the whole network twice, before and after."""
    population = population_of(DQN(), 1, network=Recurrent(48, encoder=[64]))
    rng, details = np.random.default_rng(0), []
    for _ in range(20):
        child = population.individual(0).child(1)
        details.append(change(child, context_of(population), rng))
        assert child.genes != population.individuals[0].genes
    assert [detail for detail in details if not re.fullmatch(told, detail)] == []


def test_one_hyperparameter_steps_and_nothing_else():
    population = population_of(DQN(), 1, search_space=SEARCH, hyperparameters={"lr": 1e-3, "batch_size": 16})
    rng = np.random.default_rng(0)
    names = set()
    for _ in range(50):
        child = population.individual(0).child(1)
        old = dict(child.hyperparameters)
        detail = change_hyperparameter(child, context_of(population), rng)
        changed = [name for name in old if child.hyperparameters[name] != old[name]]
        assert len(changed) == 1
        assert detail.startswith(changed[0])
        names |= set(changed)
    assert names == set(SEARCH)


def test_a_resampled_hyperparameter_is_drawn_anew_from_its_range():
    far = Mutations(none=0, architecture=0, parameters=0, activation=0, hyperparameters=1, resample=1.0)
    population = population_of(DQN(), 1, search_space={"lr": SEARCH["lr"]}, hyperparameters={"lr": 1e-4})
    rng, seen = np.random.default_rng(0), []
    for _ in range(50):
        child = population.individual(0).child(1)
        far.mutate(child, population.network, population.roles, population.search_space, rng)
        seen.append(child.hyperparameters["lr"])
    assert all(SEARCH["lr"].low <= value <= SEARCH["lr"].high for value in seen)
    assert 0.3 < np.mean(np.array(seen) > 1e-3) < 0.7, "half of the draws lie above the middle decade"


def test_without_a_search_space_a_hyperparameter_mutation_is_none():
    population = population_of(DQN(), 1, search_space={})
    mutations = Mutations(none=0, architecture=0, parameters=0, activation=0, hyperparameters=1)
    child = population.individual(0).child(1)
    found = mutations.mutate(
        child, population.network, population.roles, population.search_space, np.random.default_rng(0)
    )
    assert found == ("none", "")


def test_a_mutation_of_ones_own_is_drawn_and_recorded():
    def forget(individual, context, generator):
        individual.steps = 0
        return "forgot its steps"

    mutations = Mutations(
        none=0, architecture=0, parameters=0, activation=0, hyperparameters=0, extra={"forget": (1.0, forget)}
    )
    population = population_of(DQN(), 3)
    births = evolve(population, [1.0, 2.0, 3.0], Tournament(), mutations)
    assert sorted((b.kind, b.detail) for b in births) == [
        ("elite", "survives unchanged"),
        ("forget", "forgot its steps"),
        ("forget", "forgot its steps"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"none": -1}, "Mutations: none is -1; expected a number >= 0."),
        ({"new_layer": 1.5}, r"Mutations: new_layer is 1.5; expected a number in \[0, 1\]."),
        (dict.fromkeys(("none", "architecture", "parameters", "activation", "hyperparameters"), 0),
         "all weights are 0; at least one must be positive"),
        ({"sd": float("nan")}, "Mutations: sd is nan"),
    ],
)  # fmt: skip
def test_impossible_weights_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Mutations(**options)


@pytest.mark.slow
def test_mutations_are_the_same_in_every_process():
    code = (
        "import numpy as np, torch\n"
        "from evolab import Population, Mutations, Tournament, evolve\n"
        "from gymnasium import spaces\n"
        "p = Population('DQN', spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 4, network=[16], seed=0)\n"
        "mutations = Mutations(none=0, new_layer=.9)\n"
        "for g in range(12): evolve(p, [1., 2., 3., 4.], Tournament(), mutations, generation=g)\n"
        "print(p)"
    )
    out = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": "."},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in (1, 2, 3)
    }  # fmt: skip
    assert len(out) == 1


@pytest.mark.parametrize(("extra", "error", "message"), [
    ({"mine": print}, TypeError, r"extra\['mine'\] is <built-in function print>; \(weight, function\) is expected"),
    ({"mine": (1, 2)}, TypeError, r"extra\['mine'\] is \(1, 2\)"),
    ({"none": (1, print)}, ValueError, "extra has the name of a known kind, 'none'"),
    ({"mine": (-1, print)}, ValueError, "Mutations: mine is -1"),
])  # fmt: skip
def test_a_kind_of_ones_own_that_is_none_is_named(extra, error, message):
    with pytest.raises(error, match=message):
        Mutations(extra=extra)


def test_hyperparameters_mutate_together_where_asked():
    whole = Mutations(none=0, architecture=0, parameters=0, activation=0, hyperparameters=1, together=True)
    population = population_of(DQN(), 1)
    before, rng = population.individuals[0].hyperparameters, np.random.default_rng(0)
    for _ in range(10):
        child = population.individual(0).child(1)
        _, detail = whole.mutate(child, population.network, population.roles, population.search_space, rng)
        for name in population.search_space:
            assert child.hyperparameters[name] != before[name]
            assert f"{name} {before[name]:.4g} -> {child.hyperparameters[name]:.4g}" in detail


def test_a_further_mutation_of_the_registry_is_named_by_its_weight_alone():
    mutations = Mutations(
        none=0.5, architecture=0, parameters=0, activation=0, hyperparameters=0, extra={"reset_dormant": 0.5}
    )
    assert mutations.weights["reset_dormant"] == 0.5
    assert not mutations.own
    assert mutations.reweighted("reset_dormant", 1.5).weights["reset_dormant"] == 0.75
    with pytest.raises(
        ValueError, match=r"Unknown mutation 'reset_dormnt'. .*did you mean 'reset_dormant'\?"
    ):
        Mutations(extra={"reset_dormnt": 0.5})
