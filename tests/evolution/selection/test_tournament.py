from __future__ import annotations

import numpy as np
import pytest

from evolab.evolution.selection import Tournament


def test_the_elite_takes_slot_zero():
    chosen = Tournament(size=2).select(np.array([1.0, 2.0, 9.0, 3.0]), np.random.default_rng(0))
    assert chosen.parents[0] == 2
    assert chosen.elite == 0
    assert chosen.survivors == {0}
    assert chosen.mutated == {1, 2, 3}


def test_without_elitism_nobody_survives_unchanged():
    chosen = Tournament(elitism=False).select(np.arange(4.0), np.random.default_rng(0))
    assert chosen.elite is None
    assert chosen.survivors == frozenset()
    assert len(chosen.parents) == 4


def test_winners_come_as_often_as_the_draws_with_replacement_say():
    random = np.random.default_rng(0)
    wins = np.zeros(4)
    for _ in range(2_000):
        wins += np.bincount(Tournament(elitism=False).select(np.arange(4.0), random).parents, minlength=4)
    assert wins / wins.sum() == pytest.approx(np.array([1, 3, 5, 7]) / 16, abs=0.02)


def test_a_tournament_of_one_draws_at_random():
    random = np.random.default_rng(0)
    wins = np.zeros(4)
    for _ in range(2_000):
        chosen = Tournament(size=1, elitism=False).select(np.arange(4.0), random)
        wins += np.bincount(chosen.parents, minlength=4)
    assert wins / wins.sum() == pytest.approx([0.25] * 4, abs=0.02)


def test_nan_fitness_never_wins_even_against_itself():
    fitness = np.array([np.nan, -500.0, np.nan, np.nan])
    for seed in range(50):
        assert set(Tournament().select(fitness, np.random.default_rng(seed)).parents) == {1}


def test_a_population_of_one_keeps_its_agent():
    chosen = Tournament(size=1).select(np.array([1.0]), np.random.default_rng(0))
    assert chosen.parents == (0,)
    assert chosen.survivors == {0}


def test_a_tournament_larger_than_the_population_is_refused():
    with pytest.raises(
        ValueError, match=r"Tournament\(size=8\) is larger than the population of 4; expected size <= 4"
    ):
        Tournament(size=8).check(4)


def test_size_must_be_a_positive_whole_number():
    with pytest.raises(ValueError, match="size is 0"):
        Tournament(size=0)
    with pytest.raises(TypeError, match=r"size is 2\.0"):
        Tournament(size=2.0)
