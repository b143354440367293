"""`Experiment(islands=...)`: the calls of an experiment on several populations, and one history of all of them."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import time

import pytest

import evolab as ev
from evolab.__main__ import main
from evolab.experiment.engines.migration import origin_of
from evolab.experiment.engines.orders import Report
from evolab.experiment.islands.joined_history import JoinedHistory, ToldLines
from evolab.experiment.islands.panel import best_islands, panels
from evolab.reporting.dashboard.panel import Snapshot, checked
from evolab.storage import lock
from tests.experiment.sweeps.test_migration_orders import assert_equal, undisturbed
from tests.experiment.sweeps.test_sweep import FOUR, SMALL, Fragile, fragile
from tests.small import assert_same, told
from tests.toys import Toy

__all__ = ["fragile", "undisturbed"]  # fixtures
TD3 = FOUR[2]


def islands(folder=None, **options):
    about = {**SMALL, **TD3, "islands": 3, "every": 2, "seed": 3, "progress": False}
    return ev.Experiment(folder=folder, **{**about, **options})


@pytest.fixture(scope="module")
def three(undisturbed):
    """The islands of the sweep's tests, six generations long, as an experiment."""
    exp = ev.load(undisturbed, progress=False)
    yield exp
    exp.close()


def test_step_by_step_is_the_same_as_a_sweep(tmp_path, undisturbed):
    exp = islands(tmp_path / "s")
    exp.fill(180)
    assert exp.step().number == 2
    exp.step()
    exp.run(generations=2)
    assert exp.generation == 6
    assert_equal(tmp_path / "s", undisturbed)
    exp.close()


def test_what_was_stopped_on_a_thread_ends_the_same(tmp_path, undisturbed):
    exp = islands(tmp_path / "s")
    exp.fill(180)
    exp.start()
    while exp.generation < 2 and exp.status == "running":
        time.sleep(0.02)
    with pytest.raises(RuntimeError, match=r"call exp.pause\(\) before exp.run"):
        exp.run(generations=2)
    exp.stop()
    assert exp.wait() == "stopped"
    assert exp.generation < 6
    saved = exp.save(tmp_path / "copy")
    exp.close()
    again = ev.Experiment.load(saved, progress=False)
    again.run(generations=6 - again.generation)
    assert_equal(saved, undisturbed)
    again.close()


def test_a_pause_ends_with_the_epoch(tmp_path):
    exp = islands(tmp_path / "s")
    exp.start()
    while not (tmp_path / "s" / "island-0" / "generation-000002").exists():
        time.sleep(0.01)
    exp.pause()
    assert exp.wait() == "paused"
    reports = [Report.read(tmp_path / "s", f"island-{number}") for number in range(3)]
    assert all(report.generation % 2 == 0 for report in reports)
    exp.close()
    assert lock.writer(tmp_path / "s") is None


@pytest.mark.parametrize(
    ("asks", "meanwhile", "then"), [("stop", "stopping", "stopped"), ("pause", "pausing", "paused")]
)
def test_the_status_says_how_islands_come_to_rest(asks, meanwhile, then):
    exp, seen = islands(), []

    def rest(generation):  # on the thread that trains, which cannot come to rest meanwhile
        seen.append(exp.status)
        getattr(exp, asks)()
        seen.append(exp.status)
        return True

    exp.start(callback=rest)
    assert exp.wait(60) == exp.status == then
    assert seen[:2] == ["running", meanwhile]
    exp.close()


def test_what_a_budget_cut_short_is_computed_again_with_a_larger_one(tmp_path):
    whole, cut = islands(tmp_path / "whole"), islands(tmp_path / "cut")
    for exp in (whole, cut):
        exp.fill(180)
    cut.run(max_steps=550)
    used = sum(report.total_steps + report.evaluation_steps for report in cut._driver.reports)
    assert used <= 550 + 3 * 6  # a step of the environments each
    assert cut.generation % 2
    cut.run(generations=2)
    assert cut.generation % 2 == 0
    whole.run(generations=cut.generation)
    for number in range(3):
        one, other = whole.island(number), cut.island(number)
        assert_same(one, other)
        one.close()
        other.close()
    whole.close()
    cut.close()


