"""What an experiment takes where its user says nothing: from the spaces, the kind of algorithm and the population.

Nothing here is chosen for an environment. The figures behind the numbers are in
`tests/benchmarks/results/hpo`: a wide population that acts little, learns from everybody's transitions and is
compared by what it earns while it learns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from gymnasium import spaces

from evolab.algorithms.base import Algorithm
from evolab.algorithms.regime import OFF_POLICY, OFFLINE, ON_POLICY
from evolab.algorithms.search_space import algorithm_named
from evolab.core import checks, registry
from evolab.core.discrete_actions import MOST, combined
from evolab.core.ranges import Integer, Range
from evolab.data.datasets.choices import note_of
from evolab.data.datasets.dataset import Dataset
from evolab.data.datasets.readers import OTHERS, TABLES
from evolab.envs import make
from evolab.envs.faults import FaultPolicy
from evolab.envs.language.environment import LanguageEnvironment
from evolab.evolution.selection.base import Selection
from evolab.evolution.selection.narrowing import Narrowing
from evolab.evolution.selection.tournament import Tournament
from evolab.experiment.config.options import Options
from evolab.networks.base import Network
from evolab.networks.mlp.mlp import MLP
from evolab.networks.observations import holds_image, holds_vector
from evolab.population.agent import Agent
from evolab.population.warm_start import origin
from evolab.training.default_update_ratio import update_ratio_for

WIDE = 8
"""Agents that search: about one draw of a learning rate in four is good (ARLBench), so width comes before length.

Sixteen find a good draw more surely, but every generation then takes twice the steps. CartPole, all steps to a mean
of 475 over 100 episodes, while the defaults were being found: 21 807 and 18 017 with eight (seeds 100 and 101), 35 204
with sixteen (seed 100).
"""

FEW = 4
"""Agents where an update is costly (images, language), or where every agent needs experience of its own (PPO)."""

EACH = 2
"""Environments of each agent: one to show what it can do, and one to explore in."""

CHOOSING = (256, 256), 0.5
"""Hidden units of a network that gives the value of every choice, and updates per transition that is stored.

With 64 units and two updates values of DQN can diverge: the page of benchmarks has their errors. LunarLander-v3 was
solved after 69 321, 116 349 and 149 284 steps, and not in 200 000 (seeds 102, 103, 104 and 101). With 128 units it was
after 161 296 and 78 593, and not in 200 000 (101 to 103); with 64 not in 200 000 (101), nor with two updates in 300 000
(seed 1). CartPole-v1 takes about as long: 8 890, 13 345, 13 513, 19 468, 7 011 and 19 362 steps; with 64 units and two
updates 14 600, 13 022, 12 508, 13 684, 9 331 and 9 409 (seeds 100 to 105).
"""

AHEAD = 3, Integer(1, 5)
"""Steps of a return, and the range in which they evolve.

Rewards that come seldom are learned of sooner. LunarLanderContinuous-v3 with 1 (that did not evolve) and 3, all steps
and what the elite earned: -14 after 67 751 and 193 after 63 165, and solved after 28 175 and 22 518 (seeds 102 and 103);
LunarLander-v3 -116 and 129 after some 87 000 (seed 101); MountainCar-v0 solved after 15 389 and 12 754 (seed 100);
CartPole-v1 after 18 822 and 15 088, and 18 895 and 9 432 (seeds 100 and 101).
"""

DATA = (".h5", ".hdf5", *TABLES, *OTHERS)
"""What the names of recorded data end with; of those that are not read `Dataset` says what reads them."""


def is_data(source: object) -> bool:
    """True for recorded experience, which may stand in the environment's place."""
    if isinstance(source, (str, PathLike)):
        return Path(source).suffix.lower() in DATA
    return isinstance(source, (Dataset, Mapping)) or type(source).__name__ == "DataFrame"


def spaces_of(
    environment: Any, vectorization: str, env_kwargs: Mapping[str, Any] | None
) -> tuple[spaces.Space, spaces.Space]:
    """Observation and action space of an environment, of which one is made for a moment."""
    kind = "envpool" if vectorization == "envpool" else "sync"
    with make(environment, vectorization=kind, on_fault=FaultPolicy("survive"), **(env_kwargs or {})) as envs:
        return envs.single_observation_space, envs.single_action_space


