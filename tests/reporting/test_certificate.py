"""What a certificate says: hand-computed numbers, a picture, a file."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from evolab.reporting.certificate import Certificate, Steps, bootstrap, iqm

NAN = float("nan")


def certificate(per_seed, episodes=2, **about):
    """Every episode of a seed pays its mean."""
    returns = np.repeat(np.array(per_seed, dtype=float)[:, None], episodes, 1)
    return Certificate("Track-v0", "DQN", returns, Steps(800, 160), **about)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert iqm(np.array([8.0, 1, 2, 3, 4, 5, 6, 1000])) == 4.5  # of 3, 4, 5, 6
    assert iqm(np.array([1.0, 2, 6])) == 3.0, "a quarter of three is no whole seed"
    assert list(iqm(np.array([[0.0, 1, 3, 9], [5, 5, 5, 5]]))) == [2.0, 5.0]


def test_a_seed_that_diverged_counts_as_the_worst():
    assert iqm(np.array([NAN, 4.0, 6.0, 8.0])) == 5.0
    told = certificate([NAN, NAN, 6.0, 8.0], target=7.0)
    assert told.mean == -math.inf, "more than a quarter diverged"
    assert told.reached == 0.25
    assert "2 of 4 seeds" in repr(told)
    assert told.interval[0] == -math.inf
    assert json.loads(json.dumps(told.to_plain(), allow_nan=False))["per_seed"][0] == "NaN"


def test_the_interval_is_the_percentile_bootstrap_over_seeds():
    values = np.random.default_rng(0).normal(100, 10, 64)
    low, high = bootstrap(values)
    assert low < iqm(values) < high
    # The standard error of an interquartile mean of normal values is 1.19 sigma / sqrt(n).
    assert high - low == pytest.approx(2 * 1.96 * 1.19 * 10 / 8, rel=0.25)
    assert bootstrap(values) == (low, high), "the same seeds have the same interval"
    wider = bootstrap(values, 0.99)
    assert wider[0] < low
    assert wider[1] > high
    assert bootstrap(np.full(5, 3.0)) == (3.0, 3.0)


def test_one_seed_has_no_interval():
    told = certificate([3.0])
    assert all(math.isnan(end) for end in told.interval)
    assert "one seed has no interval" in repr(told)
    assert told.figure().data


def test_it_says_mean_interval_share_and_both_kinds_of_steps():
    told = certificate([1.0, 2, 3, 4], target=2.5, faults=2)
    assert list(told.per_seed) == [1, 2, 3, 4]
    assert (told.mean, told.reached, told.steps.total) == (2.5, 0.5, 960)
    lines = repr(told).splitlines()
    assert lines[0] == "Certificate(DQN on Track-v0: 4 seeds, each with data of its own)"
    assert "2.50 [1, 4]" in lines[1]
    assert lines[2].endswith("1, 2.50, 4")
    assert lines[3].split("  ")[1:] == ["reach the target of 2.50", "2 of 4 seeds"]
    assert lines[4].endswith("800, 200 of each seed")
    assert lines[5].endswith("160, 2 episodes of each seed")
    assert lines[6].endswith("2, survived")
    assert certificate([1.0]).reached is None
    assert "target" not in repr(certificate([1.0]))
    assert "updates" in repr(certificate([1.0], offline=True))


def test_an_episode_that_faults_broke_off_is_left_out_of_its_seeds_mean():
    told = Certificate("Track-v0", "DQN", np.array([[4.0, NAN], [1.0, 3.0]]), Steps(1, 1))
    assert list(told.per_seed) == [4.0, 2.0]


def test_the_figure_has_a_dot_per_seed_the_mean_and_the_target():
    told = certificate([1.0, NAN, 3.0, 4.0], target=2.5)
    seeds, interval, mean = told.figure().data
    assert list(seeds.x) == [1.0, 3.0, 4.0]
    assert seeds.text[1] == "seed 2: 3"
    assert tuple(mean.x) == (told.mean,)
    assert len(set(seeds.y)) == 3, "equal returns do not hide each other"
    assert told.figure().layout.shapes[0].x0 == 2.5
    assert not certificate([1.0]).figure().layout.shapes
    assert all(math.isfinite(x) for x in interval.x)


def test_what_a_notebook_shows_is_escaped():
    told = Certificate("<b>bad</b>", "DQN", np.ones((2, 2)), Steps(1, 1))
    bundle = told._repr_mimebundle_()
    assert bundle["text/plain"] == repr(told)
    assert "<b>bad" not in bundle["text/html"]
    assert "<b>bad" not in told.figure().layout.title.text


def test_it_is_saved_as_json_with_everything_in_it(tmp_path):
    told = certificate([1.0, 2.0], target=2.0, settings=[{"until": 5, "lr": 1e-3}], seed=7)
    path = told.save(tmp_path / "certificate.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["returns"] == [[1.0, 1.0], [2.0, 2.0]]
    assert found["steps"] == {"training": 800, "evaluation": 160, "total": 960}
    assert (found["mean"], found["reached"], found["seeds"], found["episodes"]) == (1.5, 0.5, 2, 2)
    assert found["settings"] == [{"until": 5, "lr": 1e-3}]
    assert told.save(path) == path, "it may be written again"
    with pytest.raises(OSError, match="nowhere"):
        told.save(tmp_path / "nowhere" / "certificate.json")
