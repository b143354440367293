"""Acting: observations of the environments to actions in their own range, for all agents of a table or for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.device import products
from evolab.core.trees import first_leaf, map_leaves, to_tensor
from evolab.population.table import Table


def act(table: Table, observation: Any, explore: bool, ended: Any = None) -> Any:
    """Actions of all agents, each in its own environments; see `Population.act`."""
    as_array = not isinstance(first_leaf(observation), Tensor)
    observed = to_tensor(observation, table.device)
    shape = first_leaf(observed).shape
    if shape[0] != table.size:
        raise ValueError(
            f"observation has shape {tuple(shape)}; [P, E, ...] with P = {table.size} is expected."
        )
    num_envs = shape[1]
    parts = []
    with torch.no_grad(), products(table.device, table.spec.precision):
        if explore:
            _remember(table, num_envs, ended)
        for group in table.groups:
            part = observed
            if len(table.groups) > 1:
                part = map_leaves(lambda leaf, rows=group.rows: leaf[rows], observed)
            if explore:
                memory = {name: value[group.rows] for name, value in table.memory.items()}
                parts.append(table.algorithm.sample(group, part, memory, table.generator))
                group.credit += num_envs
            else:
                parts.append(table.algorithm.act(group, part))
        if explore:
            table.count_steps(num_envs)
        action = _to_environment(table, parts[0] if len(parts) == 1 else torch.cat(parts))
    return table.actions.to_numpy(action) if as_array else action


def act_alone(table: Table, row: int, observation: Any, explore: bool = False) -> Any:
    """The action of one agent for one observation, or for a batch of them; see `Agent.act`."""
    leaf = first_leaf(observation)
    single = np.ndim(leaf) == len(_first_space(table.spec.observation_space).shape or ())
    as_array = not isinstance(leaf, Tensor)
    batch = map_leaves(lambda x: x[None] if isinstance(x, Tensor) else np.asarray(x)[None], observation)
    batch = map_leaves(lambda x: x[None], batch) if single else batch
    observed = to_tensor(batch, table.device)  # [1, B, ...]
    group = table.solo(row)
    with torch.no_grad():
        if explore:
            count = first_leaf(observed).shape[1]
            _remember(table, count)
            memory = {name: value[row : row + 1, :count] for name, value in table.memory.items()}
            unit = table.algorithm.sample(group, observed, memory, table.generator)
            table.count_steps(count, row)  # what epsilon goes by
        else:
            unit = table.algorithm.act(group, observed)
        action = _to_environment(table, unit)
    result = table.actions.to_numpy(action)[0] if as_array else action[0]
    if not single:
        return result
    result = result[0]
    return result.item() if as_array and np.ndim(result) == 0 else result


def random_actions(table: Table, num_envs: int, generator: np.random.Generator) -> np.ndarray:
    """Uniform actions [P, E, ...] in the environment's own range."""
    return table.actions.random((table.size, num_envs), generator)


def _to_environment(table: Table, unit: Tensor) -> Tensor:
    if unit.is_floating_point():
        unit = torch.nan_to_num(unit)  # a diverged agent loses its tournament, not the run
    return table.actions.to_environment(unit)


def _remember(table: Table, num_envs: int, ended: Any = None) -> None:
    """Have room for what exploration remembers, zero where an episode has ended."""
    memory = table.memory
    for name, shape in table.algorithm.memory(table.size, num_envs, table.actions).items():
        if name not in memory or memory[name].shape != shape:
            memory[name] = torch.zeros(shape, dtype=table.dtype, device=table.device)
        elif ended is not None:
            memory[name][torch.as_tensor(ended, device=table.device, dtype=torch.bool)] = 0


def _first_space(space: spaces.Space) -> spaces.Space:
    if isinstance(space, spaces.Dict):
        return _first_space(next(iter(space.values())))
    if isinstance(space, spaces.Tuple):
        return _first_space(space[0])
    return space
