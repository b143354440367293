"""CartPole without its velocities: PPO and DQN with a network that remembers, beside one that does not.

Agents that do not evolve learn side by side, each from weights, environments, draws and experience of its own: they share
nothing, so each is a seed of a single run. Said is what their greedy policies earn in 20 fresh episodes each. Apart from the
network everything is equal, and nothing was tuned for the task:

    python tests/benchmarks/partial.py --algorithm DQN gru mlp --steps 50000
    python tests/benchmarks/partial.py --algorithm PPO gru mlp --steps 100000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import gymnasium
import numpy as np
import torch
from machine import described

import evolab as ev

RESULT = Path(__file__).parent / "results" / "partial.json"
ENVS, HORIZON, EPISODES, MARKS, RATIO = 8, 128, 20, 5, 0.25
AGENTS = {"PPO": 8, "DQN": 4}
VALUES = {"PPO": {"lr": 1e-3, "batch_size": 256, "epochs": 4}, "DQN": {}}
NETWORKS = {
    "gru": lambda: ev.Recurrent(64, "gru", [64]),
    "lstm": lambda: ev.Recurrent(64, "lstm", [64]),
    "gru of 16 steps": lambda: ev.Recurrent(64, "gru", [64], steps=16),
    "gru without burn-in": lambda: ev.Recurrent(64, "gru", [64], burn_in=0),
    "mlp": lambda: ev.MLP([64, 64]),
}


def masked() -> gymnasium.Env:
    """Position and angle alone."""
    env = gymnasium.make("CartPole-v1")
    low, high = env.observation_space.low[[0, 2]], env.observation_space.high[[0, 2]]
    return gymnasium.wrappers.TransformObservation(
        env, lambda observation: observation[[0, 2]], gymnasium.spaces.Box(low, high, (2,), np.float32)
    )


def learned(algorithm: str, network: str, steps: int, seed: int) -> dict:
    """Learn for so many environment steps of each agent: returns of all agents on the way, and what that cost."""
    agents = AGENTS[algorithm]
    envs = ev.envs.make(masked, population=agents, num_envs=ENVS, seed=seed)
    spaces = envs.single_observation_space, envs.single_action_space
    about = {"network": NETWORKS[network](), "hyperparameters": VALUES[algorithm], "seed": seed}
    population = ev.Population(algorithm, *spaces, agents, **about, device="cpu")
    on_policy = algorithm == "PPO"
    buffer = ev.RolloutBuffer(HORIZON) if on_policy else ev.ReplayBuffer(50_000, shared=False)
    begun, marks = time.process_time(), {}
    observation, ended = envs.reset(), None
    every = steps // MARKS // ENVS
    for count in range(1, every * MARKS + 1):
        transition = envs.step(population.act(observation, ended=ended))
        buffer.add(population.telling(transition))
        if on_policy or len(buffer) >= 1_000:
            population.learn(buffer, ratio=RATIO)
        observation, ended = transition.reset_observation, transition.ended
        if count % every == 0:
            spent = round(time.process_time() - begun, 1)
            earned = np.sort(ev.evaluate(population, envs, EPISODES, seed=seed + 1)).round(1).tolist()
            marks[count * ENVS] = {"returns": earned, "cpu_seconds": spent}
            print(algorithm, network, count * ENVS, earned, f"{spent:.0f} s of CPU", flush=True)
    envs.close()
    return marks


def main() -> None:
    """Run what was asked for and write what came; the rest stays as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=["gru", "mlp"], choices=list(NETWORKS))
    parser.add_argument("--algorithm", default="DQN", choices=list(AGENTS))
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(RESULT.read_text())["returns"] if RESULT.exists() else {}
    for network in asked.networks:
        marks = learned(asked.algorithm, network, asked.steps, asked.seed)
        found.setdefault(asked.algorithm, {})[network] = {"seed": asked.seed, "marks": marks}
        head = described() | {"environments": ENVS, "episodes": EPISODES, "updates_per_step": RATIO}
        RESULT.write_text(json.dumps(head | {"returns": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
