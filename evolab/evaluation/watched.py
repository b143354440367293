"""Episodes of one agent in one environment, to be watched."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from evolab.envs.base import Actor
from evolab.envs.masks import mask_now
from evolab.evaluation.episodes import LONGEST
from evolab.population.agent import Agent


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
        observation, info = env.reset(seed=seed + episode)
        total = 0.0
        for _ in range(limit):
            look()
            observations.append(observation)
            observation, reward, terminated, truncated, info = env.step(chosen(agent, env, observation, info))
            total += float(reward)
            if terminated or truncated:
                break
        look()
        returns.append(total)
    return returns, frames, observations


def chosen(agent: Actor, env: gymnasium.Env, observation: Any, info: Any) -> Any:
    """The action of whoever acts, among those that the environment permits; an actor of the user's own knows itself."""
    mask = mask_now(env, info) if isinstance(agent, Agent) else None
    return agent.act(observation) if mask is None else agent.act(observation, action_mask=mask)  # type: ignore[call-arg]
