"""Episodes of one agent in one environment, to be watched."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from evolab.envs.base import Actor
from evolab.evaluation.episodes import LONGEST


def play(
    agent: Actor,
    env: gymnasium.Env,
    episodes: int = 1,
    max_steps: int | None = None,
    seed: int = 0,
) -> tuple[list[float], list[np.ndarray], list[Any]]:
    """Episodes of one agent in one environment: returns, rendered frames, observations.

    Args:
        agent: what acts.
        env: where it renders "rgb_array", a frame is taken before every step and one of how the episode ends.
        episodes: how many.
        max_steps: longest episode; None for the environment's own limit.
        seed: of the first episode; the next ones count up.
    """
    returns: list[float] = []
    frames: list[np.ndarray] = []
    observations: list[Any] = []
    limit = max_steps or (env.spec.max_episode_steps if env.spec is not None else None) or LONGEST

    def look() -> None:
        if env.render_mode == "rgb_array":
            frames.append(np.asarray(env.render(), dtype=np.uint8))

    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        total = 0.0
        for _ in range(limit):
            look()
            observations.append(observation)
            observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
            total += float(reward)
            if terminated or truncated:
                break
        look()
        returns.append(total)
    return returns, frames, observations
