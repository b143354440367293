"""Episodes of one agent in one environment, to be watched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch

from evolab.core.machine_memory import Need, as_text, free_memory, require
from evolab.core.trees import Tree
from evolab.envs.base import Actor
from evolab.envs.masks import mask_now
from evolab.evaluation.episodes import LONGEST
from evolab.population.agent import Agent
from evolab.population.recurrent_state import Memory

LOOKED = 64
"""Frames between two looks at how much memory is free; there has to be room for as many more."""


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

    Raises:
        ValueError: the frames of so many episodes need more memory than the machine has.
        MemoryError: frames have taken what was free; one sentence.
    """
    returns: list[float] = []
    frames: list[np.ndarray] = []
    observations: list[Any] = []
    limit = max_steps or (env.spec.max_episode_steps if env.spec is not None else None) or LONGEST

    def look() -> None:
        if env.render_mode == "rgb_array":
            frames.append(np.asarray(env.render(), dtype=np.uint8))
            count = len(frames)
            if count == 1:  # an episode has two frames at least, of its beginning and its end
                of = f"episodes={episodes:,}"
                require([Need("frames", 2 * episodes * frames[0].nbytes, of, "episodes")])
            elif count % LOOKED == 0:
                _refuse_more(count, frames[-1].nbytes)

    for episode in range(episodes):
        observation, info = env.reset(seed=seed + episode)
        total, memory = 0.0, Memory()
        for _ in range(limit):
            look()
            observations.append(observation)
            observation, reward, terminated, truncated, info = env.step(
                chosen(agent, env, observation, info, memory)
            )
            total += float(reward)
            if terminated or truncated:
                break
        look()
        returns.append(total)
    return returns, frames, observations


def _refuse_more(count: int, size: int) -> None:
    free = free_memory(torch.device("cpu"))
    if free is not None and free < LOOKED * size:
        raise MemoryError(
            f"{count:,} frames take {as_text(count * size)}, and {as_text(free)} of memory are free: pass a smaller "
            "max_steps= or fewer episodes=."
        )


def chosen(
    agent: Actor, env: gymnasium.Env, observation: Tree, info: Mapping[str, object], memory: Memory
) -> Any:
    """The action of whoever acts, among those that the environment permits; an actor of the user's own knows itself.

    Args:
        agent: what acts.
        env: where.
        observation: of it now.
        info: likewise.
        memory: of the episode, for agents that remember.
    """
    if not isinstance(agent, Agent):
        return agent.act(observation)
    return agent.act(observation, action_mask=mask_now(env, info), memory=memory)
