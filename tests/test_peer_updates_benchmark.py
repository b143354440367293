"""What the benchmarks of updates beside other libraries' make of what they measured, and that both sides do the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).parent / "benchmarks")


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_a_ratio_is_taken_within_a_repeat():
    """Where the machine slows down between two repeats, medians of each side alone would compare two machines."""
    from in_turns import rows_of

    theirs = {"updates": [10e-3, 20e-3, 90e-3], "sampling": [1e-3, 2e-3, 3e-3]}
    ours = {1: [5e-3, 20e-3, 15e-3], 4: [2e-3, 1e-3, 18e-3]}
    one, four = rows_of({"algorithm": "CQN"}, "d3rlpy", ours, theirs, {4: 5.0})
    assert one == {
        "algorithm": "CQN", "agents": 1, "microseconds_per_agent": 15_000.0, "d3rlpy_microseconds": 20_000.0,
        "d3rlpy_sampling_microseconds": 2_000.0, "times_faster": 2.0, "least": 1.0, "most": 6.0,
        "ratios": [2.0, 1.0, 6.0],
    }  # fmt: skip
    assert (four["times_faster"], four["least"], four["most"], four["goal"]) == (5.0, 5.0, 20.0, 5.0)


def test_both_are_asked_in_turns_and_the_first_turn_only_warms_up():
    from in_turns import measured

    asked = []

    def tool(name):
        def answer(what, **about):
            asked.append((name, what, about.get("agents")))
            assert (about["batch"], about["count"]) == (32, 7)
            return len(asked)

        return answer

    ours, theirs = measured(tool("evolab"), tool("peer"), {"batch": 32}, 7, 2, ["sampling"])
    turn = [
        ("peer", "updates", None),
        ("peer", "sampling", None),
        ("evolab", "updates", 1),
        ("evolab", "updates", 4),
    ]
    assert asked == 3 * turn
    assert (ours, theirs) == ({1: [7, 11], 4: [8, 12]}, {"updates": [5, 9], "sampling": [6, 10]})


@pytest.mark.parametrize("named", [[], ["SAC"]], ids=["all", "one"])
def test_a_result_is_written_only_where_everything_was_asked_for(named, tmp_path, monkeypatch):
    import in_turns

    def compared(script, peer, place, cases, *rest):
        return {"script": script, "peer": peer, "cases": cases}

    def cases(algorithms):
        return [[{"algorithm": name}, 100] for name in algorithms]

    monkeypatch.setattr(in_turns, "compared", compared)
    monkeypatch.setattr("sys.argv", ["peer_updates.py", *named])
    result = tmp_path / "result.json"
    in_turns.main({"evolab": int, "sb3": int}, ["SAC", "PPO"], cases, {}, result)
    assert result.exists() == (not named)
    if not named:
        told = json.loads(result.read_text("utf-8"))
        assert (told["peer"], told["cases"]) == ("sb3", cases(["SAC", "PPO"]))
        assert Path(told["script"]).name == "peer_updates.py"


def test_recorded_data_are_learned_with_the_settings_of_parity_and_small_batches_of_choices():
    from parity_tasks import SETTINGS
    from peer_offline import TASK_OF, cases

    asked = [one for one, _ in cases(list(TASK_OF))]
    assert set(TASK_OF) == {"IQL", "TD3BC", "CQN", "BCQ"}
    own = {name: SETTINGS[name]["batch_size"] for name in TASK_OF}
    assert all({"algorithm": name, "batch": size} in asked for name, size in own.items())
    assert [one for one in asked if one["batch"] != own[one["algorithm"]]] == [
        {"algorithm": "CQN", "batch": 32},
        {"algorithm": "BCQ", "batch": 32},
    ]


@pytest.mark.parametrize("algorithm", ["IQL", "TD3BC", "CQN", "BCQ"])
def test_populations_have_the_batches_and_rates_that_they_are_asked_for(algorithm):
    from parity_offline import population, recorded
    from parity_tasks import SETTINGS
    from peer_offline import TASK_OF

    task = TASK_OF[algorithm]
    agents, buffer = population(task, recorded(task.name, 60), 2, seed=1, batch_size=8)
    assert (len(agents), len(buffer)) == (2, 60)
    for one in agents.individuals:
        rates = {value for name, value in one.hyperparameters.items() if name.startswith("lr")}
        assert rates == {SETTINGS[algorithm]["lr"]}
        assert one.hyperparameters["batch_size"] == 8
        assert one.hyperparameters["tau"] == SETTINGS[algorithm]["tau"]


def test_what_was_measured_has_every_case():
    from peer_offline import GOALS, RESULT, TASK_OF, cases

    rows = json.loads(RESULT.read_text("utf-8"))["updates"]
    found = [(one["algorithm"], one["batch"], one["agents"]) for one in rows]
    wanted = [
        (one["algorithm"], one["batch"], agents) for one, _ in cases(list(TASK_OF)) for agents in (1, 4)
    ]
    assert found == wanted
    assert all(one.get("goal") == GOALS.get(one["agents"]) for one in rows)


def test_the_page_says_what_was_measured():
    from peer_offline import RESULT

    rows = json.loads(RESULT.read_text("utf-8"))["updates"]
    page = (Path(BENCHMARKS).parents[1] / "tutorials" / "pages" / "benchmarks.md").read_text("utf-8")
    four, one = ([row["times_faster"] for row in rows if row["agents"] == agents] for agents in (4, 1))
    told = (
        f"four agents' updates are {min(four):.1f} to {max(four):.1f} times as fast as d3rlpy's, "
        f"a single agent's {min(one):.1f} to {max(one):.1f} times."
    )
    assert told in page
