"""A history answers what happened, and comes back from disk exactly."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from evolab.core.layers import DiagramLayer
from evolab.history.effects import importance, median_interval
from evolab.history.events import Birth, Evaluation, Fault, Generation
from evolab.history.history import History
from tests.reporting.dashboard.fake import make_history


def evaluation(
    generation: int, agent: int, fitness: float, parent: int | None = None, **changes
) -> Evaluation:
    values = {
        "episodes": 1, "length": 10.0, "steps": generation * 100, "total_steps": generation * 200,
        "updates": 50,
        "hyperparameters": {"lr": 1e-3, "batch_size": 32}, "hidden": (64, 64), "activation": ("relu", "relu"),
        "network_size": 4610,
    }  # fmt: skip
    return Evaluation(
        generation=generation, agent=agent, parent=parent, fitness=fitness, **(values | changes)
    )


def generation(number: int, evaluations: list[Evaluation], births: list[Birth], **changes) -> Generation:
    values = {"total_steps": number * 200, "evaluation_steps": number * 20, "seconds": {"train": 1.5}}
    return Generation(
        number=number, evaluations=tuple(evaluations), births=tuple(births), **(values | changes)
    )


@pytest.fixture
def history() -> History:
    """Agents 0 and 1; 0 is the elite; 2 is its child with a larger learning rate, and wins."""
    first = generation(
        1,
        [evaluation(1, 0, 10.0, is_elite=True), evaluation(1, 1, 5.0)],
        [Birth(1, 0, 0, "elite", ""), Birth(1, 2, 0, "hyperparameters", "lr 0.001 -> 0.0012", 0.25)],
    )
    second = generation(
        2,
        [
            evaluation(2, 2, 17.0, 0, hyperparameters={"lr": 1.2e-3, "batch_size": 32}),
            evaluation(2, 0, 9.0, 0),
        ],
        [Birth(2, 2, 2, "elite", ""), Birth(2, 3, 2, "none", "")],
    )
    return History([first, second])


def test_fitness_has_one_row_per_agent_and_generation(history):
    table = history.fitness
    assert list(table["agent"]) == [0, 1, 0, 2]
    assert list(table["fitness"]) == [10.0, 5.0, 9.0, 17.0]
    assert table["parent"].isna().tolist() == [True, True, False, False]
    assert table["is_elite"].tolist() == [True, False, False, False]


def test_other_measures_become_columns(history):
    extra = generation(3, [evaluation(3, 3, 1.0, 2, extra={"fqe": 4.5})], [])
    history.append(extra)
    assert history.fitness["fqe"].iloc[-1] == 4.5


def test_mutations_tell_the_fitness_before_and_after(history):
    table = history.mutations.set_index(["generation", "agent"])
    assert table.loc[(1, 2), "fitness_before"] == 10.0
    assert table.loc[(1, 2), "fitness_after"] == 17.0
    assert table.loc[(1, 2), "change"] == 0.25
    assert table.loc[(1, 0), "fitness_after"] == 9.0
    assert math.isnan(table.loc[(2, 3), "fitness_after"])  # not evaluated yet
    assert table.loc[(1, 2), "parent_after"] == 9.0, "the parent lived on and played the same seeds"


def test_lineage_is_the_winners_ancestry_oldest_first(history):
    line = history.lineage()
    assert list(line["agent"]) == [0, 2]
    assert list(line["kind"]) == ["first", "hyperparameters"]
    assert list(history.lineage(1)["agent"]) == [1]


def test_lineage_reaches_behind_a_revived_elite(history):
    """It ended at the revival: the archived parent was evaluated in an earlier generation, not in the last."""
    history.append(
        generation(
            3,
            [evaluation(3, 3, 4.0, 2)],
            [Birth(3, 4, 0, "none", "")],
        )
    )
    history.append(generation(4, [evaluation(4, 4, 12.0, 0)], []))
    assert list(history.lineage()["agent"]) == [0, 0, 4]
    assert list(history.lineage()["generation"]) == [1, 2, 4]


def test_lineage_of_an_elite_passes_through_its_own_generations(history):
    assert list(history.lineage(0)["kind"]) == ["first", "elite"]


def test_an_unknown_agent_is_named_with_todays_agents(history):
    with pytest.raises(
        ValueError, match=r"agent 99 was never evaluated; the newest generation has agents \[0, 2\]"
    ):
        history.lineage(99)


def test_schedule_says_from_where_to_where_a_value_was_in_force(history):
    schedule = history.schedule()
    assert list(schedule["start"]) == [0, 100]
    assert list(schedule["steps"]) == [100, 200]
    assert list(schedule["total_steps"]) == [g.total_steps for g in history]
    assert list(schedule["lr"]) == [1e-3, 1.2e-3]


def test_a_generation_out_of_order_is_refused(history):
    with pytest.raises(ValueError, match="generation 5 was appended after generation 2"):
        history.append(dataclasses.replace(history.generations[0], number=5))


def test_effects_of_a_mutation_by_kind_and_by_hyperparameter(history):
    table = history.mutation_effects().set_index(["kind", "name"])
    row = table.loc[("hyperparameters", "lr")]
    assert (row["count"], row["measured"], row["gain"], row["ancestry"]) == (1, 1, 7.0, 1.0)
    assert table.loc[("elite", ""), "gain"] == -1.0
    assert table.loc[("none", ""), "measured"] == 0
    assert (row["paired"], row["paired_gain"]) == (1, 8.0), "against the parent beside it: 17 and 9"
    assert table.loc[("elite", ""), "paired"] == 0, "nobody is compared with itself"


def test_bootstrap_interval_holds_the_median_and_repeats():
    import numpy as np

    values = np.random.default_rng(3).normal(size=200)
    low, high = median_interval(values)
    assert low < float(np.median(values)) < high
    assert (low, high) == median_interval(values)


def test_importance_compares_agents_of_one_generation_only():
    rows = []
    for number in range(
        1, 6
    ):  # both values grow with time; inside a generation lr is bad and noise is constant
        rows.append(
            generation(
                number,
                [
                    evaluation(
                        number,
                        10 * number + i,
                        100.0 * number - i,
                        hyperparameters={"lr": number + i, "c": 1},
                    )
                    for i in range(4)
                ],
                [],
            )
        )
    history = History(rows)
    table = importance(history.fitness, history.hyperparameters).set_index("name")
    assert table.loc["lr", "correlation"] == pytest.approx(-1.0)
    assert table.loc["c", "importance"] == 0.0
    assert "network_size" in table.index  # "parameters" is a mutation
    assert "parameters" not in table.index


def test_empty_history_has_tables_and_says_what_to_do():
    history = History()
    assert list(history.mutations.columns)[:3] == ["generation", "agent", "parent"]
    tables = (history.fitness, history.lineage(), history.schedule(), history.mutation_effects())
    assert all(table.empty for table in (*tables, history.importance()))
    for shown in (repr(history), history._repr_html_()):
        assert "exp.step()" in shown


def test_json_lines_round_trip_is_exact_with_nan(tmp_path, history):
    odd = generation(
        3,
        [
            evaluation(3, 3, math.nan, 2, extra={"fqe": -math.inf}, length=math.nan),
            evaluation(3, 2, 0.1 + 0.2, 2),
        ],
        [Birth(3, 4, 3, "mine", 'a "quoted" <b> \u2192 NaN', math.nan)],
        faults=(Fault(3, None, "timeout", "NaN"),),
        losses={"critic": math.inf},
        confirmed=1 / 3,
    )
    history.append(odd)
    history.to_json_lines(tmp_path)
    again = History.from_json_lines(tmp_path)
    assert again == history
    assert again.generations[:2] == history.generations[:2]
    assert math.isnan(again.generations[2].evaluations[0].fitness)
    assert again.generations[2].faults[0].detail == "NaN"
    for name in ("fitness", "mutations", "hyperparameters", "generations"):
        for line in (tmp_path / f"{name}.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_what_agents_expect_earn_and_lose_comes_back_and_earlier_versions_lack_it(tmp_path):
    first = generation(1, [evaluation(1, 3, 1.0, losses={"critic": 0.5}, value=7.0, discounted=6.5)], [])
    History([first]).to_json_lines(tmp_path)
    table = History.from_json_lines(tmp_path).learning
    assert table.iloc[0].to_dict() == {
        "generation": 1, "agent": 3, "updates": 50, "value": 7.0, "discounted": 6.5, "loss_critic": 0.5,
    }  # fmt: skip
    row = json.loads((tmp_path / "fitness.jsonl").read_text())
    assert not {"losses", "value", "discounted"} & set(row), "readers of 0.1.0 know no such columns"
    (tmp_path / "learning.jsonl").unlink()
    (found,) = History.from_json_lines(tmp_path).generations[0].evaluations
    assert found.losses == {}
    assert math.isnan(found.value)
    assert list(History().learning.columns) == ["generation", "agent", "updates", "value", "discounted"]


def test_layers_come_back_and_earlier_versions_lack_them(tmp_path):
    layers = (DiagramLayer("conv", 16, 3, 2), DiagramLayer("linear", 64), DiagramLayer("GRU", 48))
    seeing = evaluation(1, 3, 1.0, hidden=(16, 64, 48), layers=layers)
    History([generation(1, [seeing], []), generation(2, [evaluation(2, 4, 1.0)], [])]).to_json_lines(tmp_path)
    first, second = (one.evaluations[0] for one in History.from_json_lines(tmp_path))
    assert first.layers == layers
    assert first.architecture == "conv 16 (3×3, stride 2) → 64 → GRU 48"
    assert (second.layers, second.architecture) == ((), "64x64")
    assert "layers" not in json.loads((tmp_path / "learning.jsonl").read_text().splitlines()[1])
    (tmp_path / "learning.jsonl").unlink()
    assert History.from_json_lines(tmp_path).generations[0].best.architecture == "16x64x48"


def test_a_generation_tells_layers_in_words():
    """A recurrent layer was told as one more hidden layer: "64x48"."""
    layers = (DiagramLayer("linear", 64), DiagramLayer("GRU", 48))
    told, _ = generation(1, [evaluation(1, 3, 1.0, hidden=(64, 48), layers=layers)], []).show()
    assert "layers" in told
    assert "64 → GRU 48" in told
    assert "hidden" not in told


def test_what_all_agents_of_a_generation_share_is_said_once():
    """Its table scrolled sideways at 800 pixels, among others for a column of ones."""
    same = generation(1, [evaluation(1, 0, 3.0, episodes=7), evaluation(1, 1, 2.0, episodes=7)], [])
    text, html = same.show()
    for told in (text, html):
        assert told.count("The same for all agents: episodes 7 · network size 4\u202f610 · hidden 64") == 1
        assert told.count("episodes") == 1
    other = generation(1, [evaluation(1, 0, 3.0), evaluation(1, 1, 2.0, hidden=(64, 96), network_size=9)], [])
    assert all(name in other.show()[0].splitlines()[1] for name in ("network size", "hidden"))
    alone = generation(1, [evaluation(1, 0, 3.0)], []).show()[0]
    assert "The same" not in alone
    assert "episodes" in alone.splitlines()[1]


def test_the_size_of_networks_has_one_name_but_in_files_that_readers_of_0_1_0_know(tmp_path):
    """The history said "parameters", which is a mutation; the panels said "network size"."""
    history = make_history(1, 2)
    history.to_json_lines(tmp_path)
    assert "network_size" in history.fitness.columns
    assert "parameters" not in history.fitness.columns
    row = json.loads((tmp_path / "fitness.jsonl").read_text().splitlines()[0])
    assert row["parameters"] == history.fitness["network_size"][0]
    assert "network_size" not in row
    assert History.from_json_lines(tmp_path) == history


def test_writing_again_appends_only_what_is_new(tmp_path):
    history = make_history(6)
    History(history.generations[:4]).to_json_lines(tmp_path)
    before = (tmp_path / "fitness.jsonl").read_text()
    history.to_json_lines(tmp_path)
    assert (tmp_path / "fitness.jsonl").read_text().startswith(before)
    assert History.from_json_lines(tmp_path) == history
    assert len(History.from_json_lines(tmp_path, until=3)) == 3


def test_a_line_cut_short_by_a_crash_is_left_out_and_mended(tmp_path):
    history = make_history(3)
    history.to_json_lines(tmp_path)
    path = tmp_path / "generations.jsonl"
    path.write_text(path.read_text()[:-20])
    assert len(History.from_json_lines(tmp_path)) == 2
    history.to_json_lines(tmp_path)
    assert History.from_json_lines(tmp_path) == history


def test_a_generation_trained_again_replaces_the_first_attempt(tmp_path):
    first, second = make_history(5, seed=1), make_history(5, seed=2)
    first.to_json_lines(tmp_path)
    second.to_json_lines(tmp_path)
    assert History.from_json_lines(tmp_path) == second


def test_damage_in_the_middle_is_named(tmp_path):
    make_history(3).to_json_lines(tmp_path)
    path = tmp_path / "fitness.jsonl"
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(ValueError, match=r"fitness.jsonl, line 1 is damaged"):
        History.from_json_lines(tmp_path)


def test_a_folder_without_history_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no history"):
        History.from_json_lines(tmp_path)


def test_numpy_numbers_are_written_as_numbers(tmp_path):
    import numpy as np

    row = evaluation(1, 0, np.float32(1.5), hyperparameters={"batch_size": np.int64(8)})
    History([generation(1, [row], [])]).to_json_lines(tmp_path)
    again = History.from_json_lines(tmp_path).generations[0].best
    assert (again.fitness, again.hyperparameters["batch_size"]) == (1.5, 8)


def test_a_generation_shows_who_survived_and_who_changed(history):
    text = repr(history.generations[0])
    assert "best 10 (agent 0)" in text
    assert "0 (elite), 2 (lr 1.0e-3 → 1.2e-3)" in text
    assert "not selected" in text


def test_what_users_name_is_escaped_in_html():
    bad = "<script>alert(1)</script>"
    shown = generation(
        1, [evaluation(1, 0, 1.0)], [Birth(1, 2, 0, bad, bad)], faults=(Fault(1, 0, bad, bad),)
    )
    assert "<script>" not in shown._repr_html_()
    assert "<script>" not in History([shown])._repr_html_()


def test_a_history_shows_the_newest_generations():
    history = make_history(14)
    assert "14 generations of 6 agents" in repr(history)
    assert "1 generation of 1 agent, " in repr(make_history(1, 1))
    assert history._repr_html_().count("<tr>") == 11


def test_a_generations_table_ticks_what_was_confirmed_and_nothing_else():
    """Values that were seen once and means of fresh episodes looked alike; "parameters" was also a mutation's name."""
    (seen_once,) = make_history(1, 4).generations
    known = dataclasses.replace(seen_once, confirmed=494.6)
    for before, after in zip(seen_once.show(), known.show(), strict=True):
        assert before.count("\N{CHECK MARK}") == 0
        assert after.count("\N{CHECK MARK}") == 1
        assert "confirmed 494.6 \N{CHECK MARK}" in after
    names = repr(known)
    assert "network size" in names
    assert "parameters" not in names
