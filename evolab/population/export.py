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
from torch import Tensor, nn

from evolab.core import checks
from evolab.core.actions import BoxActions, limits, nearest_whole
from evolab.core.choices import combined
from evolab.core.joined import Parts, together
from evolab.core.masks import counts_of, masked, of_outputs
from evolab.core.observed import is_whole, leaf_spaces, sampled
from evolab.core.trees import Tree, map_leaves
from evolab.networks.observations import encode
from evolab.population.acting import act_alone
from evolab.population.normalisation import NAME, scales_of
from evolab.population.recall import NOW, Memory
from evolab.population.spec import Spec
from evolab.population.table import Table
from evolab.storage.files import replace_bytes

SUFFIXES = (".onnx", ".pt2")
SCALES = ("observation_centre", "observation_factor", "observation_limit")
TOLERANCE = 1e-4
"""Largest difference to the agent's own actions, as a share of the action's range."""

GIVEN = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.float16)
}
"""Dtypes in which a program gives actions; other whole numbers become int64, other floats are the parameters' own."""


def module(table: Table, row: int) -> nn.Module:
    """The policy of an agent as a plain torch module; see `Agent.module`."""
    spec, individual = table.spec, table.individual(row)
    role = spec.roles[spec.policy]
    state = {key: value[0].detach().cpu().clone() for key, value in individual.tensors[spec.policy].items()}
    core = spec.network.module(role, individual.genes, state)
    statistics = individual.tensors.get(NAME, {}).get("observation")
    memory = spec.network.memory(individual.genes)
    return core if spec.network.reads_tokens else Policy(core, spec, memory, statistics)


class Policy(nn.Module):
    """Observations to actions (Box) or to values or logits of all actions (Discrete); see `Agent.module`.

    Attributes:
        memory: C and H of what is remembered between two steps; (0, 0) of a network that does not remember.
    """

    scale: Tensor
    centre: Tensor
    low: Tensor
    high: Tensor
    wholes: Tensor | None
    observation_centre: Tensor
    observation_factor: Tensor
    observation_limit: Tensor

    def __init__(
        self, core: nn.Module, spec: Spec, memory: tuple[int, int], statistics: Tensor | None = None
    ) -> None:
        super().__init__()
        self.core, self.memory = core, memory
        self._space, self._dtype = spec.observation_space, spec.dtype
        self._mode, self._preferences, self._width = (
            spec.algorithm.mode,
            spec.algorithm.preferences,
            spec.actions.width,
        )
        self._shape = tuple(spec.action_space.shape or ())
        self._bounded, self._whole = False, False
        self._normaliser, self._scaled = spec.normaliser, statistics is not None
        if statistics is not None:
            scales = scales_of(statistics.detach().cpu(), spec.dtype)
            for name, scale in zip(SCALES, scales, strict=True):
                self.register_buffer(name, scale)
        if isinstance(spec.actions, BoxActions):
            self._bounded, self._whole = True, spec.actions.whole
            self.register_buffer("centre", spec.actions.centre.detach().cpu().clone())
            self.register_buffer("scale", spec.actions.half.detach().cpu().clone())  # `half` is torch's
            if self._whole:
                self.register_buffer("low", spec.actions.low.detach().cpu().clone())
                self.register_buffer("high", spec.actions.high.detach().cpu().clone())
                wholes = spec.actions.wholes
                self.register_buffer("wholes", None if wholes is None else wholes.cpu().clone())

    def forward(self, observation: Tree, memory: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """[B, ...] observations to [B, ...] actions or [B, A] values.

        A network that remembers also takes what was remembered [B, C, H], zeros where an episode begins, and gives what
        is remembered now.
        """
        if any(self.memory) and memory is None:
            raise TypeError(
                f"this policy remembers: pass what it remembered, [B, {self.memory[0]}, {self.memory[1]}] and zeros where "
                "an episode begins; it gives (answer, what it remembers now)."
            )
        if self._scaled:
            scales = self.observation_centre, self.observation_factor, self.observation_limit
            observation = self._normaliser.standard(observation, scales, 1)
        features = encode(self._space, observation, 1, self._dtype)
        if memory is None:
            return self._answer(self.core(features))
        out, memory = self.core(features, memory)
        return self._answer(out), memory

    def _answer(self, out: Tensor) -> Tensor:
        if not self._bounded:
            return self._preferences(out)
        action = self._mode(out, self._width) * self.scale + self.centre
        if self._whole:
            action = nearest_whole(action, self.low, self.high, self.wholes)
        return action if len(self._shape) == 1 else action.reshape(*action.shape[:-1], *self._shape)


class Greedy(nn.Module):
    """A batch of observations [B, ...] to actions [B, ...] that `env.step` takes, post-processing included.

    Where a mask [B, W] comes with the observations, int8 as Gymnasium's are, actions are among those that it permits.
    Actions of a Dict or Tuple space are [B, A], all parts behind one another in the order of the space.
    """

    low: Tensor
    high: Tensor

    def __init__(self, table: Table, row: int) -> None:
        super().__init__()
        self.policy = module(table, row).eval().requires_grad_(False)
        space, self._actions = table.spec.action_space, table.actions
        self._kind, self._start, self._counts = "values", 0, [1]
        self._parts, self._shape = list(table.spec.actions.parts), tuple(space.shape or ())
        if isinstance(space, spaces.Box):
            self._kind = "box"
            self._given = GIVEN.get(
                np.dtype(space.dtype).name, torch.int64 if is_whole(space) else table.dtype
            )
            for name, bound in zip(("low", "high"), limits(space), strict=True):
                self.register_buffer(name, torch.as_tensor(bound, dtype=table.dtype))
        elif isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
            self._kind = "several"
            self._counts, start = combined(space)
            self.register_buffer("low", torch.as_tensor(start, dtype=torch.int64))
        else:
            assert isinstance(space, spaces.Discrete)
            self._start = int(space.start)

    def forward(self, observation: Tree, action_mask: Tensor | None = None) -> Tensor:
        """Greedy actions."""
        return self.chosen(self.policy(observation), action_mask)

    def chosen(self, out: Tensor, action_mask: Tensor | None) -> Tensor:
        """Greedy actions from the policy's answers."""
        if action_mask is not None:
            out = masked(out, of_outputs(self._actions, action_mask.bool()))
        if self._kind == "box":
            return torch.clamp(out, self.low, self.high).to(self._given)
        if self._kind == "values":
            return out.argmax(-1) + self._start
        if self._parts:
            parts = [own.argmax(-1) for own in out.split(self._parts, -1)]
        else:
            choice, parts = out.argmax(-1), []
            for count in reversed(self._counts):
                parts.insert(0, choice % count)
                choice = torch.div(choice, count, rounding_mode="floor")
        return (torch.stack(parts, -1) + self.low).reshape(-1, *self._shape)


class Remembering(Greedy):
    """The same of an agent that remembers: what it remembered [B, C, H] comes in, zeros at first, what it does now out."""

    def forward(  # type: ignore[override]
        self, observation: Tree, memory: Tensor, action_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Greedy actions, and what is remembered now."""
        out, now = self.policy(observation, memory)
        return self.chosen(out, action_mask), now


def export(table: Table, row: int, path: str | PathLike[str], action_mask: bool = False) -> Path:
    """Write an agent's greedy policy as a program of its own; see `Agent.export`."""
    path, algorithm = Path(path), table.algorithm
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
    if not isinstance(space, Parts):
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
