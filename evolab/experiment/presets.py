"""Settings that were found to work, by algorithm and environment; `evolab demo` runs them.

Each stands with the figures that it reached in `tests/benchmarks/results/learning.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evolab.algorithms.dqn import DQN
from evolab.algorithms.td3 import TD3
from evolab.core.ranges import Float, Integer
from evolab.evolution.mutation.mutations import Mutations
from evolab.networks.mlp.mlp import MLP


@dataclass(frozen=True)
class Preset:
    """A ready-made experiment.

    Attributes:
        options: keyword arguments of `Experiment`.
        fill: environment steps of random warm-up, in total; there is none before PPO.
        capacity: transitions that the buffer keeps, or PPO's steps of a rollout; None for the default.
        target: return that counts as solved; None where none is known.
        max_steps: total training steps after which the demo gives up.
    """

    options: dict[str, Any] = field(default_factory=dict)
    fill: int = 5_000
    capacity: int | None = None
    target: float | None = None
    max_steps: int = 300_000


GENTLE = Mutations(none=0.5, architecture=0.1, parameters=0.1, activation=0.0, hyperparameters=0.3)
"""Mutations that leave most of what was learned in place."""

RATES = Float(1e-4, 3e-3, grow=1.2)

PRESETS: dict[tuple[str, str], Preset] = {
    # What keeps a lander in the air, and what each setting does about it (measured): white noise
    # averages out and never brings a hovering lander down, noise with inertia does; only quiet
    # environments lie still on the ground, which pays 100; and the value of a landing travels back
    # one step in some 100 updates at this tau, in 400 at the usual 0.005.
    ("TD3", "LunarLanderContinuous-v3"): Preset(
        options={
            "algorithm": TD3(ou_noise=True, ou_theta=0.05, ou_dt=1.0, spread=1.0),
            "population": 4,
            "num_envs": 8,
            "network": MLP([64, 64], min_layers=2, min_units=48),
            "steps_per_generation": 5_000,
            "eval_episodes": 4,
            "draw": True,  # a population of equals finds the same way to hover; different ones try more
            "hyperparameters": {"tau": 0.02},
            "search_space": {
                "lr_actor": Float(3e-4, 2e-3, grow=1.2),
                "lr_critic": Float(6e-4, 3e-3, grow=1.2),
                "exploration_noise": Float(0.1, 0.3, grow=1.2),
            },
            "mutations": Mutations(
                none=0.4, architecture=0.1, parameters=0.1, activation=0.0, hyperparameters=0.4
            ),
        },
        fill=20_000,
        capacity=300_000,
        target=200.0,
        max_steps=450_000,
    ),
    ("DQN", "CartPole-v1"): Preset(
        options={
            "population": 4,
            "num_envs": 4,
            "steps_per_generation": 2_500,
            "eval_episodes": 4,
            # With 0.99 the edge of the track, some 250 steps away, weighs nothing: it drifts there.
            "hyperparameters": {
                "lr": 2.3e-3,
                "tau": 0.02,
                "batch_size": 64,
                "discount": 0.995,
                "epsilon_steps": 5_000,
            },
            "search_space": {"lr": RATES, "batch_size": Integer(32, 256, grow=1.2)},
            "mutations": GENTLE,
        },
        fill=1_000,
        target=475.0,
        max_steps=150_000,
    ),
    # A crash costs 100 at once: squared, it drowns what leads to a landing. With Huber's error a third of
    # the steps are enough.
    ("DQN", "LunarLander-v3"): Preset(
        options={
            "algorithm": DQN(huber=1.0),
            "population": 4,
            "num_envs": 8,
            "network": MLP([128, 128]),
            "steps_per_generation": 5_000,
            "eval_episodes": 4,
            "hyperparameters": {
                "lr": 6.3e-4,
                "tau": 0.005,
                "batch_size": 128,
                "epsilon_end": 0.1,
                "epsilon_steps": 12_000,
            },
            "search_space": {"lr": RATES, "batch_size": Integer(64, 256, grow=1.2)},
            "mutations": GENTLE,
        },
        fill=10_000,
        capacity=300_000,
        target=200.0,
        max_steps=800_000,
    ),
    ("PPO", "CartPole-v1"): Preset(
        options={
            "population": 4,
            "num_envs": 8,
            "steps_per_generation": 8_192,
            "eval_episodes": 4,
            "hyperparameters": {"lr": 1e-3, "gae_lambda": 0.95, "epochs": 10, "batch_size": 128},
            "search_space": {
                "lr": Float(3e-4, 3e-3, grow=1.2),
                "entropy_coefficient": Float(1e-3, 3e-2, grow=1.2),
            },
            "mutations": GENTLE,
        },
        capacity=128,
        target=475.0,
        max_steps=500_000,
    ),
    ("PPO", "LunarLander-v3"): Preset(
        options={
            "population": 4,
            "num_envs": 16,
            "steps_per_generation": 32_768,
            "eval_episodes": 4,
            "hyperparameters": {
                "lr": 1e-3,
                "discount": 0.999,
                "gae_lambda": 0.98,
                "epochs": 4,
                "batch_size": 256,
            },
            "search_space": {
                "lr": Float(3e-4, 3e-3, grow=1.2),
                "entropy_coefficient": Float(1e-3, 3e-2, grow=1.2),
            },
            "mutations": GENTLE,
        },
        capacity=512,
        target=200.0,
        max_steps=4_000_000,
    ),
    ("DDPG", "Pendulum-v1"): Preset(
        options={
            "population": 4,
            "num_envs": 4,
            "steps_per_generation": 2_500,
            "eval_episodes": 8,
            "hyperparameters": {"lr_actor": 1e-3, "lr_critic": 1e-3, "exploration_noise": 0.2},
            "search_space": {
                "lr_actor": RATES,
                "lr_critic": RATES,
                "exploration_noise": Float(0.05, 0.5, grow=1.2),
            },
            "mutations": GENTLE,
        },
        fill=2_000,
        target=-200.0,
        max_steps=60_000,
    ),
    ("SAC", "Pendulum-v1"): Preset(
        options={
            "population": 4,
            "num_envs": 4,
            "steps_per_generation": 2_500,
            "eval_episodes": 8,
            "hyperparameters": {"lr_actor": 1e-3, "lr_critic": 1e-3},
            "search_space": {"lr_actor": RATES, "lr_critic": RATES},
            "mutations": GENTLE,
        },
        fill=2_000,
        target=-200.0,
        max_steps=60_000,
    ),
}


def demo(algorithm: str, environment: str) -> Preset:
    """The preset of an algorithm in an environment; a general one where none was tuned.

    >>> demo("TD3", "LunarLanderContinuous-v3").target
    200.0
    """
    return PRESETS.get((algorithm, environment), Preset(options={"mutations": GENTLE}))
