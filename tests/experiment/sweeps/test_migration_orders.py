"""Islands: the best agents migrate, the same in every engine and whoever is killed; what diverged stays at home."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import evolab as ev
from evolab.__main__ import main
from evolab.core.processors import described
from evolab.evolution.immigration import Immigrant, admit
from evolab.experiment.engines.local import Local
from evolab.experiment.engines.migration import best_of, migrations, origin_of
from evolab.experiment.engines.orders import Report
from evolab.experiment.sweeps import beginning
from evolab.experiment.sweeps import migration_orders as sweeps_islands
from evolab.experiment.sweeps.job import SweepJob
from evolab.experiment.sweeps.joining import join
from evolab.experiment.sweeps.migration_orders import SECTION, IslandsJob
from evolab.experiment.sweeps.plan import Plan
from evolab.history.events import Birth
from evolab.networks.kernels.build import library
from evolab.storage import lock
from tests.experiment.sweeps.test_sweep import FOUR, SMALL, kill_workers
from tests.small import assert_same, experiment

KINDS = [one["algorithm"] for one in FOUR]


def isles(folder, algorithm="TD3", engine="local", generations=6, **options):
    one = next(one for one in FOUR if one["algorithm"] == algorithm)
    about = {**SMALL, **one, "fill": 60, "progress": False, "generations": generations, "seed": 3, **options}
    about = {name: value for name, value in about.items() if value is not None}
    section = {"islands": 3, "every": 2} | {name: about.pop(name) for name in SECTION if name in about}
    return ev.sweep(section, folder, engine=engine, **about)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Three islands of TD3 in this process: returns of its pendulum are never the same."""
    return isles(tmp_path_factory.mktemp("islands") / "local").folder


def assert_equal(folder, undisturbed):
    for number in range(3):
        one, other = (ev.load(home / f"island-{number}") for home in (folder, undisturbed))
        assert_same(one, other)
        one.close()
        other.close()
    assert commits(folder) == commits(undisturbed)


def commits(folder):
    """What was committed, without checksums of files that hold times."""
    found = [json.loads(path.read_text()) for path in sorted((folder / ".epochs").glob("*.json"))]
    for one in found:
        one["islands"] = {name: about["generation"] for name, about in one["islands"].items()}
    return found


def migrated(folder):
    """All births that came from elsewhere, by island."""
    found = {}
    for number in range(3):
        exp = ev.load(folder / f"island-{number}")
        births = exp.history.mutations
        found[number] = births[births["kind"] == "migrated"]
        exp.close()
    return found


def test_the_best_of_the_neighbour_comes_in_after_each_epoch(undisturbed):
    inboxes = [one["inbox"] for one in commits(undisturbed)]
    ring = {"island-0": ["island-2"], "island-1": ["island-0"], "island-2": ["island-1"]}
    assert inboxes == [ring] * 3
    came = migrated(undisturbed)
    assert sum(map(len, came.values()))
    for number, births in came.items():
        for birth in births.itertuples():
            assert birth.generation in (3, 5)  # the first of an epoch
            giver = f"of island-{(number - 1) % 3}, generation {birth.generation - 1}"
            assert birth.detail.startswith("agent ")
            assert birth.detail.endswith(giver)


def test_lineages_of_those_that_came_begin_where_they_did(undisturbed):
    for number, births in migrated(undisturbed).items():
        exp = ev.load(undisturbed / f"island-{number}")
        for birth in births.itertuples():
            if (exp.history.fitness["agent"] == birth.agent).any():
                line = exp.history.lineage(birth.agent)
                assert line["kind"].tolist()[0] == "migrated"
        exp.close()


@pytest.mark.parametrize("algorithm", KINDS)
def test_islands_end_the_same_however_often_they_are_stopped(tmp_path, algorithm):
    whole = isles(tmp_path / "whole", algorithm, generations=4).folder
    isles(tmp_path / "cut", algorithm, generations=2)
    cut = isles(tmp_path / "cut", algorithm, generations=4)
    assert cut.finished
    assert_equal(cut.folder, whole)


