"""Rows for pages: small, thinned, and true to the history they were made from."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import time
import zlib
from dataclasses import replace

import pytest

from evolab.core.layers import DiagramLayer
from evolab.history.events import Birth
from evolab.history.history import History
from evolab.reporting.dashboard import page
from evolab.reporting.dashboard.feed import LARGEST, Feed
from evolab.reporting.dashboard.store import BUDGET, PAST, Store
from evolab.reporting.figures.colours import look
from tests.reporting.dashboard.fake import FakeExperiment, make_history


def size(value: object) -> int:
    return len(json.dumps(value, allow_nan=False))


def absorbed(generations: int, agents: int) -> Store:
    store = Store()
    store.absorb(make_history(generations, agents).generations)
    return store


def test_a_row_holds_a_generation_best_first():
    history = make_history(3, agents=4)
    store = Store()
    store.absorb(history.generations)
    row, generation = store.row(2), history.generations[2]
    assert row["id"] == [e.agent for e in generation.evaluations]
    assert row["f"][0] == pytest.approx(generation.fitness, rel=1e-4)
    births = {b.agent: b for b in history.generations[1].births}
    assert [store.kinds[k] for k in row["k"]] == [births[e.agent].kind for e in generation.evaluations]


IMPALA = [
    layer
    for channels in (16, 32, 32)
    for layer in (
        DiagramLayer("conv", channels, 3),
        DiagramLayer("max-pool", channels, 3, 2),
        *2 * [DiagramLayer("residual block", channels, 3)],
    )
]


def convolutional(history: History) -> History:
    """The same agents with residual networks, each of another size."""
    for i, one in enumerate(history.generations):
        seeing = [replace(e, layers=(*IMPALA, DiagramLayer("linear", 64 + e.agent))) for e in one.evaluations]
        history.generations[i] = replace(one, evaluations=tuple(seeing))
    return history


def test_a_row_says_of_each_agent_what_its_layers_are():
    store = Store()
    store.absorb(convolutional(make_history(2, agents=4)).generations)
    row, best = store.row(1), store.generations[1].best
    assert [tuple(row["y"][place]) for place in row["g"][0]] == list(best.layers)
    assert row["w"][0] == best.architecture == store.line()["w"]
    assert "w" not in absorbed(2, 4).row(1)
    assert absorbed(2, 4).line()["w"] == ""


def test_layers_of_64_agents_leave_room_for_their_rows():
    store = Store()
    store.absorb(convolutional(make_history(3, agents=64)).generations)
    assert size(store.row(2)) < size(absorbed(3, 64).row(2)) + 12_000


def test_the_newest_generation_is_told_whole_however_much_there_is_to_tell():
    """Nothing would be left of its agents but their fitness."""
    store = Store()
    store.absorb(convolutional(make_history(3, agents=150)).generations)
    assert size(store.row(2)) > BUDGET[0]
    assert ["h" in row for row in store.compact()] == [False, False, True]


def test_only_new_generations_are_taken_in():
    history = make_history(5)
    store = Store()
    assert store.absorb(history.generations[:3])
    assert store.absorb(history.generations)
    assert not store.absorb(history.generations)
    assert [row["n"] for row in store.rows(after=3)] == [4, 5]


def test_the_line_is_the_historys_lineage():
    history = make_history(20)
    store = Store()
    store.absorb(history.generations)
    assert store.line()["id"] == list(history.lineage()["agent"])


def test_the_line_of_a_revived_elite_leaps_as_the_historys_does():
    history = make_history(6, agents=4)
    absent = history.generations[2].best  # archived then, revived at the end of generation 5
    born = Birth(5, 999, absent.agent, "revived", f"the archived elite {absent.agent}, unchanged")
    fifth, sixth = history.generations[4:]
    history.generations[4] = dataclasses.replace(fifth, births=(born, *fifth.births[1:]))
    winner = dataclasses.replace(sixth.best, agent=999, parent=absent.agent)
    history.generations[5] = dataclasses.replace(sixth, evaluations=(winner, *sixth.evaluations[1:]))
    for i in (3, 4):
        gone = tuple(e for e in history.generations[i].evaluations if e.agent != absent.agent)
        history.generations[i] = dataclasses.replace(history.generations[i], evaluations=gone)
    store = Store()
    store.absorb(history.generations)
    assert store.line()["id"] == list(history.lineage()["agent"])
    assert store.line()["n"][-2:] == [3, 6]


def test_effects_agree_with_the_historys():
    history = make_history(40, agents=8)
    store = Store()
    store.absorb(history.generations)
    table = history.mutation_effects().set_index(["kind", "name"])
    for key, count, measured, _, middle, _, positive in store.effects():
        kind, _, name = key.partition("/")
        row = table.loc[(kind, name)]
        assert (count, measured) == (row["count"], row["measured"])
        assert middle == pytest.approx(row["gain"], rel=1e-3)
        assert positive / measured == pytest.approx(row["improved"])


@pytest.mark.parametrize(("agents", "generations"), [(4, 30), (12, 300), (64, 400)])
def test_the_compact_state_fits_a_message_and_keeps_the_ends(agents, generations):
    feed = Feed(FakeExperiment(agents=agents))
    feed.experiment.history = make_history(generations, agents)
    state = feed.state()
    assert size(state) < LARGEST
    assert state["rows"][-1]["n"] == generations
    assert state["rows"][0]["n"] <= max(1, generations // 20)
    assert len(state["rows"]) <= 300
    assert len(state["line"]["n"]) == generations


def test_no_message_after_the_first_is_large_even_for_64_agents():
    experiment = FakeExperiment(agents=64)
    feed = Feed(experiment)
    experiment.history = make_history(120, 64)
    whole = experiment.history.generations
    seen = 0
    for number in (1, 2, 3, 8, 9, 60, 120):
        experiment.history.generations = whole[:number]
        frame = feed.frame(seen)
        seen = number
        assert size(frame) < 100_000
        assert frame["rows"][-1]["n"] == number


def test_a_frame_without_a_new_generation_is_small():
    experiment = FakeExperiment(agents=64)
    experiment.history = make_history(5, 64)
    feed = Feed(experiment)
    feed.frame(0)
    frame = feed.frame(5)
    assert set(frame) == {"head"}
    assert size(frame) < 2_000


def test_an_update_at_64_agents_and_400_generations_costs_little():
    history = make_history(401, 64)
    experiment = FakeExperiment(agents=64)
    feed = Feed(experiment)
    experiment.history.generations = history.generations[:400]
    start = time.process_time()
    feed.frame(0)
    all_of_them = time.process_time() - start
    experiment.history.generations = history.generations
    start = time.process_time()
    feed.frame(400)
    # A few milliseconds; whatever the machine, it is much less than for 400 generations.
    assert time.process_time() - start < all_of_them / 4


def test_nan_fitness_becomes_null():
    history = make_history(2)
    first = history.generations[0]
    evaluations = (*first.evaluations[:-1], dataclasses.replace(first.evaluations[-1], fitness=math.nan))
    store = Store()
    store.absorb([dataclasses.replace(first, evaluations=evaluations), history.generations[1]])
    assert store.row(0)["f"][-1] is None
    assert size(store.compact())


@pytest.mark.parametrize("agents", [4, 10, 64])
def test_the_still_picture_fits_a_message_too(agents):
    from evolab.reporting.dashboard.static_view import bundle

    experiment = FakeExperiment(agents=agents)
    experiment.history = make_history(60, agents)
    assert len(bundle(Store(), experiment, b"", "still")["text/html"]) < 95_000


def test_the_best_of_the_head_is_the_confirmed_value():
    """It said "best ever 500" with a tick where the mean over fresh episodes was 463, and the target 475."""
    experiment = FakeExperiment(agents=4, cost=0)
    experiment.run(3)
    feed = Feed(experiment)
    assert feed.state()["confirmed"] is None
    for number, confirmed in ((0, 310.0), (1, None), (2, 463.0)):
        known = experiment.history.generations[number]
        experiment.history.generations[number] = dataclasses.replace(known, confirmed=confirmed)
    assert Feed(experiment).state()["confirmed"] == 463
    assert "head.solved" in page.script(), "whether the target was reached is the run's to say"
    assert "store.best >= " not in page.script(), "the tick belongs to the confirmed value"


def test_a_kind_has_the_word_of_the_mutations_and_a_networks_size_another():
    """A panel said "no mutation" and "weights" where `ev.Mutations` says none and parameters."""
    for kind in ("none", "parameters"):
        assert look(kind).label == kind
        assert f'{kind}: ["{kind}"' in page.script()
    for words in ("cloned", "no mutation", "in line", '"weights"'):
        assert words not in page.script()
    assert '"network size"' in page.script()


def test_the_winners_line_has_every_one_of_a_thousand_generations():
    """From generation 301 on it had every second one."""
    line = absorbed(1000, 4).line()
    assert line["n"] == list(range(1, 1001))
    assert size(line) < 45_000


def test_the_settings_of_the_line_are_told_where_they_change():
    store = absorbed(40, 6)
    line, members = store.line(), [e for e, _ in make_history(40, 6).ancestry()]
    for key, told in (("a", lambda e: list(e.hidden)), ("m", lambda e: e.network_size)):
        changes = dict(map(tuple, ((i, v) for i, v in line[key])))
        now = None
        for index, member in enumerate(members):
            now = changes.get(index, now)
            assert now == told(member)


def test_steps_count_evaluation_but_for_runs_that_count_updates():
    history = make_history(3)
    last = history.generations[-1]
    assert absorbed(3, 6).row(2)["t"] == last.total_steps + last.evaluation_steps
    for i, generation in enumerate(history.generations):
        evaluations = tuple(dataclasses.replace(e, steps=0) for e in generation.evaluations)
        history.generations[i] = dataclasses.replace(generation, evaluations=evaluations)
    offline = Store()
    offline.absorb(history.generations)
    assert offline.row(2)["t"] == offline.line()["t"][-1] == last.total_steps


def test_every_confirmed_value_is_kept_and_of_very_many_the_best():
    """Of a run's confirmed values only the newest generations' were drawn."""
    history = make_history(900, 2)
    for i in range(len(history)):
        known = history.generations[i]
        history.generations[i] = dataclasses.replace(known, confirmed=9999.0 if i == 417 else float(i))
    store = Store()
    store.absorb(history.generations[:200])
    assert store.confirmed()["f"] == [float(i) for i in range(200)]
    store.absorb(history.generations)
    told = store.confirmed()
    assert len(told["n"]) <= 301
    assert max(told["f"]) == 9999
    assert told["n"][-1] == 900


@pytest.mark.parametrize(("agents", "generations"), [(12, 600), (64, 400)])
def test_the_past_completes_the_family_tree(agents, generations):
    """A long run that was reopened had lost the tree's older generations."""
    store = absorbed(generations, agents)
    packed = store.past()
    assert len(packed) <= PAST
    rows = json.loads(zlib.decompress(base64.b64decode(packed)))
    whole = {row["n"] for row in [*rows, *store.compact()] if "id" in row}
    assert whole == set(range(1, generations + 1))
    assert store.past() == packed


def test_the_past_of_a_very_long_run_leaves_out_the_oldest(monkeypatch):
    store = absorbed(300, 12)
    monkeypatch.setattr("evolab.reporting.dashboard.store.PAST", 8_000)
    packed = store.past()
    assert len(packed) <= 8_000
    rows = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert rows[-1]["n"] + 1 in {row["n"] for row in store.compact() if "id" in row}
    assert rows[0]["n"] > 1


def test_how_learning_goes_is_told_per_generation():
    told = absorbed(5, 4).learning()
    assert told["losses"]["critic"] == [1, 0.5, 0.3333, 0.25, 0.2]
    assert told["ratio"] == [1] * 5
    assert len(told["length"]) == len(told["n"]) == 5


def test_other_measures_of_the_best_agent_are_told_beside():
    store, history = Store(), make_history(3, 4)
    generations = [
        dataclasses.replace(
            g,
            evaluations=tuple(dataclasses.replace(e, extra={"success": g.number / 2}) for e in g.evaluations),
        )
        for g in history
    ]
    store.absorb(generations)
    assert store.learning()["metrics"] == {"success": [0.5, 1, 1.5]}
