"""What `parity.py` trains: tasks, budgets, and one set of settings that both libraries are given.

Settings are the defaults of Stable-Baselines3 and, from recorded data, of d3rlpy, but where these are hopeless within
the budget, or where the libraries have no rule in common; `WHY` says which. `THEIRS` translates the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Task:
    """An algorithm on an environment.

    Attributes:
        name: the environment's id.
        algorithm: its name, the same in both libraries.
        starts: random steps before learning begins.
        every: steps between two marks.
        marks: how many; the run ends with the last.
        peer: who else learns it; by "d3rlpy" it is learned from recorded data, and steps are updates.
    """

    name: str
    algorithm: str
    starts: int
    every: int
    marks: int
    peer: str = "sb3"

    @property
    def steps(self) -> list[int]:
        """The marks."""
        return [self.starts + self.every * (mark + 1) for mark in range(self.marks)]

    @property
    def key(self) -> str:
        """Its name in a results file."""
        return f"{self.algorithm} {self.name}"


ROLLOUT = 2_048
"""Steps of PPO's rollouts; its marks are where some of them end, so that both have learned from all that they have."""

TASKS = {
    task.key: task
    for task in (
        Task("CartPole-v1", "DQN", 1_000, 3_500, 14),
        Task("CartPole-v1", "PPO", 0, 2 * ROLLOUT, 12),
        Task("InvertedPendulum-v5", "PPO", 0, 2 * ROLLOUT, 12),
        Task("InvertedPendulum-v5", "SAC", 260, 474, 10),
        Task("InvertedPendulum-v5", "TD3", 260, 474, 10),
        Task("HalfCheetah-v5", "PPO", 0, 2 * ROLLOUT, 12),
        Task("HalfCheetah-v5", "SAC", 1_000, 1_500, 6),
        Task("HalfCheetah-v5", "TD3", 1_000, 1_500, 6),
        Task("Hopper-v5", "PPO", 0, 2 * ROLLOUT, 12),
        Task("Hopper-v5", "SAC", 1_000, 1_500, 6),
        Task("Hopper-v5", "TD3", 1_000, 1_500, 6),
        Task("LunarLander-v3", "PPO", 0, 2 * ROLLOUT, 12),
        Task("LunarLander-v3", "DQN", 1_000, 3_500, 14),
        Task("Pendulum-v1", "IQL", 0, 1_000, 5, "d3rlpy"),
        Task("Pendulum-v1", "TD3BC", 0, 1_000, 5, "d3rlpy"),
        Task("CartPole-v1", "CQN", 0, 1_000, 5, "d3rlpy"),
        Task("CartPole-v1", "BCQ", 0, 1_000, 5, "d3rlpy"),
    )
}

SETTINGS: dict[str, dict[str, Any]] = {
    "PPO": {
        "lr": 3e-4,
        "discount": 0.99,
        "gae_lambda": 0.95,
        "clip": 0.2,
        "entropy_coefficient": 0.0,
        "value_coefficient": 0.5,
        "max_grad_norm": 0.5,
        "epochs": 10,
        "batch_size": 64,
    },
    "DQN": {
        "lr": 1e-3,
        "discount": 0.99,
        "tau": 0.01,
        "batch_size": 64,
        "learn_step": 2,
        "epsilon_start": 1.0,
        "epsilon_end": 0.04,
        "epsilon_steps": 8_000,
    },
    "SAC": {"lr": 3e-4, "discount": 0.99, "tau": 0.005, "batch_size": 256, "policy_delay": 1},
    "TD3": {
        "lr": 1e-3,
        "discount": 0.99,
        "tau": 0.005,
        "batch_size": 256,
        "policy_delay": 2,
        "target_noise": 0.2,
        "noise_clip": 0.5,
        "exploration_noise": 0.1,
    },
    "IQL": {
        "lr": 3e-4,
        "discount": 0.99,
        "tau": 0.005,
        "batch_size": 256,
        "expectile": 0.7,
        "advantage_weight": 3.0,
    },
    "TD3BC": {
        "lr": 3e-4,
        "discount": 0.99,
        "tau": 0.005,
        "batch_size": 256,
        "policy_delay": 2,
        "target_noise": 0.2,
        "noise_clip": 0.5,
        "bc_alpha": 2.5,
    },
    "BCQ": {"lr": 3e-4, "discount": 0.99, "tau": 0.005, "batch_size": 128, "threshold": 0.3},
    "CQN": {"lr": 3e-4, "discount": 0.99, "tau": 0.005, "batch_size": 128, "cql_alpha": 1.0},
}
"""By evolab's names; `lr` is the learning rate of everything that an algorithm moves."""

NETWORKS: dict[str, tuple[list[int], str]] = {
    "PPO": ([64, 64], "tanh"),
    "DQN": ([64, 64], "relu"),
    "SAC": ([256, 256], "relu"),
    "TD3": ([400, 300], "relu"),
    "IQL": ([256, 256], "relu"),
    "TD3BC": ([256, 256], "relu"),
    "CQN": ([256, 256], "relu"),
    "BCQ": ([256, 256], "relu"),
}
"""Hidden widths and activation: the peer's own."""

BUFFER = 100_000

WHY = {
    "DQN": (
        "learning rate 1e-3, batches of 64, an update every second step from the 1 000th on, epsilon falling to 0.04 "
        "within 8 000 steps: with the defaults (1e-4, 32, every fourth) CartPole is not learned in 50 000. Targets "
        "follow by Polyak averaging of 0.01 at each update, as evolab has no copies at intervals. Neither is double; "
        "errors are Huber's; gradients are not clipped, which evolab's DQN does not do."
    ),
    "TD3": "exploration noise of 0.1, which is the authors'; Stable-Baselines3 has none where none is given.",
    "SAC, TD3": (
        "random steps: 1 000 instead of 100 on HalfCheetah and Hopper, where rl-baselines3-zoo takes 10 000, and 260 on "
        "InvertedPendulum: evolab does not learn before it has a whole batch."
    ),
    "PPO": (
        "evolab's own way with real-valued actions: the mean is a tanh, and a clipped action has the probability of "
        "all draws beyond its bound. Deviations start from 1 in the environment's units on both sides. Adam's epsilon "
        "is each library's own, 1e-5 and 1e-8."
    ),
    "CQN, BCQ": (
        "learning rate 3e-4 and batches of 128 in the place of 6.25e-5 and 32, and a target that follows by 0.005 at each "
        "update on both sides, where d3rlpy copies it every 8 000. BCQ's logits and values read the same "
        "layers, as in its authors' code, and squares of the logits weigh 0.5, d3rlpy's default, on both sides."
    ),
    "IQL": "evolab's way with clipped actions, as in PPO.",
}
"""What is not the peer's default, or not the same on both sides."""

THEIRS = {
    "lr": "learning_rate",
    "discount": "gamma",
    "gae_lambda": "gae_lambda",
    "clip": "clip_range",
    "entropy_coefficient": "ent_coef",
    "value_coefficient": "vf_coef",
    "max_grad_norm": "max_grad_norm",
    "epochs": "n_epochs",
    "batch_size": "batch_size",
    "tau": "tau",
    "learn_step": "train_freq",
    "epsilon_start": "exploration_initial_eps",
    "epsilon_end": "exploration_final_eps",
    "policy_delay": "policy_delay",
    "target_noise": "target_policy_noise",
    "noise_clip": "target_noise_clip",
}
"""Stable-Baselines3's names of what it takes as an argument; the rest `parity_run.py` says in its words."""
