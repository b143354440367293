"""Experiments of a second or less, for every algorithm on the shelf, and what makes two of them equal."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.search_space import algorithm_named
from evolab.networks.gpt.gpt import GPT


def by_episodes(population):
    """Every agent plays whole episodes for its fitness, nobody returns, nothing is drawn: for tests of something else."""
    return {"fitness": "return", "revive": False, "draw": False, "update_ratio": 1 / population}


QUICK = {
    "population": 3,
    "num_envs": 2,
    "seed": 1,
    "steps_per_generation": 12,
    "eval_steps": 8,
    "network": [16],
    "hyperparameters": {"batch_size": 8},
    "search_space": {"batch_size": ev.Integer(4, 16)},
    "device": "cpu",
}


def places(algorithm):
    """The environment that suits an algorithm's actions."""
    return "CartPole-v1" if spaces.Discrete in algorithm_named(algorithm).action_spaces else "Pendulum-v1"


def evolving(algorithm):
    """All that the algorithm evolves by default, with batches that a small buffer can feed."""
    known = algorithm_named(algorithm).hyperparameters
    ranges = {name: one.search for name, one in known.items() if one.search is not None}
    return ranges | {name: space for name, space in QUICK["search_space"].items() if name in known}


def experiment(algorithm="DQN", **options):
    """A filled experiment; from recorded data where the algorithm learns from nothing else."""
    name = algorithm if isinstance(algorithm, str) else algorithm.name
    offline, on_policy = algorithm_named(algorithm).offline, algorithm_named(algorithm).on_policy
    # A rollout of four steps does not divide the six of a generation: some of the rest is learned from.
    buffer = {} if offline else {"buffer": ev.RolloutBuffer(4) if on_policy else ev.ReplayBuffer(150)}
    options = {**QUICK, **buffer, **options}
    if algorithm_named(algorithm).reads_tokens:
        return _in_language(algorithm, options)
    known = algorithm_named(algorithm).hyperparameters
    if not (on_policy or offline):
        options.setdefault("update_ratio", 1 / options["population"])
    options["hyperparameters"] = {k: v for k, v in options["hyperparameters"].items() if k in known}
    made = ev.Experiment(options.pop("environment", places(name)), algorithm, **options)
    if not on_policy:
        made.fill(recorded(places(name)) if offline else 100)
    return made


def _in_language(algorithm, options):
    """A language experiment: a tiny word game, a tiny GPT."""
    game = ev.envs.WordGame(["abc", "cab", "bca", "bac"], letters=3, tries=3, alphabet="abc")
    ranges = {
        k: v for k, v in options["search_space"].items() if k in algorithm_named(algorithm).hyperparameters
    }
    network = ev.GPT(layers=1, width=8, heads=1, min_units=8)
    made = ev.Experiment(game, algorithm, **{**options, "search_space": ranges, "network": network})
    made.fill(game.record("random", 40, seed=0))
    return made


def in_language(algorithm, **options):
    """The same for what learns from episodes of tokens."""
    world = ev.envs.WordGame(["abc", "cab", "bca", "bac"], 3, 3, "abc")
    about = {"population": 3, "steps_per_generation": 3, "seed": 1, "device": "cpu"}
    about |= {"hyperparameters": {"batch_size": 4}} | options
    about["network"] = GPT(layers=1, width=8, heads=1, min_units=8)
    made = ev.Experiment(world, algorithm, **about)
    made.fill(world.record(episodes=20, seed=0, player="random"))
    return made


def recorded(environment="CartPole-v1", rows=400, length=20):
    """A made-up data set of an environment's spaces."""
    stream = np.random.default_rng(0)
    terminals = (np.arange(rows) + 1) % length == 0
    pole = environment == "CartPole-v1"
    return {
        "observations": stream.normal(size=(rows, 4 if pole else 3)).astype("f"),
        "actions": stream.integers(0, 2, rows) if pole else stream.uniform(-2, 2, (rows, 1)).astype("f"),
        "rewards": stream.uniform(size=rows).astype("f"),
        "terminals": terminals,
    }


def assert_same(one, other):
    """Everything that training depends on is equal, bit for bit."""
    assert one.population.ids == other.population.ids
    assert one.population.table.next_id == other.population.table.next_id
    assert one.population.table.keys() == other.population.table.keys()
    for name, value in one.population.table.items():
        assert torch.equal(value, other.population.table[name]), name
    for mine, theirs in zip(one.population.individuals, other.population.individuals, strict=True):
        for name in ("parent", "genes", "hyperparameters", "fitness", "steps", "updates"):
            assert repr(getattr(mine, name)) == repr(getattr(theirs, name)), name
    assert told(one) == told(other)
    for name in ("generation", "total_steps", "evaluation_steps"):
        assert getattr(one, name) == getattr(other, name), name
    assert repr(one.best) == repr(other.best)
    assert repr(one.elite) == repr(other.elite)
    if one.algorithm.on_policy:
        assert len(one.buffer) == len(other.buffer) == 0
        return
    if hasattr(one.buffer, "fields"):  # episodes of tokens are read, never written
        assert one.buffer.added == other.buffer.added
        assert one.buffer.length.tolist() == other.buffer.length.tolist()
        assert one.buffer.cursor.tolist() == other.buffer.cursor.tolist()
        for name, value in one.buffer.fields.items():
            assert torch.equal(value, other.buffer.fields[name]), name


def told(exp):
    """The history without wall seconds."""
    return [repr(dataclasses.asdict(dataclasses.replace(g, seconds={}))) for g in exp.history]


def quiet():
    """The environment of a process that finds this checkout, on one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(ev.__file__).parents[1])}
