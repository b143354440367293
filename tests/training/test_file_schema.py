"""State and configuration that was edited although its checksum is right: refused with file and key."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import evolab as ev
from evolab.storage.files import Damaged
from evolab.storage.folders import self_digest
from tests.small import experiment


def signed(folder):
    """Make size and checksum of every file right again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": self_digest(manifest)}))


def edited(path, keys, value):
    """Set one value of a JSON file."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))
    signed(path.parent)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    exp = experiment()
    exp.step()
    exp.save(folder / "run")
    exp.best.save(folder / "agent")
    return folder


@pytest.fixture
def run(saved, tmp_path):
    shutil.copytree(saved / "run", tmp_path / "run")
    return tmp_path / "run"


WRONG = [
    ("generation", "1"), ("generation", 1.0), ("total_steps", -1), ("total_steps", float("nan")),
    ("evaluation_steps", None), ("next_id", 10**30), ("next_id", 0), ("elite_fitness", "high"), ("run", 3),
    ("automatic", "yes"), ("own", []), ("best", "agent"), ("agents", {}), ("agents", []), ("history", 1),
    ("versions", {"torch": 2}), ("changes", [1]), ("changes", {"agents": 5}),
    ("changes", {"agents": {"0": {"lr": [1]}}}), ("population", "many"), ("population.seed", "1"),
    ("population.dtype", 32), ("population.observation_space", 4), ("buffer.capacity", "150"),
    ("buffer.capacity", 1.5), ("buffer.length", 7), ("buffer.cursor.0", None), ("buffer.added", float("inf")),
    ("buffer.shared", 1), ("agents.0.place", "0"), ("agents.0.place", [0]), ("agents.0.place", 99),
    ("agents.0.parent", "nobody"), ("agents.0.fitness", 1.0), ("agents.0.fitness", ["good"]),
    ("agents.0.fitness", [[1.0]]), ("agents.0.steps", float("nan")), ("agents.0.updates", True),
    ("agents.0.counts", 5), ("agents.0.counts.q", float("nan")), ("agents.0.counts.q", "NaN"),
    ("agents.0.hyperparameters", [1]), ("agents.0.hyperparameters.lr", float("nan")), ("agents.0.genes", "wide"),
    ("agents.1.id", "0"), ("agents.0.resting", "no"), ("elite.fitness", None), ("best.steps", "12"),
    ("config.population", 10**30), ("config.population", 7), ("config.population", "3"), ("config.population", None),
    ("config.search_space", "wide"), ("config.search_space", {"lr": "x"}), ("config.hyperparameters", "fast"),
    ("config.hyperparameters", {"lr": float("nan")}), ("config.update_ratio", float("nan")),
    ("config.update_ratio", float("inf")), ("config.seed", -1), ("config.evolving", "no"), ("config.network", 5),
    ("config.target", "best"), ("config.device", 0), ("config.environment", 5), ("config.algorithm", 5),
    ("config.keep", 0), ("config.trackers", 3), ("config.vectorization", None), ("config.env_kwargs", [1]),
    ("config.network.hidden", "x"), ("config.network.hidden.0", []), ("config.network.activation", []),
    ("config.network.layer_norm", "no"), ("config.network.max_layers", None), ("config.algorithm.double", "no"),
    ("config.mutations.together", 0), ("config.mutations.extra", []), ("config.selection.elitism", None),
    ("config.search_space.batch_size.low", "x"), ("config.search_space.batch_size.grow", {}), ("config.data", 1),
    ("config.search_space.batch_size.log", "no"), ("config.buffer.shared", "no"), ("config.draw", [[1]]),
    ("config.device", "x"), ("config.vectorization", "x"), ("config.environment", "x"), ("config.network", "x"),
    ("population.algorithm", "x"), ("population.algorithm.double", False), ("population.network", {}),
    ("population.network.hidden", [8]), ("population.network.min_units", "x"),
    ("population.search_space.batch_size.high", "x"), ("population.observation_space.shape", None),
    ("population.observation_space.low.0", "x"), ("population.observation_space.dtype", 3),
    ("population.action_space.start", []), ("population.action_space", {}), ("versions.torch", 1), ("versions", {}),
    ("agents.0.genes", {}), ("agents.0.genes.hidden", []), ("agents.0.genes.hidden", 3),
    ("agents.0.genes.activation", ["x"]), ("agents.1.counts", {}), ("agents.1.counts.q", 1.5), ("agents", "fewer"),
    ("buffer", {}), ("buffer.fields", {}), ("buffer.fields.reward", {}), ("buffer.fields.reward.shape", "x"),
    ("buffer.fields.action.dtype", []), ("buffer.segments", []), ("buffer.segments.0.1", 1.5), ("buffer.length", []),
    ("history", {}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda part: str(part)[:20])
def test_a_wrong_value_in_the_state_is_refused_with_file_and_key(run, key, value):
    path = run / "generation-000001" / "state.json"
    parts = [int(part) if part.isdigit() else part for part in key.split(".")]
    if value == "fewer":
        value = json.loads(path.read_text())[key][:-1]
    edited(path, parts, value)
    shown = key.replace(".0", "[0]").replace(".1", "[1]")
    with pytest.raises(ValueError, match=re.escape("state.json")) as told:
        ev.Experiment.load(run)
    said = str(told.value)
    assert shown in said or shown.split(".")[-1] in said.partition(str(path))[2]
    assert str(path) in said


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        (
            "buffer.fields.observation.shape",
            [5],
            r"buffer-000\.safetensors .* as .*state\.json: buffer\.fields say",
        ),
        (
            "history.fitness.sha256",
            "x",
            r"fitness\.jsonl is damaged.* .*state\.json: history describes another",
        ),
    ],
)
def test_where_two_files_disagree_both_are_named(run, key, value, shown):
    edited(run / "generation-000001" / "state.json", key.split("."), value)
    with pytest.raises(Damaged, match=shown):
        ev.Experiment.load(run)


@pytest.mark.parametrize(
    "key", ["generation", "agents", "best", "buffer", "history", "next_id", "population"]
)
def test_a_missing_key_is_named(run, key):
    path = run / "generation-000001" / "state.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    signed(path.parent)
    with pytest.raises(Damaged, match=rf"state\.json: {key} is missing"):
        ev.Experiment.load(run)


def test_two_agents_of_one_id_are_refused(run):
    path = run / "generation-000001" / "state.json"
    first = json.loads(path.read_text())["agents"][0]["id"]
    edited(path, ["agents", 1, "id"], first)
    with pytest.raises(Damaged, match=rf"agents\[1\].id is {first}, as is another agent's"):
        ev.Experiment.load(run)


@pytest.mark.parametrize(
    "key", ["agent.steps", "agent.fitness", "agent.id", "search_space", "seed", "agent.place"]
)
def test_a_wrong_value_in_an_agent_is_refused_with_file_and_key(saved, tmp_path, key):
    shutil.copytree(saved / "agent", tmp_path / "agent")
    edited(tmp_path / "agent" / "agent.json", key.split("."), "wrong")
    with pytest.raises(ValueError, match=rf"agent\.json: {re.escape(key)} is 'wrong' \(str\)"):
        ev.Agent.load(tmp_path / "agent")


def test_an_agent_whose_scales_are_not_spoken_of_is_refused(tmp_path):
    """It was loaded, and acted on observations as they came."""
    exp = experiment("TD3", normalise=True)
    exp.step()
    exp.best.save(tmp_path / "agent")
    exp.save(tmp_path / "run")
    for name, key in (
        ("agent/agent.json", ["normalise"]),
        ("run/generation-000001/state.json", ["population", "normalise"]),
    ):
        edited(tmp_path / name, key, [])
        with pytest.raises(Damaged, match=r"does not fit its tensors: they have .*normalise is \[\]"):
            ev.load(tmp_path / name.partition("/")[0])


def test_tensors_of_nan_are_told(saved, tmp_path):
    shutil.copytree(saved / "agent", tmp_path / "agent")
    path = tmp_path / "agent" / "agent.safetensors"
    tensors = load_file(path)
    save_file({name: torch.full_like(value, torch.nan) for name, value in tensors.items()}, path)
    signed(tmp_path / "agent")
    with pytest.warns(
        UserWarning, match=r"agent\.json: agent \(id \d+\) has values that are not finite in q, q\.target"
    ):
        ev.Agent.load(tmp_path / "agent")


def test_a_generation_under_the_name_of_another_is_refused(run):
    (run / "generation-000001").rename(run / "generation-000004")
    with pytest.raises(
        Damaged, match=r"generation-000004.state\.json: generation is 1, but the folder is named after 4"
    ):
        ev.Experiment.load(run)


def test_a_copied_generation_gives_way_to_the_one_that_is_what_it_says(run):
    shutil.copytree(run / "generation-000001", run / "generation-000009")
    with pytest.warns(UserWarning, match=r"named after 9\. Generation 1 is used instead"):
        assert ev.Experiment.load(run).generation == 1


def test_a_configuration_in_a_file_is_refused_with_file_and_key(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("environment: CartPole-v1\nupdate_ratio: .nan\n")
    with pytest.raises(
        ValueError, match=r"config\.yaml: update_ratio is nan \(float\); a finite number is expected"
    ):
        ev.Experiment.from_config(path)
    path.write_text("environment: CartPole-v1\nnetwork: {type: MLP, hiden: [8]}\n")
    with pytest.raises(ValueError, match=r"config\.yaml: network: Unknown option of MLP 'hiden'"):
        ev.Experiment.from_config(path)
