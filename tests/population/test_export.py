"""Agents leave the house: the exported program answers as the agent does."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core.composite_actions import together
from evolab.core.trees import map_leaves
from evolab.population import export as exporting

CASES = {
    "TD3": ("TD3", spaces.Box(-np.inf, np.inf, (3,)), spaces.Box(np.float32([-2, 0]), np.float32([1, 3]))),
    "DQN": ("DQN", spaces.Box(-np.inf, np.inf, (3,)), spaces.Discrete(4, start=2)),
    "SAC": ("SAC", spaces.Box(-np.inf, np.inf, (3,)), spaces.Box(np.float32([-2, 0]), np.float32([1, 3]))),
    "TQC": ("TQC", spaces.Box(-np.inf, np.inf, (3,)), spaces.Box(np.float32([-2, 0]), np.float32([1, 3]))),
    "IQL": ("IQL", spaces.Box(-np.inf, np.inf, (3,)), spaces.Box(np.float32([-2, 0]), np.float32([1, 3]))),
    "BCQ": ("BCQ", spaces.Box(-np.inf, np.inf, (3,)), spaces.Discrete(4, start=2)),
    "QRDQN": ("QRDQN", spaces.Box(-np.inf, np.inf, (3,)), spaces.Discrete(4, start=2)),
    "several": ("DQN", spaces.Discrete(6, start=1), spaces.MultiDiscrete([2, 3], start=[1, 0])),
    "uint32": ("PPO", spaces.Box(-1, 1, (2,)), spaces.Dict({"a": spaces.Box(1000, 1001, (2,), np.uint32)})),
    "dict": ("DQN", spaces.Dict({"b": spaces.Box(-1, 1, (2,)), "a": spaces.Discrete(3)}), spaces.Discrete(3)),
}


def agent_of(name):
    algorithm, observation, action = CASES[name]
    network = [12, 8]
    return ev.Population(algorithm, observation, action, 2, network=network, seed=3, device="cpu")[1].copy()


@pytest.mark.parametrize("name", CASES)
def test_a_torch_export_acts_as_the_agent(tmp_path, name):
    agent = agent_of(name)
    path = agent.export(tmp_path / "agent.pt2")
    program = torch.export.load(path).module()
    observation = exporting._examples(agent.table, 20)
    expected = together(
        agent.table.spec.action_space, agent.act(map_leaves(lambda leaf: leaf.numpy(), observation))
    )
    np.testing.assert_allclose(program(observation).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_an_onnx_file_acts_as_the_agent(tmp_path, name):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    agent = agent_of(name)
    path = agent.export(tmp_path / "agent.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["agent.onnx"]  # weights inside
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    observation = exporting._examples(agent.table, 20)
    leaves = []
    map_leaves(lambda leaf: leaves.append(leaf.numpy()), observation)
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(["action"], dict(zip(names, leaves, strict=True)))
    expected = together(
        agent.table.spec.action_space, agent.act(map_leaves(lambda leaf: leaf.numpy(), observation))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_another_suffix_is_answered_with_those_that_work(tmp_path):
    with pytest.raises(ValueError, match=r"agent\.pkl: the suffix decides the format; \.onnx or \.pt2"):
        agent_of("TD3").export(tmp_path / "agent.pkl")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(module, *arguments, **options):
        if module in ("onnx", "onnxscript"):
            raise ImportError(f"No module named {module}")
        return real(module, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "evolab\[onnx\]"'):
        agent_of("TD3").export(tmp_path / "agent.onnx")


def test_a_program_that_answers_differently_is_removed(tmp_path, monkeypatch):
    agent = agent_of("TD3")
    monkeypatch.setattr(exporting.Greedy, "forward", lambda self, observation: self.policy(observation) * 0.5)
    with pytest.raises(ValueError, match="answers differently"):
        agent.export(tmp_path / "agent.pt2")
    assert not list(tmp_path.iterdir())
