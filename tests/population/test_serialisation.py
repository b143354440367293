"""Agents on disk: everything comes back, nothing can execute, damage is named."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.algorithms.dqn import DQN
from evolab.core import spaces as described
from evolab.core.experience import Transition
from evolab.storage.files import Damaged
from evolab.storage.folders import self_digest

SPACES = [
    spaces.Box(-1, np.inf, (3,)),
    spaces.Box(np.float32([-2, -1]), np.float32([1, 3])),
    spaces.Box(0, 255, (4, 4, 3), np.uint8),
    spaces.Discrete(5, start=2),
    spaces.MultiDiscrete([2, 3], start=[1, 0]),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 3]),
    spaces.Dict({"b": spaces.Discrete(3), "a": spaces.Box(-np.inf, np.inf, (2,), np.float64)}),
    spaces.Tuple([spaces.Discrete(3), spaces.Dict({"x": spaces.MultiBinary(2)})]),
    spaces.Discrete(5, start=1, dtype=np.uint8),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_comes_back_from_json(space):
    text = json.dumps(described.to_json(space), allow_nan=False)
    back = described.from_json(json.loads(text))
    assert back == space
    if isinstance(space, spaces.Dict):
        assert list(back) == list(space)  # the order of the features


@pytest.mark.parametrize(
    "value",
    [
        {"type": "Box", "shape": [10**6, 10**6], "dtype": "float32", "low": 0, "high": 1},
        {"type": "Discrete", "n": 10**15, "start": 0},
        {"type": "Box", "shape": [2], "dtype": "object", "low": 0, "high": 1},
        {"type": "os.system"},
        [],
        None,
    ],
)
def test_an_absurd_space_is_refused(value):
    with pytest.raises(ValueError, match="space"):
        described.from_json(value)


def taught(algorithm="TD3", observation=SPACES[0], action=SPACES[1], dtype=torch.float32):
    """A population of three that has learnt a little."""
    population = ev.Population(
        algorithm, observation, action, 3, network=[20, 12], seed=3, dtype=dtype, device="cpu"
    )
    batch = batch_of(population, seed=0)
    for _ in range(4):
        population.learn(batch)
    return population


def batch_of(population, seed, agents=3, size=16):
    stream = np.random.default_rng(seed)
    lead = (agents, size)

    def draw(space):
        if isinstance(space, spaces.Dict):
            return {key: draw(part) for key, part in space.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(draw(part) for part in space)
        if isinstance(space, spaces.Box):
            return stream.uniform(0, 1, (*lead, *space.shape)).astype(space.dtype)
        if isinstance(space, spaces.MultiBinary):
            return stream.integers(0, 2, (*lead, *space.shape))
        return stream.integers(0, space.n, lead) + space.start

    zeros = np.zeros(lead, dtype=bool)
    observation, following = draw(population.observation_space), draw(population.observation_space)
    reward = stream.normal(size=lead).astype("f")
    return Transition(
        observation, draw(population.action_space), reward, following, zeros, zeros, following, ~zeros
    )


def first(batch):
    """The batch of the first agent alone."""
    from evolab.core.trees import map_leaves

    fields = {name: getattr(batch, name) for name in Transition.__slots__}
    return Transition(**{k: map_leaves(lambda x: x[0], v) for k, v in fields.items() if v is not None})


CASES = [
    ("TD3", SPACES[0], SPACES[1], torch.float32),
    ("DDPG", SPACES[0], SPACES[1], torch.float64),
    ("DQN", SPACES[7], spaces.Discrete(3), torch.float32),
]


@pytest.mark.parametrize(
    ("algorithm", "observation", "action", "dtype"), CASES, ids=["TD3", "DDPG64", "DQN-Dict"]
)
def test_a_loaded_agent_is_the_same_bit_for_bit_and_learns_on(
    tmp_path, algorithm, observation, action, dtype
):
    population = taught(algorithm, observation, action, dtype)
    agent = population[1].copy()
    agent.save(tmp_path / "agent")
    loaded = ev.Agent.load(tmp_path / "agent")
    batch = first(batch_of(population, seed=9))
    noise = torch.randn(16, 2, dtype=dtype) if algorithm == "TD3" else None
    np.testing.assert_array_equal(agent.act(batch.observation), loaded.act(batch.observation))
    for _ in range(3):
        assert agent.learn(batch, noise) == loaded.learn(batch, noise)
    np.testing.assert_array_equal(agent.act(batch.observation), loaded.act(batch.observation))
    for name, value in agent.table.items():
        assert torch.equal(value, loaded.table[name]), name
    assert agent.describe().keys() == loaded.describe().keys()


def test_everything_known_of_an_agent_comes_back(tmp_path):
    population = taught()
    individual = population.individuals[2]
    individual.fitness, individual.steps, individual.parent = [1.5, float("nan")], 77, 1
    population[2].save(tmp_path / "agent")
    loaded = ev.Agent.load(tmp_path / "agent").individual()
    for name in ("id", "parent", "genes", "hyperparameters", "steps", "updates"):
        assert getattr(loaded, name) == getattr(individual, name), name
    assert loaded.fitness[0] == 1.5
    assert np.isnan(loaded.fitness[1])


def test_saving_again_replaces_the_agent_and_keeps_what_the_user_put_there(tmp_path):
    population = taught()
    population[0].save(tmp_path / "agent")
    (tmp_path / "agent" / "lander.gif").write_bytes(b"GIF")
    population[2].save(tmp_path / "agent")
    assert ev.Agent.load(tmp_path / "agent").id == population[2].id
    assert (tmp_path / "agent" / "lander.gif").read_bytes() == b"GIF"
    assert os.listdir(tmp_path) == ["agent"]


def test_a_foreign_folder_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="holds no evolab agent"):
        taught()[0].save(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_missing_agent_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no agent at"):
        ev.Agent.load(tmp_path / "nobody")


def test_an_algorithm_of_ones_own_must_be_passed_in(tmp_path):
    class Mine(DQN):
        """A user's own."""

    population = taught(Mine(double=False), SPACES[0], spaces.Discrete(3))
    population[0].save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"'Mine' is not evolab's own.*algorithm=Mine"):
        ev.Agent.load(tmp_path / "agent")
    assert isinstance(ev.Agent.load(tmp_path / "agent", algorithm=Mine()).algorithm, Mine)


