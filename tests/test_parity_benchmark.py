"""What the benchmark of parity says of runs, and that it asks both libraries for the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import evolab as ev

BENCHMARKS = str(Path(__file__).parent / "benchmarks")
TASK = "PPO CartPole-v1"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def run(tool, seed, returns):
    return {
        "task": TASK, "tool": tool, "seed": seed, "returns": {str(step): [one] for step, one in enumerate(returns)}
    }  # fmt: skip


def test_a_score_is_the_mean_over_all_marks_and_its_verdict_follows_from_the_peers_interval():
    import parity

    theirs = [run("sb3", seed, [seed, 10 + seed]) for seed in range(5)]  # scores of 5 to 9
    for shift, holds in ((0, True), (-1, True), (-5, False), (20, True)):
        ours = [run("evolab", seed, [seed + shift, 10 + seed + shift]) for seed in range(5)]
        found = parity.compared({"evolab": ours, "peer": theirs})
        assert (found["evolab"], found["peer"]) == (7 + shift, 7)
        assert found["holds"] == holds, shift
        assert found["last"] == (12 + shift, 12)
    assert 5 <= found["low"] < 7 < found["high"] <= 9


def test_only_seeds_that_both_have_run_are_compared_and_half_a_line_is_none(tmp_path):
    import parity

    file = tmp_path / "runs.jsonl"
    lines = [json.dumps(run(*one, [1.0])) for one in (("sb3", 1), ("sb3", 2), ("evolab", 2), ("evolab", 3))]
    file.write_text("\n".join([*lines, lines[0].replace("1.0", "9.0"), lines[0][:30]]))
    found = parity.grouped(parity.read(file))
    assert {who: [one["seed"] for one in runs] for who, runs in found[TASK].items()} == {
        "peer": [2],
        "evolab": [2],
    }
    assert parity.read(file)[TASK, "sb3", 1]["returns"] == {"0": [1.0]}
    assert f"| {TASK} " in parity.table(found)
    assert "| open |" in parity.table(found), "one seed says nothing"


def test_settings_are_evolabs_hyperparameters_and_marks_fit_rollouts():
    from parity_tasks import NETWORKS, ROLLOUT, SETTINGS, TASKS

    for name, task in TASKS.items():
        known = set(ev.search_space(task.algorithm)["name"]) | {"lr"}
        assert set(SETTINGS[task.algorithm]) <= known, name
        assert task.algorithm in NETWORKS, name
        assert len(task.steps) == task.marks, name
        assert task.algorithm != "PPO" or not any(step % ROLLOUT for step in task.steps), name


def test_recorded_data_are_the_same_whenever_they_are_made():
    from parity_offline import fingerprint, recorded

    one, two = (recorded("CartPole-v1", 300) for _ in "ab")
    assert fingerprint(one) == fingerprint(two)
    assert np.flatnonzero(one["terminals"] | one["timeouts"])[-1] == 299
    later = {**one, "rewards": one["rewards"] + 1}
    assert fingerprint(later) != fingerprint(one)


def test_the_page_shows_what_was_measured():
    import parity

    page = Path(BENCHMARKS).parents[1] / "tutorials" / "pages" / "benchmarks.md"
    assert parity.table(parity.grouped(parity.read(parity.RESULT))) in page.read_text("utf-8")
