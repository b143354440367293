"""CartPole without its velocities: PPO with a network that remembers, beside one that does not.

Eight agents that do not evolve learn side by side, each from weights, environments and draws of its own: PPO shares nothing
between them, so they are eight seeds of a single run. Said is what their greedy policies earn in 20 fresh episodes each.

    python tests/benchmarks/partial.py gru mlp --steps 100000
"""

from __future__ import annotations

import argparse
import time

import gymnasium
import numpy as np

import evolab as ev

AGENTS, ENVS, HORIZON, EPISODES = 8, 8, 128, 20
NETWORKS = {
    "gru": lambda: ev.Recurrent(64, "gru", [64]),
    "lstm": lambda: ev.Recurrent(64, "lstm", [64]),
    "mlp": lambda: ev.MLP([64, 64]),
}


def masked() -> gymnasium.Env:
    """Position and angle alone."""
    env = gymnasium.make("CartPole-v1")
    low, high = env.observation_space.low[[0, 2]], env.observation_space.high[[0, 2]]
    return gymnasium.wrappers.TransformObservation(
        env, lambda observation: observation[[0, 2]], gymnasium.spaces.Box(low, high, (2,), np.float32)
    )


def learned(network: str, steps: int, seed: int) -> None:
    """Learn for so many environment steps of each agent; print what was earned on the way."""
    envs = ev.envs.make(masked, population=AGENTS, num_envs=ENVS, seed=seed)
    spaces = envs.single_observation_space, envs.single_action_space
    values = {"lr": 1e-3, "batch_size": 256, "epochs": 4}
    population = ev.Population(
        "PPO", *spaces, AGENTS, network=NETWORKS[network](), hyperparameters=values, seed=seed, device="cpu"
    )
    buffer, begun = ev.RolloutBuffer(HORIZON), time.process_time()
    observation, ended = envs.reset(), None
    every = steps // 4 // ENVS
    for count in range(1, steps // ENVS + 1):
        transition = envs.step(population.act(observation, ended=ended))
        buffer.add(transition)
        population.learn(buffer)
        observation, ended = transition.reset_observation, transition.ended
        if count % every == 0:
            earned = np.sort(ev.evaluate(population, envs, EPISODES, seed=seed + 1))
            low, middle, high = np.percentile(earned, [25, 50, 75])
            print(
                f"{network:5s} {count * ENVS:7d} steps  median {middle:6.1f}  quartiles {low:6.1f} {high:6.1f}  "
                f"all {' '.join(f'{one:.0f}' for one in earned)}  {time.process_time() - begun:.0f} s of CPU",
                flush=True,
            )
    envs.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.networks:
        learned(name, arguments.steps, arguments.seed)