def test_one_history_of_all_islands(three):
    history, own = three.history, [three.island(number) for number in range(3)]
    assert len(history) == three.generation == 6
    for generation in history:
        parts = [exp.history.generations[generation.number - 1] for exp in own]
        assert generation.total_steps == sum(part.total_steps for part in parts)
        assert generation.evaluation_steps == sum(part.evaluation_steps for part in parts)
        assert len(generation.evaluations) == sum(len(part.evaluations) for part in parts)
        assert generation.fitness == max(part.fitness for part in parts)
        numbers = [e.agent for e in generation.evaluations]
        assert len({*numbers}) == len(numbers)
        for number, part in enumerate(parts):
            mine = {e.agent: e.fitness for e in generation.evaluations}
            assert {e.agent: e.fitness for e in part.evaluations} == {
                agent // 3: fitness for agent, fitness in mine.items() if agent % 3 == number
            }
    assert three.total_steps == history.generations[-1].total_steps
    for exp in own:
        exp.close()


def test_who_migrated_is_the_child_of_who_it_was(three):
    births = three.history.mutations
    came = births[births["kind"] == "migrated"]
    assert len(came)
    for birth in came.itertuples():
        giver, island = origin_of(birth.detail)
        assert birth.parent == giver * 3 + int(island[-1])
        assert birth.parent % 3 != birth.agent % 3


def test_a_lineage_goes_from_island_to_island(three):
    births = three.history.mutations
    came = births[births["kind"] == "migrated"]
    seen = three.history.fitness["agent"]
    living = [birth for birth in came.itertuples() if (seen == birth.agent).any()]
    assert living
    for birth in living:
        line = three.history.lineage(birth.agent)
        assert line["generation"].iloc[0] == 1  # and not where it came in
        assert len({agent % 3 for agent in line["agent"]}) > 1


def test_best_and_elite_are_those_of_all_islands(three):
    own = [three.island(number) for number in range(3)]
    best = three.history.generations[-1].best
    assert three.best.id == best.agent // 3
    assert repr(three.best) == repr(own[best.agent % 3].best)
    assert three.elite.fitness == max(exp.elite.fitness for exp in own)
    for exp in own:
        exp.close()


