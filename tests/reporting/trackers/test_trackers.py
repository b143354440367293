"""Trackers: what was logged is read back from each tool's own files, and none of them stops training."""

from __future__ import annotations

import builtins
import csv
import json
import os
import struct
import time

import pytest

import evolab as ev
from evolab.core import registry
from evolab.reporting.trackers.csv import CSV
from evolab.reporting.trackers.jsonl import JSONL
from evolab.reporting.trackers.tracker import scalars
from evolab.reporting.trackers.trackers import Trackers, tracker_named
from tests import small

QUICK = small.QUICK | {"search_space": {"batch_size": ev.Integer(4, 16), "lr": ev.Float(1e-4, 1e-2)}}


def experiment(**options):
    made = ev.Experiment("CartPole-v1", "DQN", **{**QUICK, **options})
    made.fill(60)
    return made


class Listening:
    """A tracker of the user's own: three methods, no base class."""

    def __init__(self, fail_in=""):
        self.heard, self.fail_in = [], fail_in

    def _hear(self, what, value=None):
        self.heard.append((what, value))
        if what == self.fail_in:
            raise ConnectionError("the server is away")

    def start(self, config):
        self._hear("start", config)

    def log(self, generation):
        self._hear("log", generation)

    def finish(self):
        self._hear("finish")


def test_a_tracker_hears_of_the_start_every_generation_and_the_end():
    tracker = Listening()
    exp = experiment(trackers=[tracker])
    exp.run(generations=2)
    exp.step()
    exp.close()
    assert [what for what, _ in tracker.heard] == ["start", "log", "log", "log", "finish"]
    config = tracker.heard[0][1]
    assert config["seed"] == 1
    assert config["run_name"] == "DQN-CartPole-v1-1"
    assert config["resumed"] == 0
    json.dumps(config)  # plain values
    assert [g.number for what, g in tracker.heard if what == "log"] == [1, 2, 3]


@pytest.mark.parametrize("method", ["start", "log"])
def test_a_failing_tracker_is_reported_once_and_never_stops_training(method):
    failing, sound = Listening(fail_in=method), Listening()
    exp = experiment(trackers=[failing, sound])
    with pytest.warns(
        UserWarning, match=r"tracker Listening failed.*ConnectionError: the server is away"
    ) as caught:
        exp.run(generations=3)
    assert len([w for w in caught if "tracker" in str(w.message)]) == 1
    assert exp.generation == 3
    assert len(sound.heard) == 4
    assert "the server is away" in exp._trackers.failed["Listening"]


def test_a_failing_tracker_does_not_stop_training_where_warnings_are_errors(capsys):
    exp = experiment(trackers=[Listening(fail_in="log")])
    exp.step()  # this suite turns warnings into errors
    assert exp.generation == 1
    assert "training goes on" in capsys.readouterr().err


def test_an_unknown_tracker_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown tracker 'wandbb'.*did you mean 'wandb'"):
        experiment(trackers=["wandbb"])
    with pytest.raises(TypeError, match=r"has no method start\(\)"):
        Trackers([3])


@pytest.mark.parametrize(
    ("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboard"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package):
    real = builtins.__import__

    def without(module, *arguments, **options):
        if module.split(".")[0] == package or module == f"torch.utils.{package}":
            raise ImportError(f"No module named {module}")
        return real(module, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=rf'needs {package}: pip install "evolab\[{name}\]"'):
        tracker_named(name)


def test_every_tracker_is_a_line_of_the_registry_and_a_file_of_its_own():
    files = {name.lower(): module.rpartition(".")[2] for name, module in registry.PARTS["tracker"].items()}
    assert files == {name: name for name in ("csv", "jsonl", "tensorboard", "wandb", "mlflow")}
    assert type(tracker_named("csv")) is CSV


def test_agents_are_rows_of_a_csv_file_and_a_loaded_run_goes_on_in_it(tmp_path):
    exp = experiment(folder=tmp_path / "run", trackers=["csv", "jsonl"])
    exp.run(generations=3)
    exp.close()
    again = ev.Experiment.load(tmp_path / "run", generation=2)
    again.run(generations=2)
    again.close()
    with (tmp_path / "run" / "tracked.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["generation"]) for row in rows] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    last = again.history.generations[-1].best
    assert float(rows[-3]["fitness"]) == last.fitness
    assert float(rows[-3]["lr"]) == last.hyperparameters["lr"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "tracked.jsonl").read_text().splitlines()]
    assert [line["generation"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["births"][0].keys() == {"generation", "agent", "parent", "kind", "detail", "change"}


def test_files_have_a_place_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exp = experiment(trackers=["csv", JSONL(tmp_path / "deep" / "mine.jsonl"), CSV(tmp_path / "b.csv")])
    exp.step()
    exp.close()
    assert sorted(os.listdir(tmp_path)) == ["DQN-CartPole-v1-1.csv", "b.csv", "deep"]


def test_tensorboard_event_files_hold_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard")
    exp = experiment(folder=tmp_path / "run", trackers=["tensorboard"])
    exp.run(generations=3)
    exp.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = events.Scalars("fitness/best")
    assert [event.step for event in logged] == [g.total_steps for g in exp.history]
    assert [event.value for event in logged] == pytest.approx([g.fitness for g in exp.history])
    assert "agent/2/lr" in events.Tags()["scalars"]
    assert "agents/lr" in events.Tags()["histograms"]
    assert any(tag.startswith("births") for tag in events.Tags()["tensors"])


def test_mlflow_store_holds_what_was_logged(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    from evolab.reporting.trackers.mlflow import MLflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    exp = experiment(trackers=[MLflow(uri)])
    exp.run(generations=2)
    exp.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("evolab").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "1"
    values = [
        m.value
        for m in sorted(client.get_metric_history(run.info.run_id, "fitness/best"), key=lambda m: m.step)
    ]
    assert values == pytest.approx([g.fitness for g in exp.history])
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"agents.json", "mutations.json"}


@pytest.mark.filterwarnings("default")  # wandb's own deprecations
def test_wandb_offline_files_hold_what_was_logged(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from evolab.reporting.trackers.wandb import WandB

    for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    exp = experiment(folder=tmp_path / "run", trackers=[WandB(mode="offline", tags=["mine"])])
    exp.run(generations=2)
    exp.close()
    assert not exp._trackers.failed
    (path,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    for _ in range(3000):  # W&B's own process writes the file, and may be behind
        records = list(offline_records(path))
        if any(record.HasField("exit") for record in records):
            break
        time.sleep(0.1)
    (start,) = [record.run for record in records if record.HasField("run")]
    assert start.run_id == exp._checkpointer.run_id
    assert start.project == "evolab"
    assert set(start.tags) == {"DQN", "CartPole-v1", "mine"}
    config = {item.key: json.loads(item.value_json) for item in start.config.update}
    assert config["seed"] == 1
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    fitness = [row["fitness/best"] for row in history if "fitness/best" in row]
    assert fitness == pytest.approx([g.fitness for g in exp.history])
    logged = {name for row in history for name in row}
    assert {"agents", "mutations", "lineage", "agent/0/lr"} <= {name.split("/_")[0] for name in logged}


def offline_records(path):
    """The records of a W&B offline file: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def test_a_generation_as_numbers():
    exp = experiment()
    numbers = scalars(exp.step())
    assert numbers["generation"] == 1
    assert numbers["agent/0/fitness"] == numbers["fitness/best"] >= numbers["agent/2/fitness"]
    assert {type(value) for value in numbers.values()} == {float}
