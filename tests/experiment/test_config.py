from __future__ import annotations

import json

import pytest

import evolab as ev
from evolab.experiment import config

VALUES = [
    ev.Float(1e-4, 1e-2, grow=1.5),
    ev.Integer(8, 512, log=False),
    ev.Choice(32, 64),
    ev.MLP([32, 16], "elu", layer_norm=True, max_units=100),
    ev.Tournament(size=3, elitism=False, window=2),
    ev.Truncation(fraction=0.5),
    ev.MFPBT(frequencies=(1, 2, 4)),
    ev.Mutations(none=0.1, sd=0.2),
    ev.TD3(ou_noise=True),
    ev.DQN(double=False),
    {"lr": ev.Float(0.1, 0.2), "list": [1, "a", None, True]},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_options_survive_json(value):
    assert config.from_plain(json.loads(json.dumps(config.to_plain(value)))) == value


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (
            {"type": "Tournamnet"},
            r"Unknown type in the configuration 'Tournamnet'. .*did you mean 'Tournament'\?",
        ),
        ({"type": "MLP", "hiden": [3]}, r"Unknown option of MLP 'hiden'. .*did you mean 'hidden'\?"),
    ],
)
def test_unknown_types_and_options_are_refused(plain, message):
    with pytest.raises(ValueError, match=message):
        config.from_plain(plain)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "{", "run.json: not well formed"),
        ("run.yaml", "a: [", "run.yaml: not well formed"),
        ("run.yaml", "- 1", "run.yaml: a mapping of options is expected, list came."),
        ("run.yaml", "!!python/object/apply:os.system ['true']", "run.yaml: not well formed"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_executed(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        config.read(tmp_path / name)


def test_yaml_and_json_give_the_same(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "algorithm: DQN\npopulation: 3\nsearch_space:\n  lr: {type: Float, low: 0.1, high: 1}\n"
    )
    (tmp_path / "run.json").write_text(
        '{"algorithm": "DQN", "population": 3, "search_space": {"lr": {"type": "Float", "low": 0.1, "high": 1}}}'
    )
    assert config.read(tmp_path / "run.yaml") == config.read(tmp_path / "run.json")
    found = config.from_plain(config.read(tmp_path / "run.yaml"))
    assert found["search_space"] == {"lr": ev.Float(0.1, 1)}