def test_an_agent_plays_by_its_number_among_all(three):
    last = three.history.generations[-1].births[-1]
    played = three.rollout(agent=last.agent, max_steps=3, seed=1)
    own = three.island(last.agent % 3)
    assert played.returns == own.rollout(agent=last.agent // 3, max_steps=3, seed=1).returns
    own.close()
    assert three.evaluate(2, "best", seed=1, max_steps=4).steps == 8


def test_a_schedule_has_the_steps_of_the_islands_that_it_lived_on(three):
    schedule = three.schedule()
    own = [one.generations for one in three._driver.joined.told]
    for row in schedule.itertuples():
        assert row.total_steps == own[row.agent % 3][row.generation - 1].total_steps
    again = three.replay(progress=False)
    assert len(again.population) == 1
    again.close()


def test_the_dashboard_has_a_curve_for_each_island(three):
    board = three.dashboard()
    shown = {one["title"]: one["data"] for one in board.state["custom"]}
    assert {*shown["Islands"]["lines"]} == {"island-0", "island-1", "island-2"}
    assert shown["Islands"]["apart"]  # a row of small curves
    assert next(iter(shown["Islands"]["lines"])) == shown["Who leads, who lags"]["rows"][0][0]
    rows = shown["Who leads, who lags"]["rows"]
    assert [row[1] for row in rows] == ["leads", "follows", "follows"]
    assert "migrated" in board._feed.store.kinds
    board.close()
    assert "islands" in (three.report(three.folder / "x.html")).read_text().lower()


def test_the_table_of_islands_says_who_is_dead_and_who_lags(three, tmp_path):
    table = three.islands
    assert table["island"].tolist() == ["island-0", "island-1", "island-2"]
    assert sorted(table["state"]) == ["follows", "follows", "leads"]
    assert table["came in"].sum() == (three.history.mutations["kind"] == "migrated").sum()
    exp = islands(tmp_path / "s")
    (tmp_path / "s").mkdir()
    Report("island-0", epoch=2, generation=4, begun=1).write(tmp_path / "s")
    Report("island-1", epoch=1, generation=2, begun=1).write(tmp_path / "s")
    Report("island-2", begun=3, error="OSError: no licence").write(tmp_path / "s")
    assert exp.islands["state"].tolist() == ["follows", "follows, 2 behind", "dead"]
    assert exp.progress.done == 2
    exp.close()


def test_panels_of_many_islands_stay_small(three, monkeypatch):
    from evolab.experiment.islands import panel

    monkeypatch.setattr(panel, "MOST", 2)
    monkeypatch.setattr(panel, "POINTS", 3)
    snapshot = Snapshot(tuple(three.history.generations))
    curves, table = (checked(one, snapshot) for one in panels(three._driver))
    assert list(curves["lines"]) == [f"island-{place}" for place in best_islands(three._driver)[:2]]
    assert curves["x"] == [2, 4, 6]
    assert len(table["rows"]) == 2


def test_a_population_of_nan_is_last(three):
    joined = JoinedHistory(three.folder, three._driver.joined.names)
    joined.refresh()
    first = joined.told[0].generations[0].evaluations
    joined.told[0].generations[0] = (
        ev.History([joined.told[0].generations[0]])
        .generations[0]
        .__class__(
            **{
                **vars(joined.told[0].generations[0]),
                "evaluations": tuple(type(e)(**{**vars(e), "fitness": math.nan}) for e in first),
            }
        )
    )
    joined.history.generations.clear()
    made = joined._joined([one.generations[0] for one in joined.told])
    assert math.isfinite(made.fitness)
    assert [math.isnan(e.fitness) for e in made.evaluations] == [False] * 6 + [True] * 3


def test_of_very_many_agents_each_island_tells_of_its_best(three, monkeypatch):
    from evolab.experiment.islands import joined_history

    monkeypatch.setattr(joined_history, "AGENTS", 6)
    short = JoinedHistory(three.folder, three._driver.joined.names)
    short.refresh()
    for few, every in zip(short.history, three.history, strict=True):
        assert len(few.evaluations) == 6
        assert few.fitness == every.fitness
        assert few.total_steps == every.total_steps
        came = [birth for birth in every.births if birth.kind == "migrated"]
        assert [birth for birth in few.births if birth.kind == "migrated"] == came


def test_a_history_is_read_on_and_again_where_it_was_rolled_back(tmp_path, three):
    whole = three._driver.joined.told[0].generations
    run = tmp_path / "run"
    one = ToldLines(run)
    for count in (1, 3, 3, 6):
        ev.History(whole[:count]).to_json_lines(run / "history")
        assert not one.read()
        assert one.generations == whole[:count]
    ev.History(whole[:2]).to_json_lines(run / "history")
    assert one.read()
    assert one.generations == whole[:2]


def test_a_generation_without_its_head_is_not_read_yet(tmp_path, three):
    whole = three._driver.joined.told[0].generations
    history = tmp_path / "run" / "history"
    ev.History(whole[:1]).to_json_lines(history)
    heads = (history / "generations.jsonl").read_text()
    ev.History(whole[:2]).to_json_lines(history)
    later = (history / "generations.jsonl").read_text()
    (history / "generations.jsonl").write_text(heads)
    one = ToldLines(tmp_path / "run")
    one.read()
    assert one.generations == whole[:1]
    (history / "generations.jsonl").write_text(later)
    one.read()
    assert one.generations == whole[:2]


def test_saved_islands_are_opened_by_load(tmp_path, three):
    place = three.save(tmp_path / "copy")
    for again in (ev.load(place), ev.Experiment.load(place)):
        assert told(again) == told(three)
        assert repr(again.elite) == repr(three.elite)
        assert again.config == three.config
        again.close()
    with pytest.raises(FileExistsError, match=r"is not empty.* or pass overwrite=True"):
        three.save(place)
    assert three.save(place, overwrite=True) == place
    with pytest.raises(FileExistsError, match="is not empty"):
        islands(place.parent)
    assert not [one for one in place.parent.iterdir() if one.name.endswith(".tmp")]


def test_a_copy_that_fails_leaves_the_one_before_it_whole(tmp_path, three, monkeypatch):
    place = three.save(tmp_path / "copy")

    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", full)
        with pytest.raises(OSError, match="No space left"):
            three.save(place, overwrite=True)
    assert os.listdir(tmp_path) == ["copy"]
    # Killed between its two renames.
    place.rename(tmp_path / ".copy.before")
    again = ev.load(place)
    assert told(again) == told(three)
    again.close()


def test_a_temporary_folder_ends_with_the_object():
    exp = islands()
    home = exp._driver.home
    assert exp.folder is None
    assert home.is_dir()
    with pytest.raises(ValueError, match=r"have no folder yet. Name one: exp.save\('runs/islands'\)"):
        exp.save()
    exp.close()
    assert not home.exists()
    exp.close()


def test_a_configuration_makes_the_same_islands(tmp_path, three):
    path = tmp_path / "islands.json"
    path.write_text(json.dumps(three.config))
    again = ev.Experiment.from_config(path, progress=False)
    assert again.config == {**three.config, "engine": "local"}
    assert [run.options["seed"] for run in again._driver.plan.runs] == [
        run.options["seed"] for run in three._driver.plan.runs
    ]
    again.close()


def test_processes_find_the_same(tmp_path, undisturbed):
    exp = islands(tmp_path / "s", engine="folder", workers=2)
    exp.fill(180)
    exp.run(generations=6)
    assert_equal(tmp_path / "s", undisturbed)
    exp.close()


def test_a_callback_sees_every_generation_and_ends_the_run(tmp_path):
    exp, seen = islands(tmp_path / "s"), []

    def enough(generation):
        seen.append(generation.number)
        return generation.number == 4

    exp.run(generations=20, callback=enough)
    assert seen == [1, 2, 3, 4]
    assert exp.generation == 4
    exp.run(minutes=1e-6)
    assert exp.generation in (4, 6)
    exp.close()


def test_a_target_ends_all_islands(tmp_path):
    exp = islands(tmp_path / "s", target=-1e9)
    exp.run()
    assert exp.solved
    assert exp.generation <= 2
    exp.close()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "population",
            3,
            r"population is the same for all islands.*from_config\(exp\.config \| \{'population': 3\}\)",
        ),
        ("mutations", {"none": 1}, r"mutations is the same .*Can be set: target"),
        ("every", 3, r"every is the same for all islands and for the whole run"),
        ("islands", 3, r"islands is the same"),
        ("best", None, r"best of islands can be read only"),
        ("lr_actor", 0.1, r"lr_actor is each agent's own"),
        ("learning_rate", 0.1, r"In evolab that is hyperparameters=\{'lr'"),
        ("mutatons", 1, r"Unknown setting of islands 'mutatons'.*did you mean 'mutations'"),
    ],
)
def test_what_cannot_be_set_of_islands_says_so(three, name, value, message):
    """All of them were taken, and did nothing."""
    with pytest.raises(AttributeError, match=message):
        setattr(three, name, value)
    assert name not in vars(three)


