"""Options of an experiment that do not go together."""

from __future__ import annotations

from evolab.algorithms.regime import ON_POLICY
from evolab.envs.goals import REMEMBERED
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evaluation.fitness import Fitness, fitness_named
from evolab.experiment.config.options import Options
from evolab.networks.base import Network


def check_together(options: Options) -> None:
    """Refuse options that do not go together.

    Args:
        options: checked and resolved, each by itself.

    Raises:
        ValueError: says which, and what to do.
        TypeError: an algorithm over tokens, and no language environment.
    """
    algorithm, environment = options.algorithm, options.environment
    if algorithm.reads_tokens and not isinstance(environment, LanguageEnvironment):
        came = "none" if environment is None else repr(environment)
        raise TypeError(
            f"a language environment is expected, {came} came. Pass ev.envs.WordGame(), ev.envs.RandomWalks() or "
            f"your own ev.envs.LanguageEnvironment."
        )
    if algorithm.regime is ON_POLICY and options.update_ratio not in (None, 1):
        raise ValueError(f"{algorithm.name} has no update_ratio; set hyperparameters={{'epochs': ...}}.")
    if options.overlap and (not algorithm.replays or options.environment is None):
        raise ValueError(
            f"overlap=True: {algorithm.name} here does not learn while it acts. Leave overlap out."
        )
    if options.overlap and options.vectorization not in ("async", "ray"):
        raise ValueError(
            "overlap=True needs vectorization='async' or 'ray': environments of this process would hold up the updates."
        )
    if options.frame_stack > 1 and (
        options.environment is None or options.data is not None or algorithm.reads_tokens
    ):
        raise ValueError(
            f"frame_stack={options.frame_stack}: recorded data and games of tokens are taken as they are. Record an "
            "environment that is wrapped in ev.envs.FrameStack, and leave the option out."
        )
    if options.environment is None and options.fitness in ("return", "acting"):
        raise ValueError(
            "without an environment there are no returns to compare. Pass fitness='fqe' to measure "
            "fitness from the data, or an environment."
        )
    if options.fitness == "acting" and not algorithm.regime.acts:
        raise ValueError(
            f"fitness='acting': {algorithm.name} does not learn by acting. Pass fitness='return' for episodes of "
            "every agent, or leave it out."
        )
    if options.environment is None and algorithm.regime.acts:
        raise ValueError(
            f"{algorithm.name} learns by acting, and no environment was given. "
            f"Pass one, or use an offline algorithm such as 'CQN' with data."
        )
    measure = fitness_named(options.fitness)
    if isinstance(measure, Fitness):
        measure.check(algorithm)
    if isinstance(options.network, Network) and options.network.remembers:
        _check_memory(options)


def _check_memory(options: Options) -> None:
    """Refuse what single transitions are needed for: the network remembers."""
    started, evolving = options.hyperparameters or {}, options.search_space or {}
    if started.get("hindsight", 0.0) > 0 or "hindsight" in evolving:
        raise ValueError(REMEMBERED)
