"""Acting: observations of the environments to actions in their own range, for all agents of a table or for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.algorithms.base import MaskedAlgorithm
from evolab.core.composite_actions import apart
from evolab.core.flags import any_of
from evolab.core.masks import as_mask, forbids_all, of_outputs, random_permitted
from evolab.core.space_trees import as_space, check_choices, check_tokens, holds_numbers, leading_shape
from evolab.core.trees import Tree, first_leaf, map_leaves, to_tensor
from evolab.networks.batching.group import AgentGroup
from evolab.networks.sequences import kept_where
from evolab.population.normalisation import deviation
from evolab.population.recurrent_state import Memory, reading, reading_alone
from evolab.population.table import Table

Given = ArrayLike | Tensor | None
"""What a caller may say of each environment."""

ONE = slice(0, 1)


def act(
    table: Table,
    observation: Tree,
    explore: bool | np.ndarray,
    ended: Given = None,
    action_mask: Given = None,
    memory: Memory | None = None,
) -> np.ndarray | Tensor:
    """Actions of all agents, each in its own environments; see `Population.act`."""
    observation, lead = _understood(table, observation)
    if len(lead) != 2 or lead[0] != table.size:
        shape = tuple(first_leaf(observation).shape)
        raise ValueError(f"observation has shape {shape}; [P, E, ...] with P = {table.size} is expected.")
    num_envs = lead[1]
    as_array = not isinstance(first_leaf(observation), Tensor)
    observed = table.seen(to_tensor(observation, table.device))
    mask = None if action_mask is None else _permitted(table, action_mask, lead)
    parts, groups = [], table.groups
    step = reading(table, memory, (lead[0], num_envs), ended)
    exploring, where = (bool(explore), None) if isinstance(explore, bool) else (True, explore)
    with torch.no_grad(), table.spec.products():
        if exploring:
            _restart_exploration(table, num_envs, ended)
        for group in groups:
            part, noted = observed, table.memory
            if len(groups) > 1:
                part = map_leaves(lambda leaf, rows=group.rows: leaf[rows], observed)
                noted = {name: value[group.rows] for name, value in noted.items()}
            own = None if mask is None else mask[group.rows]
            part = step.of(part, group.rows)
            if exploring:
                parts.append(_explored(table, group, part, noted, own, where))
                group.pace.earn(num_envs)
            else:
                parts.append(_greedy(table, group, part, own))
        if exploring:
            table.count_steps(num_envs)
        step.note()
        action = _to_environment(table, parts[0] if len(parts) == 1 else torch.cat(parts))
    return table.actions.to_numpy(action) if as_array else action


def _greedy(table: Table, group: AgentGroup, part: Tree, mask: Tensor | None) -> Tensor:
    """Greedy actions of a group, among those that are permitted."""
    algorithm = table.algorithm
    if mask is None or not isinstance(algorithm, MaskedAlgorithm):
        return algorithm.act(group, part)
    return algorithm.act(group, part, mask)


def _sampled(
    table: Table, group: AgentGroup, part: Tree, memory: dict[str, Tensor], mask: Tensor | None
) -> Tensor:
    """Actions of a group to learn from, among those that are permitted."""
    algorithm = table.algorithm
    if mask is None or not isinstance(algorithm, MaskedAlgorithm):
        return algorithm.sample(group, part, memory, table.generator)
    return algorithm.sample(group, part, memory, table.generator, mask)


def _explored(
    table: Table,
    group: AgentGroup,
    part: Tree,
    memory: dict[str, Tensor],
    mask: Tensor | None,
    where: np.ndarray | None,
) -> Tensor:
    """Actions of a group to learn from; greedy ones where `where`, [P, E] of all agents, is False."""
    algorithm = table.algorithm
    if where is None:
        return _sampled(table, group, part, memory, mask)
    greedy = _greedy(table, group, part, mask)
    exploring = torch.as_tensor(where[group.rows], device=greedy.device)
    if algorithm.samples_apart:
        with kept_where(~exploring, part):
            other = _sampled(table, group, part, memory, mask)
    elif mask is None or not isinstance(algorithm, MaskedAlgorithm):  # the same actions, with noise
        other = algorithm.explore(group, greedy, memory, table.generator)
    else:
        other = algorithm.explore(group, greedy, memory, table.generator, mask)
    return torch.where(exploring.view(*exploring.shape, *[1] * (greedy.dim() - 2)), other, greedy)


def act_alone(
    table: Table,
    row: int,
    observation: Tree,
    explore: bool = False,
    action_mask: Given = None,
    memory: Memory | None = None,
) -> Any:
    """The action of one agent for one observation, or for a batch of them; see `Agent.act`."""
    observation, lead = _understood(table, observation)
    if len(lead) > 1:
        shape, own = tuple(first_leaf(observation).shape), table.spec.observation_space
        raise ValueError(
            f"observation has shape {shape}; one observation of {own} or a batch of them is expected."
        )
    if not table.network.reads_tokens:
        check_choices(table.spec.observation_space, observation)
    single = not lead
    as_array = not isinstance(first_leaf(observation), Tensor)
    batch = map_leaves(lambda leaf: leaf[None, None] if single else leaf[None], observation)
    observed = table.seen(to_tensor(batch, table.device), slice(row, row + 1))  # [1, B, ...]
    group = table.solo(row)
    mask = None if action_mask is None else _permitted(table, action_mask, lead).reshape(1, *lead or (1,), -1)
    count = first_leaf(observed).shape[1]
    step = reading_alone(table, row, memory, count)
    seen = step.of(observed, ONE)
    with torch.no_grad():
        if explore:
            _restart_exploration(table, count)
            noted = {name: value[row : row + 1, :count] for name, value in table.memory.items()}
            unit = _sampled(table, group, seen, noted, mask)
            table.count_steps(count, row)  # what epsilon goes by
        else:
            unit = _greedy(table, group, seen, mask)
        step.note()
        action = _to_environment(table, unit)
    result = table.actions.to_numpy(action)[0] if as_array else action[0]
    result = apart(table.spec.action_space, result[0] if single else result)
    if not single or isinstance(result, (dict, tuple)):
        return result
    return result.item() if as_array and np.ndim(result) == 0 else result


def values(table: Table, observation: Tree, action_mask: Given = None) -> np.ndarray | None:
    """[P, E]: the discounted return that every agent expects from observations [P, E, ...] of its own, in rewards' units.

    None where the algorithm estimates none.
    """
    observation, lead = _understood(table, observation)
    observed, algorithm = table.seen(to_tensor(observation, table.device)), table.algorithm
    mask = None if action_mask is None else _permitted(table, action_mask, lead)
    parts = []
    with torch.no_grad(), table.spec.products():
        for group in table.groups:
            own = map_leaves(lambda leaf, rows=group.rows: leaf[rows], observed)
            if mask is None or not isinstance(algorithm, MaskedAlgorithm):
                found = algorithm.value(group, own)
            else:
                found = algorithm.value(group, own, mask[group.rows])
            if found is None:
                return None
            parts.append(found)
    expected = torch.cat(parts).double()
    rows = table.statistics().get("return")
    return (expected if rows is None else expected * deviation(rows)[:, None]).cpu().numpy()


def random_actions(
    table: Table, num_envs: int, generator: np.random.Generator, mask: Given = None
) -> np.ndarray:
    """Uniform actions [P, E, ...] in the environment's own range, of those that a mask [P, E, W] permits."""
    lead = table.size, num_envs
    if mask is None:
        return table.actions.random(lead, generator)
    return random_permitted(table.spec.action_space, checked(table, mask, lead), generator)


