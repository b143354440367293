"""Agents answer the same whatever order a dict's keys come in, and say what is wrong with an observation."""

from __future__ import annotations

from collections import OrderedDict
from itertools import permutations
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.core.experience import Episodes
from tests.small import experiment

PLAIN = spaces.Dict({"a": spaces.Box(-1, 1, (3,)), "b": spaces.Discrete(4)})
NESTED = spaces.Dict(
    {
        "eye": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        "inner": spaces.Dict({"z": spaces.Box(-1, 1, (2,)), "y": spaces.Tuple([spaces.Discrete(3), PLAIN])}),
    }
)
OWN_ORDER = spaces.Dict(OrderedDict([("z", spaces.Box(-1, 1, (2,))), ("a", spaces.Box(-1, 1, ()))]))
SPACES = {"plain": PLAIN, "nested": NESTED, "own": OWN_ORDER}
EACH = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def turned(value):
    """The same observation with the keys of every dict the other way round."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(list(value))}
    return tuple(map(turned, value)) if isinstance(value, tuple) else value


def stacked(parts):
    if isinstance(parts[0], dict):
        return {key: stacked([part[key] for part in parts]) for key in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(stacked(list(column)) for column in zip(*parts, strict=True))
    return np.stack([np.asarray(part) for part in parts])


def drawn(space, count):
    space.seed(1)
    return [space.sample() for _ in range(count)]


@EACH
@pytest.mark.parametrize("algorithm", ["DQN", "TD3", "PPO"])
def test_the_order_of_keys_changes_nothing(space, algorithm, tmp_path):
    actions = spaces.Discrete(5) if algorithm == "DQN" else spaces.Box(-1, 1, (2,))
    agent = ev.Population(algorithm, space, actions, 1, seed=0, device="cpu")[0]
    agent.save(tmp_path / "agent")
    loaded = ev.Agent.load(tmp_path / "agent")
    singles = drawn(space, 6)
    batch = stacked(singles)
    expected = agent.act(batch)
    assert len({tuple(np.ravel(row)) for row in expected}) > 1  # or the test could not fail
    for actor in (agent, loaded):
        assert np.array_equal(actor.act(turned(batch)), expected)
        for one, row in zip(singles, expected, strict=True):
            assert np.allclose(actor.act(turned(one)), row, atol=1e-6)
            assert np.allclose(actor.act(turned(one)), actor.act(one), atol=1e-6)


@pytest.mark.parametrize("suffix", [".pt2"])
def test_an_exported_program_does_not_depend_on_the_order_either(tmp_path, suffix):
    agent = ev.Population("TD3", PLAIN, spaces.Box(-1, 1, (2,)), 1, seed=0, device="cpu")[0]
    program = torch.export.load(agent.export(tmp_path / f"agent{suffix}")).module()
    batch = stacked(drawn(PLAIN, 5))
    seen = {"b": torch.from_numpy(batch["b"]), "a": torch.from_numpy(batch["a"])}
    assert np.allclose(program(seen).numpy(), agent.act(batch), atol=1e-6)
    assert np.allclose(agent.module()(seen).detach().numpy(), agent.act(batch), atol=1e-6)


def test_a_torch_program_of_nested_parts_answers_rightly_or_not_at_all(tmp_path):
    """torch.export wants the keys of a Dict inside a Dict in one order; `ordered` of the page about exports gives it."""
    page = (Path(ev.__file__).parents[1] / "tutorials" / "pages" / "howto" / "export.md").read_text("utf-8")
    names: dict[str, object] = {"gymnasium": gymnasium}
    exec(page[page.index("def ordered") : page.index("policy = torch")], names)
    two = spaces.Box(-1, 1, (2,))
    space = spaces.Dict({"x": spaces.Dict({"a": two, "b": two}), "y": spaces.Box(-1, 1, (1,)), "z": two})
    agent = ev.Population("TD3", space, two, 1, network=[8], seed=0, device="cpu")[0]
    program = torch.export.load(agent.export(tmp_path / "agent.pt2")).module()
    seen = {key: stacked([one[key] for one in drawn(space, 5)]) for key in space}
    expected, refused = agent.act(seen), 0
    inner = {key: torch.from_numpy(part) for key, part in seen["x"].items()}
    for keys in permutations(space):
        for within in permutations(inner):
            parts = {
                key: {k: inner[k] for k in within} if key == "x" else torch.from_numpy(seen[key])
                for key in keys
            }
            assert np.allclose(program(names["ordered"](space, parts)).numpy(), expected, atol=1e-6)
            try:
                assert np.allclose(program(parts).numpy(), expected, atol=1e-6)
            except ValueError:
                refused += 1
    assert refused, "torch takes every order now: the page and the docstring need not speak of it"


def test_an_onnx_file_names_its_inputs_so_that_their_order_does_not_matter(tmp_path):
    for module in ("onnx", "onnxscript"):
        pytest.importorskip(module)
    runtime = pytest.importorskip("onnxruntime")
    space = spaces.Dict(
        {"a": spaces.Dict({"b": spaces.Box(-1, 1, (2,))}), "a_b": spaces.Box(-1, 1, (2,)),
         "c": spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(3)])}
    )  # fmt: skip
    agent = ev.Population("TD3", space, spaces.Box(-1, 1, (2,)), 1, seed=0, device="cpu")[0]
    session = runtime.InferenceSession(
        agent.export(tmp_path / "agent.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    batch = stacked(drawn(space, 5))
    seen = {
        "observation['c'][1]": batch["c"][1],
        "observation['a_b']": batch["a_b"],
        "observation['c'][0]": batch["c"][0],
        "observation['a']['b']": batch["a"]["b"],
    }
    assert {one.name for one in session.get_inputs()} == set(seen)
    (found,) = session.run(None, seen)
    assert np.allclose(found, agent.act(batch), atol=1e-6)


@EACH
def test_a_population_acts_in_any_order(space):
    population = ev.Population("DQN", space, spaces.Discrete(5), 2, seed=0, device="cpu")
    rows = stacked([stacked(drawn(space, 6)[:3]), stacked(drawn(space, 6)[3:])])
    assert np.array_equal(population.act(turned(rows), explore=False), population.act(rows, explore=False))


CHOICES = spaces.Tuple(
    [spaces.Discrete(3, start=-1), spaces.MultiDiscrete([2, 3], start=[0, 5]), spaces.MultiBinary(2)]
)
AGENT_OF = {"box": spaces.Box(-1, 1, (3,)), "dict": PLAIN, "choices": CHOICES}
WRONG = {
    "(obs, info)": (
        "box",
        (np.zeros(3), {}),
        r"is a tuple of ndarray, dict; its space is Box.*pass the observation",
    ),
    "None": ("box", None, r"observation is None; its space is Box"),
    "shape": ("box", np.zeros(4), r"has shape \(4,\); one of Box.* has shape \(3,\)"),
    "too many axes": ("box", np.zeros((2, 5, 3)), r"shape \(2, 5, 3\); one observation of Box"),
    "text": ("box", "left", r"observation is 'left' \(str\)"),
    "texts": ("box", np.array(["a", "b", "c"]), r"an array of <U1 of shape \(3,\); its space is Box"),
    "complex numbers": ("box", np.zeros(3, complex), r"an array of complex128 of shape \(3,\)"),
    "a complex tensor": (
        "box",
        torch.zeros(3, dtype=torch.complex64),
        r"an array of torch.complex64 of shape",
    ),
    "an array for a dict": ("dict", np.zeros(3), r"an array of shape \(3,\); its space has the keys a, b"),
    "a pair for a dict": (
        "dict",
        ({"a": np.zeros(3)}, {}),
        r"a tuple of dict, dict; .* the keys a, b\. .* pass the obs",
    ),
    "a missing key": ("dict", {"a": np.zeros(3)}, r"a dict of 'a'; its space has the keys a, b"),
    "a wrong part": ("dict", {"b": 1, "a": np.zeros(2)}, r"observation\['a'\] has shape \(2,\)"),
    "no choice of it": ("dict", {"b": 4, "a": np.zeros(3)}, r"\['b'\] holds 4, which Discrete\(4\) does not"),
    "one of a batch": (
        "dict",
        {"b": np.array([0, -1]), "a": np.zeros((2, 3))},
        r"observation\['b'\] holds -1, which",
    ),
    "half a choice": ("dict", {"b": 1.5, "a": np.zeros(3)}, r"observation\['b'\] holds 1\.5"),
    "a choice that is NaN": ("dict", {"b": np.nan, "a": np.zeros(3)}, r"holds nan, which Discrete"),
    "above a start": ("choices", (2, np.array([0, 5]), np.array([0, 1])), r"\[0\] holds 2, which Discrete"),
    "below a start": ("choices", (0, np.array([0, 4]), np.array([0, 1])), r"\[1\] holds 4, which MultiD"),
    "no bit": ("choices", (0, np.array([0, 5]), torch.tensor([0, 2])), r"\[2\] holds 2, which MultiBinary"),
    "half a batch": (
        "dict",
        {"b": 1, "a": np.zeros((5, 3))},
        r"in a batch of shape \(\), another part .* in \(5,\)",
    ),
}


@pytest.mark.parametrize(("kind", "observation", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_an_observation_is_said(kind, observation, message):
    agent = ev.Population("DQN", AGENT_OF[kind], spaces.Discrete(2), 1, seed=0, device="cpu")[0]
    with pytest.raises(ValueError, match=message):
        agent.act(observation)


def test_every_choice_of_a_space_is_taken():
    agent = ev.Population("DQN", CHOICES, spaces.Discrete(2), 1, seed=0, device="cpu")[0]
    for first in (-1, 0, 1):
        for pair in ([0, 5], [1, 7]):
            assert agent.act((first, np.array(pair), np.array([0, 1]))) in (0, 1)
    assert agent.act((np.array([-1, 1.0]), np.array([[0, 5], [1, 7]]), np.zeros((2, 2)))).shape == (2,)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (None, r"observation is None"),
        ((np.zeros(3, int), {}), r"observation is a tuple of ndarray, dict.*pass the observation alone"),
        (
            np.array([99]),
            r"observation is an array of shape \(1,\); it holds 99 to 99\. Expected tokens \(T,\)",
        ),
        (np.array([3, -1]), r"it holds -1 to 3\. .* whole numbers from 0 to 13, one at least"),
        (torch.tensor([1.5]), r"it holds 1\.5 to 1\.5"),
        (np.zeros(0, int), r"observation is an array of shape \(0,\)\. Expected tokens"),
        (np.array(1), r"observation is an array of shape \(\); it holds 1 to 1\. Expected tokens"),
        (np.zeros((2, 2, 2), int), r"observation has shape \(2, 2, 2\)"),
        (np.ones(21, int), r"observation is an array of shape \(21,\); .* one at least and 16 at most"),
        (np.ones((2, 17), int), r"observation is an array of shape \(2, 17\); .* and 16 at most"),
    ],
)
def test_what_is_wrong_with_tokens_is_said(tokens, message):
    exp = experiment("BC")
    with pytest.raises(ValueError, match=message):
        exp.population[0].act(tokens)
    assert exp.population[0].act(np.array([0, 13])) in range(3)
    assert exp.population[0].act(torch.tensor([[0, 13], [1, 2]])).shape == (2,)
    exp.close()


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
def test_tokens_so_far_are_answered_behind_the_last_of_them(algorithm):
    """The last token was taken for pad: whoever gave three tokens was told what follows two."""
    exp = experiment(algorithm)
    agent, length = exp.population[0], 16
    pad = ev.envs.WordGame(["abc", "cab", "bca", "bac"], letters=3, tries=3, alphabet="abc").tokenizer.pad
    others = np.setdiff1d(np.arange(14), pad)
    stream = np.random.default_rng(0)
    for count in range(1, 12):
        tokens = stream.choice(others, (3, count))
        whole = np.full((3, length), pad)
        whole[:, :count] = tokens
        assert agent.act(tokens).tolist() == agent.act(whole).tolist()
        assert exp.population.act(tokens[:, None])[0, 0] == agent.act(tokens[0])
    if algorithm == "BC":  # acts by its network alone
        logits = agent.module()(torch.from_numpy(tokens))[:, -1]
        low = int(exp.population.action_space.start)
        among = logits[:, low : low + int(exp.population.action_space.n)]
        assert (agent.act(tokens) - low).tolist() == among.argmax(-1).tolist()
    exp.close()


def episodes(tokens=1, length=None, shape=(3, 4, 16), **parts):
    """As `population.learn` takes them."""
    values = {
        "tokens": torch.full(shape, tokens), "action_mask": torch.ones(shape, dtype=torch.bool),
        "reward": torch.zeros(shape), "terminated": torch.ones(shape[:-1]),
        "length": torch.full(shape[:-1], length or shape[-1]),
    }  # fmt: skip
    return Episodes(**values | parts)


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
def test_what_is_wrong_with_episodes_is_said(algorithm):
    """A token out of the vocabulary was an index error inside; too long ones were said to have a token fewer."""
    exp = experiment(algorithm)
    for wrong, message in (
        (episodes(shape=(3, 4, 21)), r"tokens is an array of shape \(3, 4, 21\); .* and 16 at most"),
        (episodes(99), r"it holds 99 to 99\. .* whole numbers from 0 to 13"),
        (episodes(-1), r"it holds -1 to -1"),
        (episodes(1.5), r"it holds 1\.5 to 1\.5"),
        (episodes(1.0), r"tokens is torch\.float32; whole numbers \(int64\) are expected"),
        (episodes(length=19), r"length goes from 19 to 19; there are 16 tokens"),
        (episodes(action_mask=torch.ones(3, 4, 15)), r"action_mask has shape \(3, 4, 15\); tokens of shape"),
        (episodes(shape=(2, 4, 16)), r"reward has shape \(2, 4, 16\); \[P, B\] with P = 3 is expected"),
        (episodes(shape=(4, 16)), r"reward has shape \(4, 16\); \[P, B, T\] with P = 3 is expected"),
    ):
        with pytest.raises(ValueError, match=message):
            exp.population.learn(wrong)
    with pytest.raises(ValueError, match=r"shape \(1, 4, 16\); \[B, T\] for one agent is expected"):
        exp.population[0].learn(episodes(shape=(1, 4, 16)))
    assert np.isfinite(exp.population[0].learn(episodes(shape=(4, 16)))["policy"])
    assert bool(torch.isfinite(exp.population.learn(episodes())["policy"]).all())
    exp.close()
