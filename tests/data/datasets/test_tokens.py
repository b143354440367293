"""Tokenizers and episodes of tokens: what is stored comes back, what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from evolab.data.datasets.columns import DatasetError
from evolab.data.datasets.token_arrays import TokenEpisode
from evolab.data.datasets.tokenizer import Tokenizer
from evolab.data.datasets.tokens import TokenDataset

FIELDS = ("tokens", "action_mask", "rewards", "terminated", "length")
TOKENIZER = Tokenizer(["a", "b", "aB", "<start>", "<pad>"])


def episode(start, said, terminated=True):
    """`said` is a list of (token, reward) for the agent, or of a token for the environment."""
    one = TokenEpisode(start, terminated=terminated)
    for part in said:
        if isinstance(part, tuple):
            one.say(*part)
        else:
            one.hear([part])
    return one


@pytest.fixture
def data():
    long = episode("x", [3, (0, 0.0), (1, -1.0), 2, (0, 0.5), (0, 0.25)])
    return TokenDataset.of([long, episode({"seed": 1}, [3, (1, 0.0)], False)], TOKENIZER, "toy")


def same(one, other):
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)
    rest = ("starts", "vocabulary", "pad", "environment")
    assert all(getattr(one, name) == getattr(other, name) for name in rest)


def test_text_is_cut_into_the_longest_names():
    assert TOKENIZER.encode("aBab a<start>") == [2, 0, 1, 0, 3]
    assert TOKENIZER.decode([3, 0, 4, 1]) == "<start>ab"


def test_text_without_a_name_is_told():
    with pytest.raises(ValueError, match="'abc': no name of the vocabulary begins at 'c'"):
        TOKENIZER.encode("abc")


@pytest.mark.parametrize("names", [["a", "a", "<pad>"], ["", "<pad>"]])
def test_a_vocabulary_of_equal_or_empty_names_is_refused(names):
    with pytest.raises(ValueError, match="twice or empty"):
        Tokenizer(names)


def test_a_vocabulary_without_pad_is_refused():
    with pytest.raises(ValueError, match="no '<pad>'"):
        Tokenizer(["a"])


def test_episodes_become_rows_filled_up_on_the_right(data):
    assert data.tokens.tolist() == [[3, 0, 1, 2, 0, 0], [3, 1, 4, 4, 4, 4]]
    assert data.action_mask.tolist() == [[False, True, True, False, True, True], [False, True] + [False] * 4]
    assert data.rewards.tolist() == [[0, 0, -1, 0, 0.5, 0.25], [0] * 6]
    assert (data.length.tolist(), data.terminated.tolist()) == ([6, 2], [True, False])
    assert [getattr(data, name).dtype for name in FIELDS] == [
        torch.int64, torch.bool, torch.float32, torch.bool, torch.int64,
    ]  # fmt: skip
    assert (data.returns.tolist(), data.mean_return, data.block, len(data)) == ([-0.25, 0], -0.125, 6, 2)


def test_some_of_the_episodes_in_every_way_of_asking(data):
    for index in (1, -1, slice(1, 2), [1], torch.tensor([1]), torch.tensor([False, True])):
        assert data[index].starts == ({"seed": 1},)
        assert data[index].tokens.tolist() == [data.tokens[1].tolist()]
    assert len(data[[]]) == 0
    with pytest.raises(IndexError):
        data[2]
    assert [one.starts for one in data] == [("x",), ({"seed": 1},)]


def test_a_split_loses_nothing(data):
    many = TokenDataset.concatenate([data] * 10)
    left, right = many.split(0.9, seed=1)
    assert (len(left), len(right)) == (18, 2)
    assert sorted([*left.length.tolist(), *right.length.tolist()]) == sorted(many.length.tolist())


def test_data_sets_of_different_width_are_joined(data):
    joined = TokenDataset.concatenate([TokenDataset.of([episode(1, [3, (0, 1.0)])], TOKENIZER, "toy"), data])
    assert joined.tokens[0].tolist() == [3, 0, 4, 4, 4, 4]
    same(joined[1:], data)
    with pytest.raises(DatasetError, match="different vocabularies"):
        TokenDataset.concatenate([data, replace(data, vocabulary=("a", "b", "c", "d", "e"))])


@pytest.mark.parametrize("suffix", ["json", "h5", "hdf5"])
def test_what_is_saved_comes_back(data, tmp_path, suffix):
    data.save(tmp_path / f"deep/games.{suffix}")
    same(TokenDataset.load(tmp_path / f"deep/games.{suffix}"), data)
    data[:1].save(tmp_path / f"deep/games.{suffix}")
    assert len(TokenDataset.load(tmp_path / f"deep/games.{suffix}")) == 1
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_json_is_for_people(data, tmp_path):
    stored = json.loads(data.save(tmp_path / "games.json").read_text("utf-8"))
    assert stored["episodes"][0]["turns"] == [
        {"environment": ["<start>"]},
        {"agent": ["a", "b"], "reward": -1.0},
        {"environment": ["aB"]},
        {"agent": ["a"], "reward": 0.5},
        {"agent": ["a"], "reward": 0.25},
    ]


def test_other_suffixes_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match=r"games.pkl: tokens are saved as .json, .h5, .hdf5"):
        data.save(tmp_path / "games.pkl")
    with pytest.raises(DatasetError, match=r"games.pkl: expected a file of tokens"):
        TokenDataset.load(tmp_path / "games.pkl")
    with pytest.raises(FileNotFoundError, match=r"none.h5 does not exist"):
        TokenDataset.load(tmp_path / "none.h5")


def wrong(data, **fields):
    return replace(data, **{name: torch.tensor(value) for name, value in fields.items()})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": [[3, 0, 1, 2, 0, 7], [3, 1, 4, 4, 4, 4]]}, "episode 0 has a token outside 0..4"),
        ({"tokens": [[3, 4, 1, 2, 0, 0], [3, 1, 4, 4, 4, 4]]}, r"episode 0 has pad \(4\) inside an episode"),
        ({"tokens": [[3, 0, 1, 2, 0, 0], [3, 1, 4, 4, 0, 4]]}, "episode 1 has something other than pad"),
        ({"length": [6, 0]}, "lengths 0..6 in rows of 6"),
        ({"length": [6]}, "'tokens' is torch.int64 of shape"),
        (
            {"rewards": [[0.0, 0, float("nan"), 0, 0, 0], [0] * 6]},
            "episode 0 has a reward that is not finite",
        ),
        (
            {"rewards": [[1.0, 0, 0, 0, 0, 0], [0] * 6]},
            "episode 0 has a reward where the agent chose nothing",
        ),
        ({"action_mask": [[False] * 6, [False] * 5 + [True]]}, "episode 1 has a choice after its end"),
        ({"terminated": [1, 0]}, "'terminated' is torch.int64"),
    ],
)
def test_fields_that_disagree_are_named(data, fields, message):
    changed = (
        replace(wrong(data, **fields), rewards=torch.zeros(2, 6))
        if "action_mask" in fields
        else wrong(data, **fields)
    )
    with pytest.raises(DatasetError, match=message):
        changed.checked()


def json_with(data, path, change):
    stored = json.loads(data.save(path).read_text("utf-8"))
    change(stored)
    path.write_text(json.dumps(stored), "utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(format="other"), 'games.json: no file of tokens; expected "format"'),
        (lambda s: s.update(version=9), "version 9; this evolab reads version 1"),
        (lambda s: s.pop("vocabulary"), "'vocabulary' or 'pad' is missing"),
        (
            lambda s: s.update(vocabulary=["a", "a", "<pad>"]),
            "games.json: The vocabulary has the name 'a' twice",
        ),
        (lambda s: s.pop("episodes"), "'episodes' is missing"),
        (lambda s: s["episodes"].append(3), "episode 2 is no episode"),
        (
            lambda s: s["episodes"][0]["turns"][0].update(environment=["q"]),
            "episode 0: turn 0: 'q' is not in the",
        ),
        (lambda s: s["episodes"][0]["turns"][0].update(agent=["a"]), "episode 0: turn 0 is not"),
        (
            lambda s: s["episodes"][0]["turns"][0].update(reward=1),
            "turn 0 has a reward, but the agent said nothing",
        ),
        (
            lambda s: s["episodes"][0]["turns"][1].update(reward="1"),
            "turn 1 has reward '1'; expected a number",
        ),
        (lambda s: s["episodes"][0]["turns"][1].update(reward=10**400), "turn 1 has reward 1000"),
        (lambda s: s["episodes"][0]["turns"].append({"agent": ["<pad>"]}), "episode 0 has pad"),
    ],
)
def test_damage_in_json_is_named(data, tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        TokenDataset.load(json_with(data, tmp_path / "games.json", change))


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "games.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"games.json"):
        TokenDataset.load(tmp_path / "games.json")


def test_links_are_not_followed(data, tmp_path):
    data.save(tmp_path / "games.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "games.json")
    with pytest.raises(DatasetError, match=r"link.json is not a plain file"):
        TokenDataset.load(tmp_path / "link.json")


def replace_array(file, key, value):
    del file[key]
    file[key] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__delitem__("rewards"), "games.h5: 'rewards' is missing"),
        (
            lambda f: replace_array(f, "rewards", h5py.ExternalLink("other.h5", "/x")),
            "'rewards' is an external link",
        ),
        (
            lambda f: replace_array(f, "terminated", np.array([1, 3])),
            "'terminated' holds something other than 0 and 1",
        ),
        (lambda f: replace_array(f, "tokens", np.full((2, 6), 99)), "episode 0 has a token outside"),
        (lambda f: replace_array(f, "tokens", np.zeros(6)), "'tokens' is torch.int64 of shape"),
        (lambda f: replace_array(f, "json", np.zeros(4, np.uint8)), "'json' is damaged"),
        (
            lambda f: replace_array(f, "json", np.array([b"{}"], dtype=object)),
            "dtype object; expected numbers",
        ),
    ],
)
def test_damage_in_hdf5_is_named(data, tmp_path, change, message):
    path = data.save(tmp_path / "games.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DatasetError, match=message):
        TokenDataset.load(path)


def test_a_file_cut_short_is_named(data, tmp_path):
    path = data.save(tmp_path / "games.h5")
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(DatasetError, match=r"games.h5"):
            TokenDataset.load(path)


def test_it_says_what_it_holds(data):
    assert "TokenDataset(toy)" in repr(data)
    assert "<start> a b aB a a" in repr(data)
    assert "none" in repr(data[[]])
    html = replace(data, environment="<b>")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
