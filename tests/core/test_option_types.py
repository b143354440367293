"""Parts are made of what they declare: unknown options, switches and sizes that are none are answered by a sentence."""

from __future__ import annotations

import math

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
        (lambda: ev.DQN(lr=0.1), r"option of DQN 'lr'. In evolab that is hyperparameters="),
        (lambda: ev.PPO(n_steps=8), r"option of PPO 'n_steps'. In evolab that is buffer="),
        (
            lambda: ev.Experiment("CartPole-v1", "DQN", buffer={"capcity": 8}),
            "ReplayBuffer 'capcity'.*'capacity'",
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
        (lambda: ev.MLP([8], min_units=0), r"MLP: min_units is 0; expected a whole number >= 1"),
        (
            lambda: ev.MLP([8], max_units=32.5),
            r"MLP: max_units is 32\.5 \(float\); expected a whole number >= 1",
        ),
        (lambda: ev.Recurrent(min_units=-1), r"Recurrent: min_units is -1; expected a whole number >= 1"),
        (
            lambda: ev.Recurrent(max_units=1.5),
            r"Recurrent: max_units is 1\.5 \(float\); expected a whole number",
        ),
        (lambda: ev.MLP([math.inf]), r"MLP: hidden is \[inf\]; widths of at least 1"),
        (lambda: ev.MLP(math.nan), "MLP: hidden is nan; widths of at least 1"),
        (lambda: ev.MLP(b"x"), "MLP: hidden is b'x'; widths of at least 1"),
        (lambda: ev.MLP([8], np.ones(2)), r"MLP: activation is array\(\[1\., 1\.\]\); known are"),
        (
            lambda: ev.CNN(channels=3),
            r"CNN: channels is 3; those of each convolution are expected, .* channels=\[3\]",
        ),
        (lambda: ev.MultiInput(1), r"MultiInput: channels is 1; those of each convolution are expected"),
        (
            lambda: ev.CNN([8], latent=[8, 8]),
            r"CNN: latent is \[8, 8\]; a whole number is expected",
        ),
        (lambda: ev.CNN([8], min_channels=-1), r"CNN: min_channels is -1; expected a whole number >= 1"),
        (
            lambda: ev.CNN([8], max_layers=True),
            r"CNN: max_layers is True \(bool\); expected a whole number >= 1",
        ),
        (lambda: ev.GPT(eps="x"), r"GPT: eps is 'x' \(str\); expected a number"),
        (lambda: ev.Stack(int), r"Stack: factory is <class 'int'>; a function factory\(inputs, outputs\)"),
        (lambda: ev.TD3(ou_dt=0), "TD3: ou_dt is 0; expected a number above 0"),
        (lambda: ev.DDPG(ou_theta=None), r"DDPG: ou_theta is None \(NoneType\); expected a number >= 0"),
        (lambda: ev.CQN(clip=-1), "CQN: clip is -1; expected a number above 0"),
        (lambda: ev.ILQL(clip="x"), r"ILQL: clip is 'x' \(str\); expected a number"),
        (lambda: ev.FQE(hidden=None), "FQE: hidden is None; widths of at least 1"),
        (lambda: ev.FQE(hidden="64"), "FQE: hidden is '64'; widths of at least 1"),
        (lambda: ev.MFPBT([None]), r"frequencies is \[None\]; expected strictly ascending whole numbers"),
        (lambda: ev.Tournament(by=np.ones(2)), r"by is array\(\[1\., 1\.\]\); 'mean' or 'best'"),
        (lambda: ev.Choice({"a": 1}), r"Choice\(\{'a': 1\},\): options must be numbers"),
        (lambda: ev.RolloutBuffer(8, device="x"), "device is 'x'; 'auto', 'cpu', 'cuda' or 'meta'"),
        (lambda: ev.ReplayBuffer(8, device=10**30), "device is 10+; 'auto', 'cpu', 'cuda' or 'meta'"),
        (lambda: ev.CNN(max_kernel=None), r"CNN: max_kernel is None; a whole number is expected"),
        (lambda: ev.Mutations(extra=[1]), r"Mutations: extra is \[1\]; a dict of weights by name"),
        (lambda: ev.Float(1, 2, grow="x"), r"Float: grow is 'x' \(str\); expected a number"),
        (lambda: ev.ReplayBuffer(10, device="x"), "device is 'x'; 'auto', 'cpu', 'cuda' or 'meta'"),
    ],
)
def test_no_part_answers_by_python_s_own_errors(make, said):
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def test_a_single_number_and_an_array_are_widths_and_channels_where_that_is_clear():
    assert ev.MLP(64) == ev.MLP([64]) == ev.MLP(np.array([64])) == ev.MLP(np.int64(64)) == ev.MLP([64.0])
    assert ev.CNN(16) == ev.CNN([16]) == ev.CNN(np.array([16])) == ev.CNN(channels=np.int64(16))
    assert ev.CNN([8, 8], kernels=np.array([3, 5]), padding=np.int64(1)) == ev.CNN([8, 8], [3, 5], padding=1)
    assert ev.FQE(hidden=32).hidden == (32,)
    assert ev.MFPBT(range(1, 4)).frequencies == (1, 2, 3)
    assert ev.Choice(np.array([1, 2])).options == (1, 2)
    assert ev.CNN([3]).channels == (3,)
