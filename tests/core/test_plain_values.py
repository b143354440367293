from __future__ import annotations

import json

import pytest

import evolab as ev
from evolab.core.plain_values import from_plain, to_plain

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
    assert from_plain(json.loads(json.dumps(to_plain(value)))) == value


def test_an_option_that_has_become_a_hyperparameter_is_read_and_named_where_it_said_something():
    assert from_plain({"type": "DQN", "double": False, "persistence": 1}) == ev.DQN(double=False)
    with pytest.warns(
        UserWarning, match=r"DQN\(persistence=8\) was read as 1: persistence is a hyperparameter now"
    ):
        assert from_plain({"type": "DQN", "persistence": 8}) == ev.DQN()


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
        from_plain(plain)