def checked(table: Table, given: Given, lead: tuple[int, ...]) -> np.ndarray:
    """[*lead, W], the caller's masks as truth values.

    Raises:
        ValueError: they do not fit the actions or the observations, or forbid everything.
    """
    space = table.spec.action_space
    mask = as_mask(space, given, "action_mask")
    if mask.shape[:-1] != lead:
        raise ValueError(f"action_mask has shape {mask.shape}; {(*lead, mask.shape[-1])} is expected.")
    if (nothing := forbids_all(space, mask)).any():
        raise ValueError(
            f"action_mask forbids every action in {int(nothing.sum())} of {nothing.size} rows; one has to be permitted "
            "at least. An environment in which nothing is left to do ends the episode: terminated=True."
        )
    return mask


def _permitted(table: Table, given: Given, lead: tuple[int, ...]) -> Tensor:
    """[*lead, A], which of the networks' outputs the caller's masks permit."""
    return of_outputs(table.actions, torch.as_tensor(checked(table, given, lead), device=table.device))


def _to_environment(table: Table, unit: Tensor) -> Tensor:
    if unit.is_floating_point():
        unit = torch.nan_to_num(unit)  # a diverged agent must not end the run
    return table.actions.to_environment(unit)


def _restart_exploration(table: Table, num_envs: int, ended: Given = None) -> None:
    """Have room for what exploration remembers, zero where an episode has ended."""
    memory = table.memory
    # At most steps no episode ends.
    over = ended is not None and (isinstance(ended, Tensor) or any_of(np.asarray(ended)))
    for name, shape in table.algorithm.memory(table.size, num_envs, table.actions).items():
        if name not in memory or memory[name].shape != shape:
            memory[name] = torch.zeros(shape, dtype=table.dtype, device=table.device)
        elif over:
            memory[name][torch.as_tensor(ended, device=table.device, dtype=torch.bool)] = 0


def _understood(table: Table, observation: Tree) -> tuple[Tree, tuple[int, ...]]:
    """The observation in the order of its space, and its leading axes."""
    spec = table.spec
    if isinstance(observation, (np.ndarray, Tensor)) and spec.observation_shape is not None:
        lead = len(observation.shape) - len(spec.observation_shape)  # the usual case, at less cost
        fits = lead >= 0 and observation.shape[lead:] == spec.observation_shape
        if fits and holds_numbers(observation):
            return observation, observation.shape[:lead]
    observation = as_space(spec.observation_space, observation)
    if spec.network.reads_tokens:  # as many as there are so far
        assert isinstance(observation, (np.ndarray, Tensor))
        check_tokens(spec.observation_space, observation)
        return observation, tuple(observation.shape[:-1])
    return observation, leading_shape(spec.observation_space, observation)
