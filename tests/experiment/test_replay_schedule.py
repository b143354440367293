"""A winner's schedule can be trained by again, without evolution."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.evolution.mutation.architecture_path import reshape
from evolab.evolution.mutation.context import Context
from tests.catch import Catch

QUICK = {
    "num_envs": 2,
    "steps_per_generation": 30,
    "hyperparameters": {"batch_size": 16},
    "eval_steps": 20,
    "seed": 3,
}


def evolved(environment="CartPole-v1", algorithm="DQN", generations=4, **options):
    """A run in which every newborn changes."""
    mutations = ev.Mutations(none=0, architecture=2, parameters=0, activation=1, new_layer=0.6)
    options = {"mutations": mutations, "selection": ev.Tournament(elitism=False)} | options
    exp = ev.Experiment(environment, algorithm, population=3, **(QUICK | options))
    exp.fill(96)
    exp.run(generations=generations)
    return exp


def columns(schedule):
    """What a schedule says of the line, without who and when."""
    return schedule.drop(columns=["generation", "agent", "total_steps"]).to_dict("records")


def test_a_run_of_one_agent_is_repeated_bit_for_bit():
    exp = ev.Experiment("CartPole-v1", "DQN", population=1, network=[16], evolving=False, **QUICK)
    exp.fill(96)
    exp.run(generations=3)
    again = exp.replay()
    assert columns(again.history.schedule()) == columns(exp.history.schedule())
    assert list(again.history.fitness["fitness"]) == list(exp.history.fitness["fitness"])
    for name, value in exp.population.table.items():
        assert torch.equal(value, again.population.table[name]), name


@pytest.mark.parametrize(
    ("environment", "network"),
    [("CartPole-v1", ev.MLP([16])), (Catch, ev.CNN([16], hidden=[16], latent=16))],
    ids=["vector", "image"],
)
def test_hyperparameters_and_architecture_change_where_the_winners_did(environment, network):
    exp = evolved(environment, network=network)
    wanted = exp.history.schedule()
    assert len({(row["hidden"], row["activation"]) for row in columns(wanted)}) > 1, (
        "or the test means little"
    )
    again = exp.replay(seed=8)
    assert columns(again.history.schedule()) == columns(wanted)
    winner, genes = exp.history.ancestry()[-1][0], again.population.network.to_json
    assert again.population.individuals[0].genes.hidden == winner.hidden
    if winner.genes:
        assert genes(again.population.individuals[0].genes) == winner.genes
    assert exp.generation == 4
    assert exp.total_steps == 96 + 4 * 90, "the run that is replayed is left alone"


def test_it_can_be_replayed_by_several_agents_and_from_a_file(tmp_path):
    exp = evolved(generations=2)
    exp.history.schedule().to_csv(tmp_path / "schedule.csv", index=False)
    import pandas

    again = exp.replay(pandas.read_csv(tmp_path / "schedule.csv"), population=2, fill=40)
    assert len(again.population) == 2
    assert columns(again.history.schedule())[-1]["hidden"] == columns(exp.history.schedule())[-1]["hidden"]
    tables = [again.population.individual(row).tensors["q"] for row in range(2)]
    assert not any(torch.equal(tables[0][name], tables[1][name]) for name in tables[0] if "weight" in name)


def test_learning_from_data_is_replayed_by_updates():
    generator = np.random.default_rng(0)
    ends = np.arange(400) % 10 == 9
    data = {
        "observations": generator.normal(size=(400, 4)).astype(np.float32),
        "actions": generator.integers(2, size=400),
        "rewards": np.ones(400, np.float32),
        "terminals": ends,
    }
    exp = ev.Experiment("CartPole-v1", "CQN", population=2, **QUICK)
    exp.fill(data)
    exp.run(generations=2)
    assert list(exp.history.schedule()["steps"]) == [30, 60]  # updates
    again = exp.replay()
    assert columns(again.history.schedule()) == columns(exp.history.schedule())
    assert again.population.individuals[0].updates == 60


def test_what_cannot_be_replayed_is_said_before_training():
    exp = evolved(generations=1)
    row = columns(exp.history.schedule())[0]
    with pytest.raises(ValueError, match="schedule is empty"):
        exp.replay([])
    with pytest.raises(TypeError, match=r"schedule is int; history\.schedule"):
        exp.replay(3)
    with pytest.raises(ValueError, match="row 0 has no 'steps'"):
        exp.replay([{"lr": 1e-3}])
    with pytest.raises(ValueError, match=r"hyperparameter of DQN in the schedule 'lrate'.*did you mean 'lr'"):
        exp.replay([row | {"lrate": 1e-3}])
    with pytest.raises(ValueError, match=r"lr is 7\.0; its range is"):
        exp.replay([row | {"lr": 7.0}])
    with pytest.raises(ValueError, match="row 1 ends at step 5, before the row above it"):
        exp.replay([row, row | {"steps": 5}])
    with pytest.raises(ValueError, match=r"no mutation leads from .* to 8x8x8x8x8 relu"):
        exp.replay([row | {"hidden": "8x8x8x8x8", "activation": "relu"}])


def test_reshaping_keeps_what_an_agent_computes_where_it_only_grows():
    exp = evolved(Catch, network=ev.CNN([16], hidden=[16], latent=16), generations=1)
    population = exp.population.copy([0])
    network, individual = population.network, population.individual(0)
    seen = torch.randint(0, 256, (1, 5, 8, 8, 1), dtype=torch.uint8)
    before = population.groups[0].network("q")(seen)
    genes = json.loads(json.dumps(network.to_json(network.genes(population.observation_space))))
    one = genes["encoders"][0]
    one |= {"channels": [24, 24], "kernels": [5, 3], "strides": [2, 1], "latent": 24}
    one["activation"] = [individual.genes.activation[0]] * 2 + [individual.genes.activation[1]]
    genes |= {"head": [32], "head_activation": [individual.genes.activation[-1]]}
    context = Context(network, population.roles, {}, 0.0, torch.Generator().manual_seed(0))
    reshape(individual, context, network.from_json(genes))
    population.rebuild([individual])
    after = population.groups[0].network("q")(seen)
    assert network.to_json(population.individuals[0].genes) == genes
    if "relu" in genes["encoders"][0]["activation"][0]:
        assert torch.allclose(before, after, atol=1e-5)
