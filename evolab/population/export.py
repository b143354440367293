"""Agents for other programs: plain torch modules, ONNX and torch.export."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core import checks
from evolab.core.actions import limits
from evolab.core.composite_actions import ActionParts, together
from evolab.core.masks import counts_of
from evolab.core.space_trees import is_whole, leaf_spaces, sampled
from evolab.core.trees import Tree, map_leaves
from evolab.population.acting import act_alone
from evolab.population.policy import Greedy, Remembering
from evolab.population.recurrent_state import NOW, Memory
from evolab.population.table import Table
from evolab.storage.files import replace_bytes

SUFFIXES = (".onnx", ".pt2")
TOLERANCE = 1e-4
"""Largest difference to the agent's own actions, as a share of the action's range."""


def export(table: Table, row: int, path: str | PathLike[str], action_mask: bool = False) -> Path:
    """Write an agent's greedy policy as a program of its own; see `Agent.export`."""
    path, algorithm = checks.path("path", path), table.algorithm
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path.name}: the suffix decides the format; .onnx or .pt2 (torch.export) is expected."
        )
    if table.network.reads_tokens:
        raise ValueError(
            f"agent {table.ids[row]} reads tokens ({algorithm.name}): what it says next depends on how long the "
            f"episode is, which no program of observations to actions is written for. Call agent.save(folder), "
            f"which `transformers` loads, or agent.module() for the logits of all tokens."
        )
    if action_mask and not counts_of(table.spec.action_space):
        raise ValueError(f"action_mask: actions of {table.spec.action_space} have no masks. Leave it out.")
    kind = Remembering if table.network.remembers else Greedy
    greedy, batch = kind(table, row), {0: torch.export.Dim("batch")}
    given = _given(table, row, 4, action_mask)
    shapes = {name: map_leaves(lambda _: batch, value) for name, value in given.items()}
    (_write_onnx if path.suffix == ".onnx" else _write_program)(greedy, given, shapes, path)
    given = _given(table, row, 7, action_mask)
    found: list[Tensor] | None = (_run_onnx if path.suffix == ".onnx" else _run_program)(path, given)
    if found is not None and not _same(table, row, given, found):
        path.unlink(missing_ok=True)
        raise ValueError(
            f"{path.name}: the exported policy answers differently from the agent, so it was removed. "
            f"{algorithm.name}'s act() does more than its network; export agent.module() yourself."
        )
    return path


Given = dict[str, Any]
"""What a program is given by name: "observation", a tree of tensors [B, ...], "memory" and "action_mask" where asked for."""


def _write_program(greedy: Greedy, given: Given, shapes: dict[str, Tree], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own tracing
        arguments = tuple(given.values())
        program = torch.export.export(greedy, arguments, dynamic_shapes=tuple(shapes.values()))
    data = io.BytesIO()
    torch.export.save(program, data)
    replace_bytes(path, data.getvalue())


def _run_program(path: Path, given: Given) -> list[Tensor]:
    found = torch.export.load(path).module()(*given.values())
    return list(found) if isinstance(found, tuple) else [found]


def _write_onnx(greedy: Greedy, given: Given, shapes: dict[str, Tree], path: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise checks.missing("ONNX export", "onnx and onnxscript", "onnx") from error
    with warnings.catch_warnings(), open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
        warnings.simplefilter("ignore")
        exported: Any = torch.onnx.export(
            greedy,
            kwargs=given,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=[name for part, value in given.items() for name, _ in _inputs(value, part)],
            output_names=["action", *(["memory_now"] if "memory" in given else [])],
            verbose=False,
        )
    replace_bytes(path, exported.model_proto.SerializeToString())


def _inputs(observation: Tree, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every input of an ONNX file by its name, which says where in the observation it is: "observation['camera'][0]"."""
    if isinstance(observation, (dict, tuple)):
        for key, part in observation.items() if isinstance(observation, dict) else enumerate(observation):
            yield from _inputs(part, f"{name}[{key!r}]")
    else:
        assert isinstance(observation, Tensor)
        yield name, observation


def _run_onnx(path: Path, given: Given) -> list[Tensor] | None:
    """The answers by onnxruntime; None where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    named = [leaf for part, value in given.items() for leaf in _inputs(value, part)]
    found = session.run(None, {name: leaf.numpy() for name, leaf in named})
    return [torch.as_tensor(one) for one in found]


def _same(table: Table, row: int, given: Given, answers: list[Tensor]) -> bool:
    """True where these actions are the agent's own, and so is what it remembers after them."""
    memory, found = Memory(), answers[0]
    if "memory" in given:
        memory.state[NOW] = given["memory"].to(table.device)[None]
    observation = map_leaves(lambda leaf: leaf.numpy(), given["observation"])
    space = table.spec.action_space
    own = act_alone(table, row, observation, action_mask=given.get("action_mask"), memory=memory)
    if "memory" in given:
        gap = memory.state[NOW][0, ..., : given["memory"].shape[-1]].cpu() - answers[1]
        if not bool((gap.abs() <= TOLERANCE).all()):
            return False
    expected = torch.as_tensor(np.asarray(together(space, own)))
    if not isinstance(space, ActionParts):
        return _alike(space, found, expected)
    sizes = [int(np.prod(leaf.shape or (1,))) for _, leaf in leaf_spaces(space.parts)]
    each = zip(leaf_spaces(space.parts), found.split(sizes, -1), expected.split(sizes, -1), strict=True)
    return all(
        _alike(leaf, *(one.reshape(len(one), *(leaf.shape or ())) for one in both))
        for (_, leaf), *both in each
    )


def _alike(space: spaces.Space, found: Tensor, expected: Tensor) -> bool:
    """True where these actions [B, ...] are the same but for rounding."""
    if isinstance(space, spaces.Box) and not is_whole(space):
        low, high = limits(space)
        rounded = np.finfo(space.dtype).eps * np.maximum(np.abs(low), np.abs(high))
        width = torch.as_tensor(high - low + rounded / TOLERANCE)
        return bool(((found.double() - expected.double()).abs() <= TOLERANCE * width).all())
    same = found.numpy() == expected.numpy()  # torch compares no uint32 with int64
    return bool(same.mean() > 0.8)  # what lies between two may fall either way


def _given(table: Table, row: int, count: int, masks: bool) -> Given:
    """What a program is tried on."""
    given: Given = {"observation": _examples(table, count)}
    if table.network.remembers:
        shape = count, *table.network.memory(table.individuals[row].genes)
        given["memory"] = torch.rand(shape, dtype=table.dtype, generator=torch.Generator().manual_seed(count))
    if masks:  # one half is permitted, the first of every choice at least
        counts = counts_of(table.spec.action_space)
        drawn = np.random.default_rng(count).integers(0, 2, (count, sum(counts)), dtype=np.int8)
        drawn[:, np.cumsum(counts) - counts] = 1
        given["action_mask"] = torch.from_numpy(drawn)
    return given


def _examples(table: Table, count: int) -> Tree:
    """Observations [B, ...] as tensors, the same ones for the same count."""
    return sampled(table.spec.observation_space, (count,), np.random.default_rng(count))
