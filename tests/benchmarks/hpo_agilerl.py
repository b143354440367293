"""The AgileRL arm of `hpo.py`: `LocalTrainer`, its newest trainer, by its tutorial.

The manifests are those of AgileRL's documentation (docs/trainers/index.rst for DQN on LunarLander-v3, and
configs/training/td3.yaml, which it names, for TD3 on LunarLanderContinuous-v3; AgileRL/AgileRL, commit 549d85e4,
2026-08-20) with another environment, the run's seed and budget, and no target of its own, which would stop at a
mean over ten generations. `sync` has the sixteen environments step in this process, where steps and CPU time can
be counted; it changes nothing that is learned. After each generation every agent plays an episode in each of them:
that mean is its estimate.
"""

from __future__ import annotations

import functools
import importlib.metadata
import random
from typing import Any

import gymnasium
import numpy as np
import torch
from agilerl import LocalTrainer
from agilerl.networks.actors import DeterministicActor
from hpo_referee import Policy, Referee
from hpo_tasks import Task

VERSIONS = {name: importlib.metadata.version(name) for name in ("agilerl", "torch", "gymnasium")}

PROBABILITIES = {
    "no_mut": 0.4,
    "arch_mut": 0.2,
    "new_layer": 0.2,
    "params_mut": 0.2,
    "act_mut": 0.2,
    "rl_hp_mut": 0.2,
}
BATCH = {"min": 8, "max": 512}

DISCRETE: dict[str, Any] = {
    "algorithm": {
        "name": "DQN",
        "batch_size": 128,
        "lr": 6.3e-4,
        "learn_step": 4,
        "gamma": 0.99,
        "tau": 0.001,
    },
    "network": {
        "latent_dim": 128,
        "encoder_config": {"hidden_size": [128]},
        "head_config": {"hidden_size": [128]},
    },
    "mutation": {
        "probabilities": PROBABILITIES,
        "rl_hp_selection": {"lr": {"min": 6.25e-5, "max": 0.01}, "batch_size": BATCH},
        "mutation_sd": 0.1,
    },
    "training": {"pop_size": 4, "evo_steps": 10_000},
}

CONTINUOUS: dict[str, Any] = {
    "algorithm": {
        "name": "TD3",
        "batch_size": 128,
        "lr_actor": 1e-4,
        "lr_critic": 1e-3,
        "learn_step": 1,
        "gamma": 0.99,
        "tau": 0.005,
        "policy_freq": 2,
        "O_U_noise": True,
        "expl_noise": 0.1,
        "mean_noise": 0.0,
        "theta": 0.15,
        "dt": 0.01,
        "share_encoders": True,
    },
    "network": {
        "latent_dim": 64,
        "encoder_config": {"hidden_size": [64], "min_mlp_nodes": 64, "max_mlp_nodes": 500},
        "head_config": {
            "hidden_size": [64],
            "min_hidden_layers": 1,
            "max_hidden_layers": 2,
            "min_mlp_nodes": 64,
            "max_mlp_nodes": 500,
        },
    },
    "mutation": {
        "probabilities": PROBABILITIES | {"act_mut": 0.0},
        "rl_hp_selection": {
            "lr_actor": {"min": 1e-4, "max": 0.01},
            "lr_critic": {"min": 1e-4, "max": 0.01},
            "batch_size": BATCH,
            "learn_step": {"min": 1, "max": 16},
        },
        "mutation_sd": 0.1,
    },
    "training": {"pop_size": 4, "evo_steps": 10_000, "eval_loop": 1, "learning_delay": 1_000},
}


def manifest(task: Task, discrete: bool, seed: int, budget: int) -> dict[str, Any]:
    """The tutorial's, for this environment; `max_steps` are those of each agent, so that the meter ends the run."""
    base = DISCRETE if discrete else CONTINUOUS
    return base | {
        "environment": {"name": task.name, "num_envs": 16, "sync": True},
        "replay_buffer": {"max_size": 100_000},
        "selection_strategy": {"tournament_size": 2, "elitism": True},
        "mutation": base["mutation"] | {"rand_seed": seed},
        "training": base["training"] | {"max_steps": budget},
    }


def frozen(agent: Any, discrete: bool) -> Policy:
    """A copy that plays greedily, in the range of the environment's actions."""
    twin = agent.clone()
    twin.set_training_mode(False)
    if discrete:
        return lambda observation: twin.get_action(observation, epsilon=0.0)

    def act(observation: np.ndarray) -> np.ndarray:
        action = torch.as_tensor(twin.get_action(observation, training=False))
        bounds = {"low": twin.action_low, "high": twin.action_high}
        return DeterministicActor.rescale_action(
            action, **bounds, output_activation=twin.actor.output_activation
        ).numpy()

    return act


def run(arm: str, task: Task, seed: int, referee: Referee) -> None:
    """Train until the run is over; each agent is offered when it was evaluated."""
    env = gymnasium.make(task.name)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    env.close()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # AgileRL draws from the global generators
    torch.manual_seed(seed)
    referee.said = manifest(task, discrete, seed, referee.budget)
    trainer = LocalTrainer.from_manifest(referee.said)
    kind = type(trainer.population[0])
    test = kind.test

    @functools.wraps(test)
    def tested(agent: Any, *arguments: Any, **options: Any) -> float:
        mean = float(test(agent, *arguments, **options))
        referee.offer(functools.partial(frozen, agent, discrete), mean)
        agent.set_training_mode(False)
        return mean

    kind.test = tested
    trainer.train(verbose=False)
