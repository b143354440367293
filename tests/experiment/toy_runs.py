"""Experiments whose generations take a fraction of a second, and what is compared of them."""

from __future__ import annotations

import dataclasses

import torch

import evolab as ev
from tests.small import by_episodes
from tests.toys import Choosing, Toy

SMALL = {"population": 3, "num_envs": 2, "network": [8], "steps_per_generation": 24, "seed": 7}


def toy(algorithm="TD3", environment=None, **options):
    """An experiment whose generation takes a fraction of a second."""
    environment = environment or (Choosing if algorithm == "DQN" else Toy)
    options = (
        by_episodes(3)
        | SMALL
        | {"hyperparameters": {"batch_size": 16}, "search_space": {"batch_size": ev.Integer(8, 32)}}
        | options
    )
    return ev.Experiment(environment, algorithm, **options)


def same(first, second):
    """Bit for bit the same population, history and counts."""
    assert first.population.ids == second.population.ids
    for name, value in first.population.table.items():
        assert torch.equal(value, second.population.table[name]), name
    for mine, theirs in zip(first.history.generations, second.history.generations, strict=True):
        assert repr(dataclasses.replace(mine, seconds={})) == repr(dataclasses.replace(theirs, seconds={}))
        assert mine.births == theirs.births
        assert repr(mine.evaluations) == repr(theirs.evaluations)
    assert (first.generation, first.total_steps, first.evaluation_steps) == (
        second.generation, second.total_steps, second.evaluation_steps,
    )  # fmt: skip


def consistent(exp):
    population = exp.population
    assert len(population) == len(set(population.ids)) == 3
    assert exp.generation == len(exp.history.generations)
    assert population.table["steps"].tolist() == [individual.steps for individual in population.individuals]
    for value in population.table.values():
        assert torch.isfinite(value).all()
    assert len(exp.buffer) == exp.total_steps, "every transition of this environment is valid"


def updates(exp):
    return [individual.updates for individual in exp.population.individuals]