def test_every_truncation_and_flip_is_named(tmp_path):
    taught()[0].save(tmp_path / "agent")
    stream = np.random.default_rng(0)
    for path in [p for p in (tmp_path / "agent").iterdir() if p.suffix in (".json", ".safetensors")]:
        whole = path.read_bytes()
        damaged = [whole[: len(whole) * percent // 100] for percent in range(0, 100, 5)]
        for place in stream.integers(0, len(whole), 25).tolist():
            damaged.append(whole[:place] + bytes([whole[place] ^ 0x04]) + whole[place + 1 :])
        for data in damaged:
            path.write_bytes(data)
            with pytest.raises(ValueError, match="agent"):
                ev.Agent.load(tmp_path / "agent")
        path.write_bytes(whole)
    ev.Agent.load(tmp_path / "agent")


def test_links_and_escaping_names_are_refused(tmp_path):
    taught()[0].save(tmp_path / "agent")
    weights = tmp_path / "agent" / "agent.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged, match=r"agent\.safetensors is not a plain file; links"):
        ev.Agent.load(tmp_path / "agent")
    (tmp_path / "linked").symlink_to(tmp_path / "agent")
    with pytest.raises(Damaged, match="links are not followed"):
        ev.Agent.load(tmp_path / "linked")
    manifest = tmp_path / "agent" / "manifest.json"
    for name in ("../elsewhere", "/etc/passwd", "a/b", "..", "a\\b"):
        content = {"format": 1, "kind": "agent", "files": {name: {}}}
        manifest.write_text(json.dumps(content | {"sha256": self_digest(content)}))
        with pytest.raises(Damaged, match="no plain file name"):
            ev.Agent.load(tmp_path / "agent")


def test_a_newer_format_is_refused_with_advice(tmp_path):
    taught()[0].save(tmp_path / "agent")
    manifest = tmp_path / "agent" / "manifest.json"
    content = json.loads(manifest.read_text()) | {"format": 99}
    manifest.write_text(json.dumps(content | {"sha256": self_digest(content)}))
    with pytest.raises(ValueError, match=r"format 99.*pip install --upgrade"):
        ev.Agent.load(tmp_path / "agent")


def rewritten(folder: Path, change) -> None:
    """Change agent.json and make its checksum right again, as an attacker would."""
    import hashlib

    path, manifest = folder / "agent.json", folder / "manifest.json"
    about = json.loads(path.read_text())
    change(about)
    data = json.dumps(about).encode()
    path.write_bytes(data)
    listed = json.loads(manifest.read_text())
    listed["files"]["agent.json"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_text(json.dumps(listed | {"sha256": self_digest(listed)}))


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about["network"].update(hidden=[10**6, 10**6]),
        lambda about: about["observation_space"].update(shape=[10**9]),
        lambda about: about["agent"]["genes"].update(hidden=[10**8, 10**8]),
        lambda about: about["agent"]["hyperparameters"].update(lr_actor=float(10**9)),
        lambda about: about["agent"].pop("genes"),
        lambda about: about.update(algorithm={"type": "os.system", "command": "true"}),
        lambda about: about.update(dtype="load"),
        lambda about: about.update(network={"type": "Mutations"}),
    ],
)
def test_a_hostile_description_is_refused_before_it_costs_anything(tmp_path, change):
    taught()[0].save(tmp_path / "agent")
    rewritten(tmp_path / "agent", change)
    with pytest.raises((ValueError, TypeError), match=r"agent\.json"):
        ev.Agent.load(tmp_path / "agent")


class Canary:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (self.trace,))


def test_no_pickle_is_ever_opened(tmp_path):
    taught()[0].save(tmp_path / "agent")
    trace = tmp_path / "executed"
    canary = pickle.dumps(Canary(str(trace)))
    for name in ("agent.safetensors", "agent.json", "manifest.json"):
        path = tmp_path / "agent" / name
        whole = path.read_bytes()
        path.write_bytes(canary)
        with pytest.raises(ValueError, match=name.split(".")[0]):
            ev.Agent.load(tmp_path / "agent")
        path.write_bytes(whole)
    for name in ("data.pkl", "agent.pt", "agent.pickle"):
        (tmp_path / "agent" / name).write_bytes(canary)
    ev.Agent.load(tmp_path / "agent")
    assert not trace.exists()
    pickle.loads(canary)
    assert trace.exists()  # it does sing where a pickle is opened


def test_the_card_escapes_what_a_name_may_carry(tmp_path):
    from evolab.population.model_card import _cell

    assert _cell("<script>|\n") == "&lt;script&gt;\\| "
    taught()[0].save(tmp_path / "agent")
    text = (tmp_path / "agent" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: evolab\n")
    assert "lr_actor" in text
