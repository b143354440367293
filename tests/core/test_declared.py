"""Parts are made of what they declare: unknown options, switches and sizes that are none are answered by a sentence."""

from __future__ import annotations

import numpy as np
import pytest

import evolab as ev

SWITCHES = [
    (ev.DQN, "double"), (ev.CQN, "double"), (ev.DDPG, "ou_noise"), (ev.TD3, "ou_noise"), (ev.ILQL, "train_policy"),
    (ev.MLP, "layer_norm"), (ev.GPT, "tied"), (ev.Tournament, "elitism"), (ev.Mutations, "together"),
    (lambda **options: ev.Float(1, 2, **options), "log"), (lambda **options: ev.Integer(1, 2, **options), "log"),
    (ev.FQE, "beside_returns"), (lambda **options: ev.ReplayBuffer(10, **options), "shared"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "switch"), SWITCHES, ids=lambda part: getattr(part, "__name__", part))
def test_a_switch_is_true_or_false(make, switch):
    """`DQN(double="no")` was taken for True."""
    for value in ("no", None, 0, []):
        with pytest.raises(TypeError, match=rf"{switch} is .*; True or False is expected"):
            make(**{switch: value})
    for value in (True, np.False_):
        make(**{switch: value})


def test_a_switch_is_checked_by_its_place_too():
    with pytest.raises(TypeError, match=r"Float: log is 'yes' \(str\); True or False is expected"):
        ev.Float(1, 2, "yes")


@pytest.mark.parametrize(
    ("make", "near"),
    [
        (lambda: ev.DQN(doubel=True), "option of DQN 'doubel'.*did you mean 'double'"),
        (lambda: ev.MLP(hiden=[8]), "option of MLP 'hiden'.*did you mean 'hidden'"),
        (lambda: ev.Tournament(elitsm=True), "option of Tournament 'elitsm'.*did you mean 'elitism'"),
        (
            lambda: ev.Mutations(architectur=1),
            "option of Mutations 'architectur'.*did you mean 'architecture'",
        ),
        (lambda: ev.Float(1, 2, logg=True), "option of Float 'logg'.*did you mean 'log'"),
    ],
)
def test_an_unknown_option_of_a_part_is_answered_by_the_nearest(make, near):
    with pytest.raises(TypeError, match=near):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ev.MLP("x"), "MLP: hidden is 'x'; widths of at least 1"),
        (lambda: ev.MLP(None), "MLP: hidden is None; widths of at least 1"),
        (lambda: ev.MLP([8], max_layers=None), r"MLP: max_layers is None; a whole number is expected"),
        (lambda: ev.MLP([8], min_units="x"), r"MLP: min_units is 'x'; a whole number is expected"),
        (lambda: ev.MLP([8], activation=[]), r"MLP: activation is \[\]; known are"),
        (lambda: ev.CNN(activation=[]), r"CNN: activation is \[\]; known are"),
        (lambda: ev.CNN(max_kernel=None), r"CNN: max_kernel is None; a whole number is expected"),
        (lambda: ev.Mutations(extra=[1]), r"Mutations: extra is \[1\]; a dict of weights by name"),
        (lambda: ev.Float(1, 2, grow="x"), r"Float: grow is 'x' \(str\); expected a number"),
        (lambda: ev.ReplayBuffer(10, device="x"), "device is 'x'; 'auto', 'cpu', 'cuda' or 'meta'"),
    ],
)
def test_no_part_answers_by_python_s_own_errors(make, said):
    with pytest.raises((ValueError, TypeError), match=said):
        make()
