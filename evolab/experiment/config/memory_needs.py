"""What a configuration needs of the machine, worked out before anything of that size is made."""

from __future__ import annotations

from math import prod

from gymnasium import spaces

from evolab.core.machine_memory import Need, require
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.envs.memory_needs import environments as of_environments
from evolab.envs.memory_needs import row_size
from evolab.evaluation.fitness import Fitness, fitness_named
from evolab.experiment.config.config import ExperimentConfig
from evolab.networks.genes import Genes
from evolab.population.spec import Spec

PRIORITY = 13
"""Bytes that an agent has for every transition which it draws by priorities: the size of an error, and sums in double."""


def environments(config: ExperimentConfig) -> Need:
    """Of the training environments, whatever they are."""
    count = 0 if config.environment is None else config.population * config.num_envs
    of = f"population x num_envs = {config.population:,} x {config.num_envs:,}"
    return of_environments(count, config.vectorization, of, "population or num_envs")


def evaluation(config: ExperimentConfig) -> Need:
    """Of the environments that episodes of evaluation are played in, all of them at once."""
    episodes = config.eval_episodes or 1
    if config.fitness == "return" and config.language is None:
        count, name = config.population * episodes, "eval_episodes"
        of = f"population x eval_episodes = {config.population:,} x {episodes:,}"
    else:
        count, name, of = config.confirmation, "confirmation", f"confirmation={config.confirmation:,}"
    count = 0 if config.environment is None else count
    return of_environments(count, config.vectorization, of, name)._replace(what="evaluation", at_once=False)


def check_environments(config: ExperimentConfig) -> None:
    """Before the first environment is made.

    Raises:
        ValueError: the machine is too small.
    """
    require([environments(config), evaluation(config)])


def check_all(config: ExperimentConfig, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """As soon as the spaces are known, before the agents and the other environments are made.

    Raises:
        ValueError: the machine is too small.
    """
    algorithm = config.algorithm
    if config.language is not None or config.load is not None:  # the population says what it needs
        return
    spec = config.spec(observation_space, action_space)
    genes = spec.network.genes(observation_space)
    batch = int(config.hyperparameters.get("batch_size", 1))
    needs = [environments(config), spec.needs(config.population, genes)]
    needs.append(one_update(spec, genes, batch))
    if isinstance(fitness := fitness_named(config.fitness), Fitness):
        needs += fitness.needs(config.population, observation_space)
    if algorithm.regime.acts:
        # An observation, an action, a reward, an end; successors may share memory with observations.
        row = row_size(observation_space) + row_size(action_space) + 5
        buffer = algorithm.buffer(config.buffer)
        if isinstance(buffer, RolloutBuffer):
            rows, of = buffer.horizon * config.population * config.num_envs, f"horizon={buffer.horizon:,}"
            lower = "the horizon of buffer=ev.RolloutBuffer(horizon)"
            needs.append(Need("experience", rows * row, of, lower, at_once=False))
        else:
            rows = buffer.capacity * (1 if buffer.shared else config.population)
            row += 4 * prod(spec.network.memory(genes))  # what was remembered before each
            needs.append(
                Need("experience", rows * row, f"buffer={buffer.capacity:,}", "buffer", at_once=False)
            )
            if config.has("priority"):
                size = PRIORITY * buffer.capacity * config.population
                of = f"buffer x population = {buffer.capacity:,} x {config.population:,}"
                needs.append(Need("priorities", size, of, "buffer or population"))
    require(needs, spec.device)


def check_certificate(config: ExperimentConfig, spec: Spec, genes: Genes, episodes: int) -> None:
    """Before the seeds of a certificate are made.

    Args:
        config: of the seeds, as one population.
        spec: of the run that is certified.
        genes: of its winner.
        episodes: of each seed's final agent.

    Raises:
        ValueError: the machine is too small.
    """
    seeds = config.population
    by = f"seeds x num_envs = {seeds:,} x {config.num_envs:,}"
    agents = spec.needs(seeds, genes)
    needs = [
        of_environments(seeds * config.num_envs, config.vectorization, by, "seeds"),
        agents._replace(of=agents.of.replace("population", "seeds"), lower="seeds"),
        # A return and a length.
        Need(
            "results",
            16 * seeds * episodes,
            f"seeds x episodes = {seeds:,} x {episodes:,}",
            "episodes or seeds",
        ),
    ]
    if isinstance(config.buffer, ReplayBuffer) and config.algorithm.replays:
        row = row_size(spec.observation_space) + row_size(spec.action_space) + 5
        of = f"{seeds:,} seeds, of which each keeps {config.buffer.capacity:,} transitions of its own"
        needs.append(Need("experience", seeds * config.buffer.capacity * row, of, "seeds", at_once=False))
    require(needs, spec.device)


def one_update(spec: Spec, genes: Genes, batch: int) -> Need:
    """Of a single agent that learns: the outputs of all its layers, gradients of the widest, and its parameters' own.

    The kernels in C hold two further matrices of the widest layer's size: DQN on 400 000 units and batches of 128
    took 5.5 times the outputs of its only layer (measured), of which four are counted here.
    """
    compiled = spec.network.computes_unpadded(spec.like)
    lines = sum(genes.hidden) + (3 if compiled else 2) * max(genes.hidden, default=0)
    entries = batch * lines + max(spec.sizes(genes).values())
    of = f"batch_size={batch:,}, {sum(genes.hidden):,} hidden units"
    return Need("one update", entries * spec.dtype.itemsize, of, "batch_size or the network")
