"""Every algorithm that learns from stored experience finds the exact values of the probe environments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.trees import map_leaves
from evolab.envs.probes import BEST, PROBES, show

ALGORITHMS = {
    "DQN": (ev.DQN(), {"lr": 5e-3}),
    "QRDQN": (ev.QRDQN(quantiles=8), {"lr": 5e-3}),
    "dueling and noisy DQN": (ev.DQN(dueling=True, noisy=True), {"lr": 5e-3}),
    "CQN": (ev.CQN(), {"lr": 5e-3, "cql_alpha": 0.0}),  # its penalty moves values on purpose
    "BCQ": (ev.BCQ(), {"lr": 5e-3, "threshold": 0.0}),  # what is likely depends on the data alone
    "DDPG": (ev.DDPG(), {"lr_actor": 3e-3, "lr_critic": 5e-3}),
    "TD3": (ev.TD3(), {"lr_actor": 3e-3, "lr_critic": 5e-3}),
    "TD3BC": (ev.TD3BC(), {"lr_actor": 3e-3, "lr_critic": 5e-3, "bc_alpha": 1e4}),  # so does cloning
    "IQL": (ev.IQL(), {"lr_actor": 3e-3, "lr_critic": 5e-3, "lr_value": 5e-3, "advantage_weight": 50.0}),
    # Entropy is worth nothing here, so that soft values are values.
    "SAC": (
        ev.SAC(start_temperature=1e-4),
        {"lr_actor": 3e-3, "lr_critic": 5e-3, "lr_temperature": 1e-7},
    ),
    # Nothing is overrated here: what is left out of a target would be missed.
    "TQC": (
        ev.TQC(start_temperature=1e-4, quantiles=8),
        {"lr_actor": 3e-3, "lr_critic": 5e-3, "lr_temperature": 1e-7, "dropped": 0.0},
    ),
}
DISCRETE = ("DQN", "QRDQN", "dueling and noisy DQN", "CQN", "BCQ")
UPDATES = 600
DISCOUNTS = (0.9, 0.5)
"""Two agents; what one of them learns must be its own."""

CASES = [(name, algorithm) for name in PROBES for algorithm in ALGORITHMS]
SEEN = [
    ("image", "ObservationActionReward", "DQN"),
    ("image", "TwoStepDiscount", "SAC"),
    ("dict", "ObservationActionReward", "TD3"),
    ("dict", "TwoStepDiscount", "CQN"),
]
"""A few of the pictures run always, all of them with --slow."""


def learned(probe: str, algorithm: str, observations: str, updates: int) -> ev.Population:
    """A population of two after so many updates from random experience."""
    rule, values = ALGORITHMS[algorithm]
    # An actor that follows critics which are still wrong ends where tanh is flat: it waits for them.
    waits = observations != "vector" and "ActionReward" in probe and "lr_actor" in values
    if waits:
        values = values | {"lr_actor": 1e-7, "lr_critic": 2e-3}
    elif observations == "dict" and "lr_actor" in values:
        values = values | {"lr_actor": 1e-3}
    head = [32, 32] if waits else [32]
    actions = "discrete" if algorithm in DISCRETE else "continuous"
    network = {
        "vector": ev.MLP([32, 32]),
        "image": ev.CNN([8], latent=16 if waits else 64, hidden=head),
        "dict": None,
    }[observations]
    if network is None:
        network = ev.MultiInput(channels=[8], latent=16, hidden=head)
    with ev.envs.make(PROBES[probe][0], 2, 32, seed=0, actions=actions, observations=observations) as envs:
        population = ev.Population(
            rule,
            envs.single_observation_space,
            envs.single_action_space,
            2,
            network=network,
            hyperparameters={"batch_size": 64, "tau": 0.1} | values,
            search_space={},
            seed=0,
            device="cpu",
        )
        buffer, stream = ev.ReplayBuffer(4096), np.random.default_rng(0)
        envs.reset()
        for _ in range(20):
            buffer.add(envs.step(population.random_actions(32, stream)))
    population.table.hyper["discount"].copy_(torch.tensor(DISCOUNTS))
    population.learn(buffer, updates=updates)
    if waits:
        population.table.hyper["lr_actor"].fill_(2e-4)
        population.learn(buffer, updates=updates)
    return population


def observed(state: float, observations: str) -> object:
    """A state as observations [P, 1, ...] of both agents."""
    return map_leaves(lambda leaf: np.stack([leaf[None]] * len(DISCOUNTS)), show(state, observations))


def check(probe: str, algorithm: str, observations: str, updates: int) -> None:
    """Values of every action, and the policy's choice, in every state of a probe."""
    population, exact = learned(probe, algorithm, observations, updates), PROBES[probe][1]
    (group,) = population.groups
    continuous = algorithm not in DISCRETE
    states = {"TwoStepDiscount": (0.0, 1.0), "ActionReward": (0.0,), "ConstantReward": (0.0,)}
    for state in states.get(probe, (-1.0, 1.0)):
        seen = observed(state, observations)
        tensors = map_leaves(torch.as_tensor, seen)
        choices = (-0.8, 0.0, 0.5, 0.9) if continuous else (0, 1)
        for action in choices:
            with torch.no_grad():
                if continuous:
                    extra = torch.full((2, 1, 1), float(action))
                    out = group.network("critic")(tensors, extra)  # [P, (M,) 1, O]
                    q = out.mean(-1).reshape(2, -1)  # both critics, if there are two; of quantiles the mean
                else:
                    q = population.algorithm.preferences(group.network("q")(tensors))[:, :, int(action)]
            for row, discount in enumerate(DISCOUNTS):
                right = exact(state, action, discount, continuous)
                assert q[row].tolist() == pytest.approx([right] * q.shape[1], abs=0.12), (state, action, row)
        if probe in ("ActionReward", "ObservationActionReward"):
            sign = 1.0 if probe == "ActionReward" else state
            best = BEST * sign if continuous else float(sign > 0)
            acted = np.asarray(population.act(seen, explore=False), float).ravel().tolist()
            assert acted == pytest.approx([best, best], abs=0.15 if continuous else 0)


@pytest.mark.parametrize(("probe", "algorithm"), CASES)
def test_vectors_lead_to_exact_values(probe: str, algorithm: str) -> None:
    check(probe, algorithm, "vector", UPDATES)


@pytest.mark.parametrize(("observations", "probe", "algorithm"), SEEN)
def test_pictures_and_dicts_lead_to_exact_values(observations: str, probe: str, algorithm: str) -> None:
    check(probe, algorithm, observations, UPDATES)


@pytest.mark.slow
@pytest.mark.parametrize("observations", ["image", "dict"])
@pytest.mark.parametrize(("probe", "algorithm"), CASES)
def test_so_do_all_others(observations: str, probe: str, algorithm: str) -> None:
    check(probe, algorithm, observations, UPDATES)