def algorithm_for(
    environment: object, action_space: spaces.Space | None, recorded: bool, remembers: bool = False
) -> str:
    """The algorithm that suits an environment, or recorded data.

    For real numbers SAC: of eight agents that did not evolve the mean return of InvertedDoublePendulum-v5 was 8 449
    after 10 000 steps, that of TD3 4 958 (seed 100), and whole runs solved MountainCarContinuous-v0 after 19 229
    steps, with TD3 after 30 297 (seed 100), at 1.3 times the time for a step.

    Args:
        environment: whatever it is.
        action_space: of it; None in language environments.
        recorded: True where it learns from data alone.
        remembers: the network that was asked for remembers: PPO learns with it from each step a few times, DQN many times.
    """
    if isinstance(environment, LanguageEnvironment):
        return "BC"
    continuous = isinstance(action_space, spaces.Box)
    if recorded:
        return "TD3BC" if continuous else "CQN"
    if remembers:
        return "PPO"
    if continuous:
        return "SAC"
    if isinstance(action_space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        count: int = math.prod(combined(action_space)[0])
        return "PPO" if count > MOST else "DQN"
    return "DQN"


def population_for(algorithm: Algorithm, observation_space: spaces.Space | None) -> int:
    """P, the number of agents."""
    light = observation_space is None or not holds_image(observation_space)
    return WIDE if light and algorithm.replays else FEW


def num_envs_for(algorithm: Algorithm) -> int:
    """E, environments of each agent."""
    return {OFF_POLICY: EACH, ON_POLICY: 8, OFFLINE: 1}[algorithm.regime]


def fitness_for(algorithm: Algorithm, environment: object) -> str:
    """What tells how good agents are."""
    if environment is None:
        return "fqe"
    return "acting" if algorithm.regime.acts else "return"


def normalise_for(
    algorithm: Algorithm,
    observation_space: spaces.Space | None,
    named: bool,
    load: Agent | str | PathLike[str] | None = None,
) -> tuple[str, ...]:
    """What is brought to one scale.

    Velocities of MountainCar-v0 are below 0.07 and its positions up to 1.2: solved after 23 347 and 25 713 steps with
    observations on one scale, and not after 120 000 without (seed 100; 101 was not tried without), while the defaults
    were being found. A crash of LunarLanderContinuous-v3 costs 100: with returns on one scale it was solved after 48 578
    and 42 348 steps, and without it not after 67 713 and after 66 008 (seeds 102 and 103).

    Args:
        algorithm: that learns.
        observation_space: of the environment; None where it was not looked at.
        named: True where the user named the algorithm, who then has exactly that.
        load: what agents begin with; one that has learned sees observations as it did.
    """
    if load is not None:
        agent = origin(load)[1]
        seen = () if agent is None else agent.table.spec.normaliser.words
        return tuple(word for word in seen if word != "returns")
    if named or observation_space is None or not (algorithm.replays and holds_vector(observation_space)):
        return ()
    return ("observations", "returns")


def steps_ahead_for(algorithm: Algorithm, free: bool) -> tuple[int, Range] | None:
    """How many rewards returns sum up at first, and the range in which that evolves; None for what the algorithm has.

    Args:
        algorithm: that learns.
        free: nobody has named it or its search space, nor said anything of the steps, of which it has some.
    """
    return AHEAD if free and algorithm.replays else None


def learner_for(
    algorithm: Algorithm, observation_space: spaces.Space | None, population: int
) -> tuple[Network | None, float | None]:
    """Network, and updates of each agent per stored transition, of an algorithm that nobody has named.

    Args:
        algorithm: that learns.
        observation_space: of the environment; None where it was not looked at.
        population: P, the number of agents.

    Returns:
        both None where the usual ones serve: where actions are not choices, and where observations hold an image.
    """
    choosing = algorithm.replays and spaces.Box not in algorithm.action_spaces
    if not choosing or observation_space is None or holds_image(observation_space):
        return None, None
    network, ratio = CHOOSING
    return MLP(network), min(ratio, update_ratio_for(algorithm, population, observation_space))


def selection_for(population: int, fitness: object) -> Selection:
    """Who survives."""
    if fitness == "acting" and population > FEW:
        return Narrowing(FEW)
    return Tournament(min(2, population))


def drawn_names(draw: object, fixed: Collection[str], ranges: Mapping[str, Range]) -> tuple[str, ...]:
    """The hyperparameters in which the agents of the first population differ.

    Args:
        draw: True for all that evolve, False for none, their names, or None for all but those that are fixed.
        fixed: names that the user gave a starting value and no range.
        ranges: of those that evolve.

    Raises:
        ValueError: a name that does not evolve.
        TypeError: something else came.
    """
    if isinstance(draw, bool):
        return tuple(ranges) if draw else ()
    if draw is None:
        return tuple(name for name in ranges if name not in fixed)
    draw = (draw,) if isinstance(draw, str) else draw
    if not isinstance(draw, Sequence):
        raise TypeError(f"draw is {draw!r}; True, False or names of hyperparameters are expected.")
    for name in draw:
        if name not in ranges:
            raise checks.unknown("hyperparameter to draw", name, ranges)
    return tuple(draw)


def sized(
    options: Options, environment: object, data: object
) -> tuple[Algorithm, int, int, spaces.Space | None]:
    """Algorithm, population, environments of each agent, and the space of observations where it was looked at."""
    wanted, observed, acted = options.algorithm, None, None
    if wanted is None and environment is None and data is None:
        raise ValueError(
            "there is neither an environment nor data. Pass one: ev.Experiment('CartPole-v1'), or "
            "ev.Experiment(ev.Dataset('data.h5'))."
        )
    if environment is not None and not isinstance(environment, LanguageEnvironment):
        if None in (wanted, options.population, options.num_envs):
            observed, acted = spaces_of(
                environment,
                options.vectorization,
                {"frame_stack": options.frame_stack, **(options.env_kwargs or {})},
            )
    elif wanted is None and data is not None and environment is None:
        found = data if isinstance(data, Dataset) else Dataset(data)
        acted = found.action_space
        if (choices := found.report().choices) is not None:
            checks.notice(
                f"{found.name}: {note_of(choices)}, or name an algorithm that chooses, such as 'CQN'."
            )
    if wanted is None:
        network = options.network
        if isinstance(network, str):
            network = registry.resolve("network", network, Network)  # type: ignore[type-abstract]
        remembers = isinstance(network, Network) and network.remembers
        wanted = algorithm_for(environment, acted, recorded=environment is None, remembers=remembers)
    algorithm = algorithm_named(wanted)
    size = population_for(algorithm, observed) if options.population is None else options.population
    size = checks.positive_integer("population", size)
    num_envs = num_envs_for(algorithm) if options.num_envs is None else options.num_envs
    return algorithm, size, checks.positive_integer("num_envs", num_envs), observed
