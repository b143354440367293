"""The archived elite as a last resort."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.renewal import renew
from tests.toys import Toy


@pytest.fixture
def run():
    """A run of three agents after a generation whose best one was archived."""
    exp = ev.Experiment(Toy, "TD3", population=3, num_envs=2, steps_per_generation=20, network=[8], seed=0,
                        hyperparameters={"batch_size": 8}, device="cpu", revive=True,
                        selection=ev.Truncation(0.34, warmup=2), mutations=ev.Mutations(none=1))  # fmt: skip
    exp.fill(40)
    exp.step()
    exp._run.elite = exp._run.best
    exp._run.elite_fitness = 100.0
    yield exp._run
    exp.close()


def test_an_elite_that_nobody_reaches_takes_the_place_of_the_worst(run):
    archived, before = run.elite, run.population.ids
    births = renew(run, 3, np.array([3.0, 1.0, 2.0]))
    (revived,) = [birth for birth in births if birth.kind == "revived"]
    assert revived.parent == archived.id
    assert revived.agent in run.population.ids
    assert before[1] not in run.population.ids
    own = run.population.member(run.population.row(revived.agent)).tensors["actor"]
    theirs = archived._population.member(0).tensors["actor"]
    assert all(torch.equal(own[name], theirs[name]) for name in own)


@pytest.mark.parametrize(
    ("number", "scores"), [(1, [3.0, 1.0, 2.0]), (2, [3.0, 1.0, 2.0]), (3, [3.0, 100.0, 2.0])]
)
def test_nobody_is_revived_in_the_warm_up_or_while_somebody_is_as_good(run, number, scores):
    assert all(birth.kind != "revived" for birth in renew(run, number, np.array(scores)))