def test_the_configuration_of_islands_is_read_only(three):
    with pytest.raises(
        TypeError, match=r"options of islands can be read only, 'target' too\. .*exp\.config \|"
    ):
        three.config["target"] = 3.0
    assert json.loads(json.dumps(three.config)) == three.config
    before, three.target = three.target, 3.0
    assert three.config["target"] == 3.0
    three.target = before


def test_an_unknown_option_of_loaded_islands_is_answered_by_the_nearest(undisturbed):
    with pytest.raises(
        ValueError, match=r"Unknown option of Experiment 'populaton'.*did you mean 'population'"
    ):
        ev.load(undisturbed, populaton=3)


class Faulty(Toy):
    """Every tenth step raises."""

    steps = 0

    def step(self, action):
        Faulty.steps += 1
        if Faulty.steps % 10 == 0:
            raise RuntimeError("broken sensor")
        return super().step(action)


@pytest.mark.filterwarnings("ignore:Faulty. Faulty .Faulty.steps. remembers")
def test_failures_of_environments_are_counted_where_the_islands_are_shown():
    """They were warned of, and forgotten."""
    exp = islands(environment=Faulty)
    with pytest.warns(UserWarning, match="broken sensor"):
        exp.step()
    assert re.search(r"\n  environments failed, and training went on: \d+ x RuntimeError\n  next:", repr(exp))
    exp.close()


