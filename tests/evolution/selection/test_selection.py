"""What holds for every selection on the shelf; a new one joins by a line in `EVERY`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evolab as ev
from evolab.core.rng import global_states
from evolab.evolution.selection import MFPBT, Gap, Selected, Selection, Tournament, Truncation
from tests.toys import Paying

EVERY = [
    Tournament(),
    Tournament(size=3, elitism=False),
    Truncation(),
    Truncation(fraction=0.5),
    Gap(),
    MFPBT(),
]
FITNESS = st.lists(st.one_of(st.floats(-500, 500), st.just(float("nan"))), min_size=8, max_size=8)


def generator():
    return np.random.default_rng(7)


@pytest.mark.parametrize("selection", EVERY, ids=repr)
@given(fitness=FITNESS, generation=st.integers(1, 8))
def test_every_slot_is_filled_and_survivors_stay_who_they_are(selection, fitness, generation):
    chosen = selection.select(np.array(fitness), generator(), generation)
    assert len(chosen.parents) == len(chosen.hyperparameters) == 8
    assert set(chosen.parents) | set(chosen.hyperparameters) <= set(range(8))
    assert not chosen.survivors & chosen.mutated
    living = [chosen.parents[slot] for slot in chosen.survivors]
    assert len(living) == len(set(living)), "one individual cannot survive twice"


@pytest.mark.parametrize("selection", EVERY, ids=repr)
@given(fitness=FITNESS)
def test_diverged_agents_win_nothing(selection, fitness):
    fitness = np.array(fitness)
    chosen = selection.select(fitness, generator(), generation=4)
    if np.isfinite(fitness).any():
        newborn = set(range(8)) - chosen.survivors
        assert all(np.isfinite(fitness[chosen.parents[slot]]) for slot in newborn)


@pytest.mark.parametrize("selection", [one for one in EVERY if getattr(one, "elitism", True)], ids=repr)
def test_the_fittest_survives_unchanged(selection):
    fitness = np.array([3.0, np.nan, 9.0, 1.0, 2.0, np.inf, 4.0, 5.0])
    chosen = selection.select(fitness, generator(), generation=4)
    assert chosen.parents[chosen.elite] == 2
    assert chosen.elite in chosen.survivors


@pytest.mark.parametrize("selection", EVERY, ids=repr)
def test_where_all_diverged_everyone_is_kept(selection):
    chosen = selection.select(np.full(8, np.nan), generator())
    assert chosen == Selected(tuple(range(8)), elite=None, survivors=frozenset(range(8)))
    assert chosen.mutated == frozenset()


@pytest.mark.parametrize("selection", EVERY, ids=repr)
def test_the_same_generator_gives_the_same_parents_and_the_global_one_is_untouched(selection):
    fitness = np.arange(8.0)
    before = global_states()
    first = selection.select(fitness, np.random.default_rng(3), 4)
    assert first == selection.select(fitness, np.random.default_rng(3), 4)
    assert global_states() == before


def test_a_population_that_is_too_small_is_refused_when_it_is_selected_from():
    with pytest.raises(ValueError, match=r"Tournament\(size=5\) is larger than the population of 3"):
        Tournament(size=5).select(np.zeros(3), np.random.default_rng(0), 1)


@pytest.mark.parametrize("selection", EVERY, ids=repr)
def test_fitness_of_the_wrong_shape_is_refused(selection):
    with pytest.raises(ValueError, match=r"fitness has shape \(8, 2\); a selection expects \(P,\)"):
        selection.select(np.zeros((8, 2)), generator())


@pytest.mark.parametrize("kind", [Tournament, Truncation, Gap, MFPBT])
def test_window_must_be_a_positive_number(kind):
    with pytest.raises(ValueError, match="window is 0"):
        kind(window=0)


@pytest.mark.parametrize("kind", [Tournament, Truncation, Gap, MFPBT])
def test_the_window_counts_by_its_mean_or_its_best(kind):
    assert kind().by == "mean"
    with pytest.raises(ValueError, match="by is 'median'; 'mean' or 'best'"):
        kind(by="median")


def test_who_diverged_does_not_live_on_its_past():
    values = [9.0, 100.0, 180.0, 97.0]
    assert Selection(window=1, by="best").score(values) == 97.0
    assert Selection(window=3, by="best").score(values) == 180.0
    assert Selection(window=3).score(values) == pytest.approx(377 / 3)
    assert np.isnan(Selection(window=3, by="best").score([*values, float("nan")]))
    assert Selection(window=3, by="best").score([5.0, float("nan"), 3.0]) == 5.0


@pytest.mark.parametrize(("by", "shares"), [("mean", (-1.0, 0.1)), ("best", (-1.0, 2.0))])
def test_who_was_good_within_the_window_wins_over_who_is_good_today(monkeypatch, by, shares):
    """What paid best in the first generation costs most in the second: a little, or more than it brought."""
    selection = Tournament(window=2, by=by, warmup=1)  # so that all have two values when they are chosen from
    exp = ev.Experiment(Paying, "TD3", population=4, num_envs=2, network=[8], steps_per_generation=20, seed=2,
                        hyperparameters={"batch_size": 8}, device="cpu", selection=selection, revive=False)  # fmt: skip
    exp.fill(40)
    for share in shares:
        monkeypatch.setattr(Paying, "share", share)
        exp.step()
    table = exp.history.fitness.pivot(index="agent", columns="generation", values="fitness")
    assert not table.isna().to_numpy().any()
    by_mean, by_best = table.mean(axis=1).idxmax(), table.max(axis=1).idxmax()
    expected = by_mean if by == "mean" else by_best
    assert by == "mean" or by_mean != by_best
    assert expected != table[2].idxmax(), "or the window would change nothing"
    births = exp.history.mutations.query("generation == 2")
    assert births[births["kind"] == "elite"]["agent"].tolist() == [expected]
    assert exp.best.id == expected
    exp.close()


def test_options_cannot_be_changed_in_passing():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tournament().size = 3


def test_a_selection_without_a_rule_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Selection must define choose"):
        Selection().select(np.zeros(2), generator())


def test_defaults_follow_the_parents():
    chosen = Selected(parents=(1, 1), elite=0, survivors=frozenset({0}))
    assert chosen.mutated == frozenset({1})
    assert chosen.hyperparameters == (1, 1)


@pytest.mark.parametrize("kind", [Tournament, Truncation, Gap, MFPBT])
def test_nobody_is_replaced_while_the_warm_up_lasts(kind):
    selection, fitness = kind(warmup=4), np.array([0.0, 1, 2, 3, 20, 21, 22, 23])
    waiting = selection.select(fitness, generator(), generation=4)
    assert waiting == Selected(tuple(range(8)), elite=7, survivors=frozenset(range(8)))
    assert selection.select(fitness, generator(), generation=8).mutated


@pytest.mark.parametrize("kind", [Tournament, Truncation, Gap, MFPBT])
def test_nobody_is_replaced_between_two_selections(kind):
    selection, fitness = kind(interval=4), np.array([0.0, 1, 2, 3, 20, 21, 22, 23])
    for generation in (1, 2, 3, 5, 7):
        waiting = selection.select(fitness, generator(), generation)
        assert waiting == Selected(tuple(range(8)), elite=7, survivors=frozenset(range(8)))
    for generation in (4, 8):
        assert selection.select(fitness, generator(), generation).mutated
    with pytest.raises(ValueError, match="interval is 0"):
        kind(interval=0)


def test_the_warm_up_is_a_number_of_generations():
    with pytest.raises(ValueError, match="warmup is -1"):
        Tournament(warmup=-1)
