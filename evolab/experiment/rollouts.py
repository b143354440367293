"""Episodes of a run's agents, played to be watched."""

from __future__ import annotations

import copy
from os import PathLike
from pathlib import Path

from evolab.core import checks
from evolab.core.rng import seed_of
from evolab.envs.language.environment import LanguageEnvironment
from evolab.envs.one_environment import maker_of
from evolab.evaluation.watched_episodes import play
from evolab.population.agent import Agent
from evolab.population.utterances import actor_in
from evolab.reporting.rollout import NoPictures, Rollout
from evolab.training.state import TrainingState


def chosen(state: TrainingState, agent: Agent | str | PathLike[str] | int) -> Agent:
    """A copy of the agent that a name, an id, a folder or an agent stands for.

    Raises:
        LookupError: none was confirmed yet, or the agent of that id has died.
        ValueError: an unknown name.
    """
    if agent == "best":
        return state.population[0].copy() if state.best is None else state.best.copy()
    if agent == "elite":
        if state.hall.elite is None:
            raise LookupError("no agent has been confirmed yet. Call exp.step() first.")
        return state.hall.elite.copy()
    if isinstance(agent, int):
        return state.population[state.population.row(agent)].copy()
    if isinstance(agent, Agent):
        return agent
    if isinstance(agent, PathLike) or (isinstance(agent, str) and Path(agent).expanduser().is_dir()):
        return Agent.load(agent)
    raise checks.unknown("agent", agent, ["best", "elite", "an agent's id", "an agent's folder"])


def played(
    state: TrainingState,
    environment: object,
    agent: Agent,
    episodes: int = 1,
    max_steps: int | None = None,
    seed: int | None = None,
    frame_stack: int = 1,
) -> Rollout:
    """Episodes of one agent, with pictures where the environment draws some.

    Args:
        state: of the run.
        environment: as the experiment was given it.
        agent: that plays.
        episodes: how many.
        max_steps: longest episode; None for the environment's own limit.
        seed: of the first episode; None for one that follows from the run's.
        frame_stack: observations in one.

    Raises:
        ValueError: the run has no environment.
    """
    if state.envs is None:
        raise NoPictures("a rollout needs an environment; this experiment has none.")
    try:
        env = state.envs.render_env()
    except ValueError as reason:  # it cannot be drawn
        if isinstance(environment, LanguageEnvironment):
            env = copy.deepcopy(environment)
        elif callable(environment):
            env = maker_of(environment, {}, frame_stack)()
        else:
            raise NoPictures(str(reason)) from None
    if isinstance(language := env.unwrapped, LanguageEnvironment):
        agent = actor_in(language, agent, lambda: language.legal_now)
    start = seed_of(state.options.seed, state.generation, "rollout") % 2**31 if seed is None else seed
    try:
        returns, frames, observations = play(
            agent, env, checks.positive_integer("episodes", episodes), max_steps, start
        )
        fps = float(env.metadata.get("render_fps") or 30)
    finally:
        env.close()
    return Rollout(returns=returns, frames=frames, observations=observations, fps=fps)