def test_an_island_that_fails_again_and_again_is_named(tmp_path, fragile):
    fragile["env_kwargs"]["mends"] = False
    options = {name: value for name, value in fragile.items() if name not in ("generations", "fill")}
    exp = ev.Experiment(islands=2, every=1, **options)
    with pytest.raises(
        RuntimeError, match=r"1 of 2 islands failed .* OSError: the simulator has lost its licence"
    ):
        exp.run(generations=3)
    assert exp.status == "failed"
    assert "dead" in exp.islands["state"].tolist()
    fragile["env_kwargs"]["path"].unlink()
    Fragile.steps = -(10**9)
    exp.run(generations=1)
    assert exp.generation >= 1
    exp.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"islands": 1}, "islands is 1; expected a whole number >= 2"),
        ({"migration": "rings"}, "Unknown migration 'rings'"),
        ({"engine": "dask"}, "Unknown engine 'dask'"),
        (
            {"islands": None},
            r"every is an option of islands. Say how many: Experiment\(..., islands=4, every=...\)",
        ),
        ({"populatoin": 4}, "populatoin"),
    ],
)
def test_a_mistake_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        islands(**options).step()


def test_what_is_each_island_s_own_says_where_it_is(three, tmp_path):
    with pytest.raises(AttributeError, match=r"population is each island's own: exp.island\(0\).population"):
        three.population  # noqa: B018
    with pytest.raises(AttributeError, match="mutations is the same for all islands and for the whole run"):
        three.mutations = None
    with pytest.raises(RuntimeError, match="have begun"):
        three.fill(10)
    with pytest.raises(IndexError, match="numbered 0 to 2"):
        three.island(3)
    with pytest.raises(ValueError, match="a multiple of every=2 is expected"):
        three.run(generations=3)
    with pytest.raises(ValueError, match="needs a goal"):
        three.run()
    with pytest.raises(ValueError, match="population cannot change"):
        ev.load(three.folder, population=4)
    fresh = islands(tmp_path / "s")
    with pytest.raises(LookupError, match="island-0 has not ended an epoch yet"):
        fresh.best  # noqa: B018
    assert "no epoch yet" in repr(fresh)
    fresh.close()
    assert "leads" in repr(three)


def test_the_command_line_says_what_trains_islands(tmp_path, three, capsys):
    (tmp_path / "x.json").write_text(json.dumps({"environment": "CartPole-v1", "islands": 2}))
    for what in (tmp_path / "x.json", three.folder):
        assert main(["run", str(what), "--generations", "2"]) == 2
        assert "islands are trained by `evolab sweep" in capsys.readouterr().err


def test_workers_elsewhere_need_a_folder_that_they_see(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ValueError, match="need a folder that all of them see"):
        islands(engine="ray")


def test_more_islands_than_a_driver_can_plan_for_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="islands is 1000000; each is a population with a folder of its own"):
        ev.Experiment(
            "CartPole-v1", "DQN", population=2, islands=10**6, folder=tmp_path / "many", progress=False
        )
    assert not (tmp_path / "many").exists()
