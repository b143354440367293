from __future__ import annotations

import math

import numpy as np
import pytest

from evolab.core.ranges import Choice, Float, Integer


@pytest.mark.parametrize("space", [Float(1e-5, 1e-1), Float(1e-5, 1e-1, grow=1.5)])
def test_steps_are_reciprocal_so_that_a_random_walk_has_no_drift(space):
    """Regression: factors of 1.2 and 0.8 have a mean logarithm of -0.020."""
    value = 1e-3
    up, down = space.step(value, up=True), space.step(value, up=False)
    assert math.log(up / value) + math.log(down / value) == pytest.approx(0, abs=1e-9)
    assert space.step(up, up=False) == pytest.approx(value, rel=1e-9)


def test_steps_of_a_linear_range_have_no_drift_either():
    space = Float(0.0, 1.0, log=False)
    assert space.step(0.5, up=True) - 0.5 == pytest.approx(0.5 - space.step(0.5, up=False), abs=1e-12)


@pytest.mark.parametrize("log", [True, False])
def test_an_integer_always_moves(log):
    """Regression: int(x * 1.2) is a fixed point at 1 to 4."""
    space = Integer(1, 40, log=log)
    for value in range(1, 41):
        for up in (True, False):
            moved = space.step(value, up)
            assert isinstance(moved, int)
            assert 1 <= moved <= 40
            assert moved != value
            if value not in (1, 40):
                assert (moved > value) == up


def test_an_integer_walks_over_its_whole_range_and_stays_in_it():
    space, rng, value, seen = Integer(1, 16), np.random.default_rng(0), 4, set()
    for _ in range(4000):
        value = space.step(value, bool(rng.random() < 0.5))
        seen.add(value)
    assert {1, 2, 3, 4, 16} <= seen
    assert min(seen) >= 1
    assert max(seen) <= 16


@pytest.mark.parametrize(
    "space", [Float(1e-5, 2 / 3), Float(1 / 3, 2 / 3, log=False), Float(0.0, 1e-3, log=False)]
)
def test_a_step_never_leaves_the_range(space):
    rng, value = np.random.default_rng(0), space.sample(np.random.default_rng(1))
    for _ in range(500):
        moved = space.step(value, bool(rng.random() < 0.5))
        assert space.check("x", moved) == moved
        assert moved != value
        value = moved


def test_a_value_at_a_bound_turns_back():
    assert Float(0.1, 1.0).step(1.0, up=True) < 1.0
    assert Float(0.1, 1.0).step(0.1, up=False) > 0.1
    assert Integer(1, 16).step(1, up=False) == 2
    assert Choice(1, 2, 3).step(3, up=True) == 2


def test_shrink_is_taken_where_it_is_given():
    assert Float(0.1, 10.0, shrink=0.5).step(1.0, up=False) == 0.5
    assert Integer(1, 100, shrink=0.5).step(50, up=False) == 25


@pytest.mark.parametrize("space", [Float(1e-4, 1.0), Integer(1, 1000)])
def test_logarithmic_draws_fill_every_decade_alike(space):
    rng = np.random.default_rng(0)
    drawn = np.array([space.sample(rng) for _ in range(4000)])
    assert drawn.min() >= space.low
    assert drawn.max() <= space.high
    middle = math.sqrt(space.low * space.high)
    assert (drawn < middle).mean() == pytest.approx(0.5, abs=0.07)