def test_islands_that_change_hands_are_not_taken_for_failed(tmp_path, undisturbed, monkeypatch):
    """Where one worker had several of them, they were given up in their second epoch, unless `retries` hid it."""
    monkeypatch.setattr(beginning, "Local", lambda room: Local(1))
    made = isles(tmp_path / "s", retries=0)
    assert made.finished
    assert_equal(made.folder, undisturbed)


def test_processes_that_are_killed_end_the_same(tmp_path, undisturbed):
    made = isles(tmp_path / "s", engine="folder", workers=2, wait=False)
    kill_workers(made, ".epochs/*")
    assert_equal(made.folder, undisturbed)


def test_workers_that_join_find_the_same(tmp_path, undisturbed):
    made = isles(tmp_path / "s", engine="folder", workers=0, wait=False)
    assert join(made.folder) == 0
    assert made.wait(60)
    assert made.finished
    assert_equal(made.folder, undisturbed)


def test_islands_that_another_process_drives_are_refused(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    about = {"pid": os.getppid(), "host": socket.gethostname(), "started": lock._started(os.getppid())}
    (home / ".lock").write_text(json.dumps(about))
    with pytest.raises(RuntimeError, match=f"is in use by process {os.getppid()} on "):
        isles(home, generations=8)
    exp = ev.load(home, progress=False)
    with pytest.raises(RuntimeError, match=f"is in use by process {os.getppid()} on "):
        exp.step()
    exp.close()


def test_an_epoch_that_is_damaged_anywhere_is_taken_back_everywhere(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    shutil.rmtree(home / "island-1" / "generation-000006")
    made = isles(home)
    assert made.finished
    assert_equal(home, undisturbed)


def test_a_report_without_its_checkpoint_is_not_believed(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    (home / ".epochs" / "000003.json").unlink()
    shutil.rmtree(home / "island-2" / "generation-000006")
    assert isles(home).finished
    assert_equal(home, undisturbed)


def copied(undisturbed, home, generations=8):
    """A copy of the islands, and a job with raised goals, whose processes may be at any epoch."""
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    plan = Plan.read(home)
    goals = replace(plan.runs[0].goals, generations=generations)
    return IslandsJob(home, replace(plan, runs=[replace(run, goals=goals) for run in plan.runs]))


def test_who_is_slow_to_read_the_reports_commits_nothing_of_a_later_epoch(tmp_path, undisturbed, monkeypatch):
    """An epoch's file had the scores of the epoch after it, once in a hundred runs on processes."""
    job = copied(undisturbed, tmp_path / "s")
    second, third = (tmp_path / "s" / ".epochs" / f"00000{number}.json" for number in (2, 3))
    third.unlink()
    known = second.read_text()
    second.unlink()
    assert job._newest()["epoch"] == 1
    read = SweepJob.reports

    def late(self):
        second.write_text(
            known
        )  # meanwhile another process has committed, and island-0 has ended the next epoch
        return [
            one if one.run == "island-0" else replace(one, epoch=2, generation=4, over=None)
            for one in read(self)
        ]

    monkeypatch.setattr(SweepJob, "reports", late)
    assert [(order.run, order.epoch) for order in job.orders()] == [("island-1", 3), ("island-2", 3)]
    assert second.read_text() == known


def test_who_is_slow_to_read_an_epoch_removes_none(tmp_path, undisturbed, monkeypatch):
    job = copied(undisturbed, tmp_path / "s")
    second, third = (tmp_path / "s" / ".epochs" / f"00000{number}.json" for number in (2, 3))
    known = third.read_text()
    third.unlink()
    shutil.rmtree(
        tmp_path / "s" / "island-0" / "generation-000004"
    )  # the others have gone on, and need it no more
    monkeypatch.setattr(sweeps_islands.time, "sleep", lambda _: third.write_text(known))
    assert job._newest()["epoch"] == 3
    assert second.exists()


def test_a_report_that_was_led_on_is_not_set_back(tmp_path, undisturbed):
    job = copied(undisturbed, tmp_path / "s")
    report = Report.read(tmp_path / "s", "island-0")
    job._set_back(replace(report, epoch=2), 1)  # as it was read a while ago
    assert Report.read(tmp_path / "s", "island-0") == report
    job._set_back(report, 1)
    assert Report.read(tmp_path / "s", "island-0").epoch == 1


@pytest.mark.parametrize("crash", ["none", "file", "reports"])
def test_an_epoch_that_a_budget_cut_short_is_taken_back_also_where_that_broke_off(
    tmp_path, undisturbed, crash
):
    """By a crash before the islands' reports were set back, or before the epoch's file was gone."""
    home = tmp_path / "s"
    cut = isles(home, generations=None, max_steps=550)
    generations = cut.table["generation"]
    assert (generations % 2).any()
    epoch = math.ceil(generations.max() / 2)
    file = home / ".epochs" / f"{epoch:06d}.json"
    assert file.exists()
    if crash == "file":
        file.unlink()
    if crash == "reports":
        for number in range(3):
            report = Report.read(home, f"island-{number}")
            if report.generation < epoch * 2:
                replace(report, epoch=epoch - 1, over=None).write(home)
    assert isles(home).finished
    assert_equal(home, undisturbed)


def test_an_agent_migrates_with_its_moments_and_targets(undisturbed):
    giver, home = ev.load(undisturbed / "island-0"), experiment("TD3")
    asks = best_of(undisturbed / "island-0", 6, home.population)
    births = [Birth(6, id, id, "none", "") for id in home.population.ids]
    scores = dict(
        zip(home.population.ids, (asks.fitness - 1, asks.fitness - 3, asks.fitness + 1), strict=True)
    )
    records = admit([asks], home.population, births, scores, home.buffer)
    assert [record.agent for record in records] == home.population.ids
    (record,) = [one for one in records if one.kind == "migrated"]
    assert record.detail == f"agent {giver.best.id} of island-0, generation 6"
    assert {*home.population.ids} == {births[0].agent, births[2].agent, record.agent}  # the worst has gone
    row, table = home.population.row(record.agent), home.population.table
    theirs = giver.best.table
    assert table.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (
            torch.equal(table[name][row].flatten()[: value[0].numel()], value[0].flatten()) or name == "id"
        ), name
    giver.close()
    home.close()


@pytest.mark.parametrize("fitness", [math.nan, math.inf, -math.inf, 0.0])
def test_who_diverged_or_is_no_better_stays_at_home(undisturbed, fitness):
    home = experiment("TD3")
    asks = best_of(undisturbed / "island-0", 6, home.population)
    before = home.population.ids
    births = [Birth(6, id, id, "none", "") for id in before]
    scores = dict(zip(before, (0.0, 1.0, 2.0), strict=True))
    asking = Immigrant(asks.individual, fitness, "x")
    assert admit([asking], home.population, births, scores, home.buffer) == births
    assert home.population.ids == before
    home.close()


def test_who_comes_from_where_agents_evolve_more_often_takes_the_best_ones_hyperparameters(undisturbed):
    home = experiment("TD3")
    asks = best_of(undisturbed / "island-0", 6, home.population)
    first, second, third = home.population.ids
    for row, one in enumerate(home.population.individuals):
        one.hyperparameters["batch_size"] = 4 + row
    assert asks.individual.hyperparameters["batch_size"] != 5
    births = [Birth(6, id, id, "none", "") for id in (first, second, third)]
    scores = {first: asks.fitness - 1, second: asks.fitness + 1, third: asks.fitness - 2}
    records = admit([replace(asks, weights_alone=True)], home.population, births, scores, home.buffer)
    (record,) = [one for one in records if one.kind == "migrated"]
    assert record.detail == f"{asks.origin}, hyperparameters of {second}"
    assert origin_of(record.detail) == origin_of(asks.origin)
    row = home.population.row(record.agent)
    assert home.population.individuals[row].hyperparameters["batch_size"] == 5
    giver = ev.load(undisturbed / "island-0")
    theirs = giver.best.table["actor"][0].flatten()
    assert torch.equal(home.population.table["actor"][row].flatten()[: theirs.numel()], theirs)
    giver.close()
    home.close()


def test_who_diverged_loses_its_place_first_and_the_elite_never(undisturbed):
    home = experiment("TD3")
    asks = best_of(undisturbed / "island-0", 6, home.population)
    first, second, third = home.population.ids
    births = [
        Birth(6, first, first, "elite", ""),
        Birth(6, second, second, "none", ""),
        Birth(6, third, third, "none", ""),
    ]
    scores = {first: -9.0, second: 5.0, third: math.nan}
    admit([Immigrant(asks.individual, 1.0, "x")], home.population, births, scores, home.buffer)
    assert {first, second} < {*home.population.ids}
    assert third not in home.population.ids
    home.close()


def test_a_population_of_nan_never_gives_and_a_plan_is_a_function_of_the_scores():
    scores = {"a": math.nan, "b": 1.0, "c": 2.0, "d": math.inf}
    for way in ("ring", "random", "best"):
        plan = migrations(way, scores, 7, 3)
        assert plan == migrations(way, scores, 7, 3)
        givers = [giver for received in plan.values() for giver in received]
        assert givers
        assert not {"a", "d"} & {*givers}
        assert all(name not in received for name, received in plan.items())
    drawn = [str(migrations("random", dict.fromkeys("abcdef", 1.0), 7, epoch)) for epoch in range(5)]
    assert len({*drawn}) > 1
    assert migrations("ring", {"a": 1.0}, 0, 1) == {"a": []}


def test_islands_have_seeds_of_their_own_and_a_leader(undisturbed):
    table = ev.runs(undisturbed)
    assert len({*table["seed"]}) == 3
    made = isles(undisturbed)
    assert made.leader in [f"island-{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generations": 5}, "generations is 5; a multiple of every=2 is expected"),
        (
            {"migration": "rings"},
            "Unknown migration 'rings'. Known: best, random, ring; did you mean 'ring'?",
        ),
        ({"keep": 1}, "keep is 1; islands read the checkpoint before the newest"),
        ({"evolving": False}, "evolving=False: an agent that comes in competes"),
        ({"minutes": 3}, "not by the clock"),
        ({"checkpoint_every": 5}, "checkpoint_every is set by islands"),
        ({"every": 0}, "every is 0; expected a whole number >= 1."),
        ({"frequencies": (1, 0)}, "frequencies is 0; expected a whole number >= 1."),
        ({"population": 1}, "population is 1; who comes in takes the place of an agent that is not the best"),
        ({"transitions": 151}, "transitions is 151, and the buffer holds 150"),
    ],
)
def test_a_mistake_is_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        isles(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_one_island_is_none(tmp_path):
    with pytest.raises(ValueError, match="islands is 1; expected a whole number >= 2"):
        ev.sweep({"islands": 1}, tmp_path / "s", environment="CartPole-v1", generations=10)


def test_other_migrations_need_another_folder(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    with pytest.raises(ValueError, match="begun with migration='ring'; now it is 'best'"):
        isles(home, migration="best")


def test_more_islands_need_another_folder(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    with pytest.raises(ValueError, match=r"3 islands were begun; now it is 4\. Use another folder\."):
        isles(home, islands=4)


def test_a_migration_of_frequencies_has_to_be_such(tmp_path):
    for given in ("often", 2.5):
        with pytest.raises(TypeError, match=r"frequencies is .*such as \(1, 4\)"):
            isles(tmp_path / "s", frequencies=given)


def test_islands_evolve_at_their_own_frequencies(tmp_path):
    """Every second island replaces agents after every second generation alone; who comes there brings its weights alone."""
    made = isles(tmp_path / "s", every=1, frequencies=(1, 2), migration="best", generations=6)
    isles(tmp_path / "cut", every=1, frequencies=(1, 2), migration="best", generations=3)
    cut = isles(tmp_path / "cut", every=1, frequencies=(1, 2), migration="best", generations=6)
    assert_equal(cut.folder, made.folder)
    details = []
    for number in range(3):
        exp = ev.load(made.folder / f"island-{number}")
        assert exp.selection.interval == (1, 2, 1)[number]
        births = exp.history.mutations
        changed = births[~births["kind"].isin(("elite", "none", "migrated", "revived"))]
        assert {*changed["generation"] % 2} == ({0} if number == 1 else {0, 1})
        for birth in births[births["kind"] == "migrated"].itertuples():
            _, giver = origin_of(birth.detail)
            assert ("hyperparameters of" in birth.detail) == (number == 1 and giver != "island-1")
            details.append((number, giver))
        exp.close()
    assert any(number == 1 for number, _ in details)
    assert any(number != 1 for number, _ in details)
    with pytest.raises(ValueError, match=r"begun with frequencies=\(1, 2\); now it is \(\)"):
        isles(tmp_path / "cut", every=1, migration="best", generations=6)


def test_islands_of_different_processors_are_refused(tmp_path, undisturbed):
    home = tmp_path / "s"
    shutil.copytree(undisturbed, home, ignore=shutil.ignore_patterns(".lock"))
    (home / ".epochs" / "000003.json").unlink()
    report = json.loads((home / ".reports" / "island-1.json").read_text())
    (home / ".reports" / "island-1.json").write_text(json.dumps(report | {"processor": "another"}))
    assert Report.read(home, "island-1").processor == "another"
    with pytest.raises(RuntimeError, match=r"islands were computed on another and .* go on with exact=False"):
        isles(home)
    goes_on = ev.load(home, progress=False)
    with pytest.raises(RuntimeError, match="islands were computed on another and"):
        goes_on.run(generations=2)
    goes_on.close()
    mixed = ev.sweep(home, exact=False, progress=False)
    assert mixed.finished
    newest = json.loads((home / ".epochs" / "000003.json").read_text())
    assert newest["processors"] == sorted({"another", Report.read(home, "island-0").processor})
    again = ev.load(home)
    assert again.config["exact"] is False
    again.close()


def test_what_cannot_be_exact_is_asked_for_at_the_beginning_or_later(tmp_path):
    assert isles(tmp_path / "s", generations=2, exact=False)._job.plan.exact is False
    assert Plan.read(tmp_path / "s").exact is False
    exp = ev.load(tmp_path / "s", exact=True)
    assert exp.config["exact"] is True
    exp.close()
    with pytest.raises(TypeError, match=r"exact is 3 \(int\); True or False is expected"):
        isles(tmp_path / "t", exact=3)


def test_a_report_says_what_decides_in_which_order_sums_are_taken(undisturbed):
    known = Report.read(undisturbed, "island-0").processor
    assert known.startswith(described())
    assert known.endswith(" with kernels") == (library(torch.float32) is not None)


def test_the_command_line_has_islands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "environment: CartPole-v1\nalgorithm: DQN\npopulation: 2\nnum_envs: 2\nsteps_per_generation: 20\n"
    text += "hyperparameters: {batch_size: 8}\nbuffer: 100\nrun: {generations: 2, fill: 20}\n"
    Path("pole.yaml").write_text(text + "sweep: {islands: 2, every: 1}\n")
    assert main(["sweep", "pole.yaml"]) == 0
    assert "runs/pole: 2 of 2 runs are over" in capsys.readouterr().out
    assert main(["sweep", "runs/pole", "--generations", "3"]) == 0
    assert len(commits(Path("runs/pole"))) == 3
    assert main(["sweep", "runs/pole", "--join"]) == 0
    Path("pole.yaml").write_text(text + "sweep: {islands: 2, seeds: 3}\n")
    assert main(["sweep", "pole.yaml", "--out", "x"]) == 2
    assert (
        "Unknown part of islands 'seeds'. Known: every, exact, frequencies, islands, migration"
        in capsys.readouterr().err
    )
