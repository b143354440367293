"""What a configuration needs of the machine, worked out before anything of that size is made."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from evolab.core.machine_memory import Need, require
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.envs.batches import leaf_dtype
from evolab.experiment.config.config import ExperimentConfig
from evolab.networks.genes import Genes
from evolab.population.spec import Spec

ENVIRONMENT = 2 * 2**10
"""Bytes of the smallest environment with what stands around it."""

PRIORITY = 13
"""Bytes that an agent has for every transition which it draws by priorities: the size of an error, and sums in double."""

PROCESS = 4 * 2**20
"""Bytes that a process has to itself at least."""


def environments(config: ExperimentConfig) -> Need:
    """Of the training environments, whatever they are."""
    count = config.population * config.num_envs
    each = PROCESS if config.vectorization == "async" else ENVIRONMENT
    size = 0 if config.environment is None else each * count
    of = f"population x num_envs = {config.population:,} x {config.num_envs:,}"
    return Need("environments", size, of, "population or num_envs")


def evaluation(config: ExperimentConfig) -> Need:
    """Of the environments that episodes of evaluation are played in, all of them at once."""
    episodes = config.eval_episodes or 1
    if config.fitness == "return" and config.language is None:
        count, name = config.population * episodes, "eval_episodes"
        of = f"population x eval_episodes = {config.population:,} x {episodes:,}"
    else:
        count, name, of = config.confirmation, "confirmation", f"confirmation={config.confirmation:,}"
    each = PROCESS if config.vectorization == "async" else ENVIRONMENT
    return Need("evaluation", 0 if config.environment is None else each * count, of, name, at_once=False)


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
    if not algorithm.offline:
        # An observation, an action, a reward, an end; successors may share memory with observations.
        row = _size(observation_space) + _size(action_space) + 5
        buffer = algorithm.buffer(config.buffer)
        if isinstance(buffer, RolloutBuffer):
            rows, of = buffer.horizon * config.population * config.num_envs, f"horizon={buffer.horizon:,}"
            lower = "the horizon of buffer=ev.RolloutBuffer(horizon)"
            needs.append(Need("experience", rows * row, of, lower, at_once=False))
        else:
            rows = buffer.capacity * (1 if buffer.shared else config.population)
            needs.append(
                Need("experience", rows * row, f"buffer={buffer.capacity:,}", "buffer", at_once=False)
            )
            if config.has("priority"):
                size = PRIORITY * buffer.capacity * config.population
                of = f"buffer x population = {buffer.capacity:,} x {config.population:,}"
                needs.append(Need("priorities", size, of, "buffer or population"))
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


def _size(space: spaces.Space) -> int:
    """Bytes of one element of a space."""
    if isinstance(space, spaces.Dict):
        return sum(_size(part) for part in space.values())
    if isinstance(space, spaces.Tuple):
        return sum(_size(part) for part in space)
    shape = tuple(space.shape or ())
    entries = int(np.prod(shape, dtype=object))
    # Of stacked frames each may be stored once.
    return leaf_dtype(space).itemsize * (entries // min(shape) if len(shape) > 2 else entries)