def test_a_range_holds_no_value_so_no_agent_shares_one():
    """Regression: a range object with a value in it made mutations compound across agents."""
    space = Float(1e-4, 1e-2)
    first = space.step(1e-3, up=True)
    assert space.step(1e-3, up=True) == first
    with pytest.raises(AttributeError):
        space.value = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(1.0, 0.1), r"Float\(1.0, 0.1\): low must be below high. Swap the two bounds\?"),
        (lambda: Float(0.0, 1.0), "a logarithmic range needs low > 0. Raise low or pass log=False."),
        (lambda: Float(0.1, math.inf), "bounds must be finite numbers"),
        (lambda: Float(0.1, 1.0, grow=1.0), "grow is 1.0; it must be above 1"),
        (lambda: Float(0.1, 1.0, shrink=1.2), "shrink is 1.2; it must lie between 0 and 1"),
        (lambda: Integer(1.5, 4), "bounds must be whole numbers"),
        (lambda: Choice(32), "at least two different options are needed"),
        (lambda: Float(0.1, 1.0).check("lr", 2.0), "lr is 2.0; its range is 0.1 to 1.0."),
        (lambda: Float(0.1, 1.0).check("lr", math.nan), "lr is nan"),
        (lambda: Integer(8, 512).check("batch_size", 4), "batch_size is 4; its range is 8 to 512."),
        (lambda: Choice(1, 2).check("learn_step", 3), "learn_step is 3; the options are 1, 2."),
    ],
)
def test_impossible_ranges_and_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(0.1, 1.0).check("lr", "0.1"), "lr is '0.1'; a number from 0.1 to 1.0 is expected."),
        (lambda: Float(0.1, 1.0).check("lr", True), "lr is True; a number"),
        (lambda: Integer(1, 9).check("learn_step", 2.5), "learn_step is 2.5; it must be a whole number."),
        (lambda: Choice("a", "b"), "options must be numbers"),
    ],
)
def test_values_of_the_wrong_type_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: Float("a", 1), TypeError, r"Float\('a', 1\): bounds must be numbers"),
    (lambda: Integer(None, 4), TypeError, r"Integer: low is None; a whole number is expected"),
    (lambda: Integer(1, math.inf), ValueError, r"Integer\(1, inf\): bounds must be finite numbers"),
    (lambda: Choice(1, math.nan), ValueError, r"Choice\(1, nan\): options must be finite numbers"),
])  # fmt: skip
def test_bounds_that_are_no_numbers_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("space", "value", "up", "down"),
    [
        (Float(0.9, 0.999), 0.95, 0.95 * (0.999 / 0.9) ** (1 / 3), 0.95 / (0.999 / 0.9) ** (1 / 3)),
        (Float(0.9, 0.999, complement=True), 0.99, 1 - 0.01 / 1.2, 1 - 0.01 * 1.2),
        (
            Float(0.9, 0.96, complement=True, grow=2.0),
            0.93,
            1 - 0.07 / 2.5 ** (1 / 3),
            1 - 0.07 * 2.5 ** (1 / 3),
        ),
        (Float(0.0, 1.0, log=False, grow=1.9), 0.5, 0.5 + 1 / 3, 0.5 - 1 / 3),
        (Float(0.0, 1.0, log=False, shrink=0.5), 0.5, 0.7, 0.5 - 1 / 3),
        (Integer(10, 80, grow=4.0), 30, 60, 15),
        (Integer(0, 30, log=False, grow=3.0), 15, 25, 5),
    ],
)
def test_no_step_is_wider_than_a_third_of_the_range(space, value, up, down):
    """Regression: a range of 0.9 to 0.999 was stepped by 1.2, so that every mutation landed on a bound."""
    assert space.step(value, up=True) == pytest.approx(up, rel=1e-9)
    assert space.step(value, up=False) == pytest.approx(down, rel=1e-9)


def test_draws_of_a_complement_fill_every_decade_of_its_distance_to_one_alike():
    rng = np.random.default_rng(0)
    drawn = np.array([Float(0.9, 0.999, complement=True).sample(rng) for _ in range(4000)])
    assert (drawn > 0.99).mean() == pytest.approx(0.5, abs=0.05)
    assert drawn.min() >= 0.9
    assert drawn.max() <= 0.999


@pytest.mark.parametrize(
    ("space", "near", "half"),
    [
        (Float(1e-4, 1e-2), 1e-3, lambda drawn: math.sqrt(1e-3 * drawn)),
        (Float(0.0, 1.0, log=False), 0.2, lambda drawn: (0.2 + drawn) / 2),
        (Float(0.9, 0.999, complement=True), 0.99, lambda drawn: 1 - math.sqrt(0.01 * (1 - drawn))),
        (
            Float(1e-4, 1e-2),
            1.0,
            lambda drawn: math.sqrt(1e-2 * drawn),
        ),  # a value outside counts as the bound
    ],
)
def test_a_draw_near_a_value_goes_a_share_of_the_way_to_a_draw_from_the_whole_range(space, near, half):
    for seed in range(20):
        drawn = space.sample(np.random.default_rng(seed))
        assert space.sample(np.random.default_rng(seed), near, 0.5) == pytest.approx(half(drawn))
        assert space.sample(np.random.default_rng(seed), near, 1.0) == pytest.approx(drawn)
        assert space.sample(np.random.default_rng(seed), near, 0.0) == pytest.approx(min(near, space.high))


def test_whole_numbers_near_a_value_are_whole_and_within_their_range():
    for space in (Integer(64, 512), Integer(1, 9, log=False)):
        drawn = [space.sample(np.random.default_rng(seed), 128, 0.3) for seed in range(50)]
        assert all(isinstance(one, int) and space.low <= one <= space.high for one in drawn)
        assert space.sample(np.random.default_rng(0), 128, 0.0) == min(128, space.high)


def test_a_complement_needs_a_distance_to_one():
    with pytest.raises(ValueError, match="complement=True needs high < 1"):
        Float(0.9, 1.0, complement=True)
