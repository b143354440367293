"""Schedules as recipes: their rows are checked, and a stage changes what it names and nothing else."""

from __future__ import annotations

import pandas
import pytest
import torch

import evolab as ev
from evolab.evolution.schedules import Stage, adopt, stages_of
from tests.mixed import BOX, OBSERVATIONS

ROW = {"steps": 10, "lr": 1e-3, "batch_size": 32.0, "hidden": "8x16", "activation": "relu"}


def test_a_table_and_a_list_of_rows_say_the_same():
    rows = [ROW, ROW | {"steps": 30, "lr": 2e-3, "activation": "relu,gelu"}]
    stages = stages_of(rows, ev.DQN())
    assert stages == stages_of(pandas.DataFrame(rows), ev.DQN())
    assert [stage.steps for stage in stages] == [10, 30]
    assert [stage.hyperparameters["lr"] for stage in stages] == [1e-3, 2e-3]
    assert stages[0].hyperparameters["batch_size"] == 32
    assert isinstance(stages[0].hyperparameters["batch_size"], int), "tables turn whole numbers into floats"
    assert stages[0].hyperparameters["discount"] == ev.DQN().hyperparameters["discount"].default
    assert stages[0].genes == {"hidden": [8, 16], "activation": ["relu", "relu"]}
    assert stages[1].genes == {"hidden": [8, 16], "activation": ["relu", "gelu"]}


def test_genes_that_are_written_out_win_and_none_leave_the_network_as_it_starts():
    written = {"hidden": [4], "activation": ["elu"]}
    (text,) = stages_of([ROW | {"genes": '{"hidden": [4], "activation": ["elu"]}'}], ev.DQN())
    (mapping,) = stages_of([ROW | {"genes": written}], ev.DQN())
    (nothing,) = stages_of([{"steps": 3}], ev.DQN())
    assert text.genes == mapping.genes == written
    assert nothing.genes == {}


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (3, TypeError, r"schedule is int; history\.schedule\(\)"),
        ([], ValueError, "schedule is empty"),
        ([{"lr": 1e-3}], ValueError, "row 0 has no 'steps'"),
        ([ROW | {"lrate": 1}], ValueError, "did you mean 'lr'"),
        ([ROW, ROW | {"steps": 5}], ValueError, "row 1 ends at step 5, before the row above it"),
        ([ROW | {"steps": 0}], ValueError, "row 0: steps is 0"),
        ([ROW | {"lr": 7.0}], ValueError, r"lr is 7\.0"),
    ],
)
def test_what_is_no_schedule_is_refused(rows, kind, message):
    with pytest.raises(kind, match=message):
        stages_of(rows, ev.DQN())


def test_a_stage_changes_hyperparameters_and_shape_and_keeps_what_was_learned():
    population = ev.Population("TD3", OBSERVATIONS, BOX, 2, network=[8], seed=0)
    observation = torch.randn(2, 5, population.observation_space.shape[0])
    before = [population[row].act(observation[row]) for row in range(2)]
    hyperparameters = dict(population.individuals[0].hyperparameters) | {"batch_size": 17}
    adopt(population, Stage(5, hyperparameters, {"hidden": [12], "activation": ["relu"]}))
    assert [list(one.genes.hidden) for one in population.individuals] == [[12], [12]]
    assert [one.hyperparameters["batch_size"] for one in population.individuals] == [17, 17]
    for row in range(2):  # new units have nothing going out of them
        assert torch.allclose(population[row].act(observation[row]), before[row], atol=1e-5)
