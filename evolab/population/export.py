"""Agents for other programs: ONNX and torch.export, from an observation to an action of the environment."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from evolab.core import checks
from evolab.core.trees import map_leaves
from evolab.storage.files import replace_bytes

if TYPE_CHECKING:
    from evolab.population.agent import Agent

SUFFIXES = (".onnx", ".pt2")
TOLERANCE = 1e-4
"""Largest difference to the agent's own actions, as a share of the action's range."""


class Acting(nn.Module):
    """A batch of observations [B, ...] to actions [B, ...] that `env.step` takes, post-processing included."""

    low: Tensor
    high: Tensor

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.policy = agent.module().eval().requires_grad_(False)
        space = agent._population.action_space
        self._kind, self._start, self._counts = "values", 0, [1]
        if isinstance(space, spaces.Box):
            self._kind = "box"
            dtype = agent._population.dtype
            self.register_buffer("low", torch.as_tensor(np.asarray(space.low), dtype=dtype))
            self.register_buffer("high", torch.as_tensor(np.asarray(space.high), dtype=dtype))
        elif isinstance(space, spaces.MultiDiscrete):
            self._kind = "several"
            self._counts = [int(count) for count in np.asarray(space.nvec).ravel()]
            self.register_buffer("low", torch.as_tensor(np.asarray(space.start).ravel(), dtype=torch.int64))
        else:
            self._start = int(space.start)  # type: ignore[attr-defined]

    def forward(self, observation: Any) -> Tensor:
        """Greedy actions."""
        out = self.policy(observation)
        if self._kind == "box":
            return torch.clamp(out, self.low, self.high)
        choice = out.argmax(-1)
        if self._kind == "values":
            return choice + self._start
        parts = []
        for count in reversed(self._counts):
            parts.append(choice % count)
            choice = torch.div(choice, count, rounding_mode="floor")
        return torch.stack(parts[::-1], -1) + self.low


def export(agent: Agent, path: str | PathLike[str]) -> Path:
    """Write the agent's greedy policy as a program of its own; see `Agent.export`."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path.name}: the suffix decides the format; .onnx or .pt2 (torch.export) is expected."
        )
    if agent._population.algorithm.reads_tokens:
        raise ValueError(
            f"agent {agent.id} reads tokens ({agent.algorithm.name}): what it says next depends on how long the "
            f"episode is, which no program of observations to actions is written for. Call agent.save(folder), "
            f"which `transformers` loads, or agent.module() for the logits of all tokens."
        )
    acting = Acting(agent)
    examples = _examples(agent, 4)
    batch = torch.export.Dim("batch")
    shapes = ({key: {0: batch} for key in examples} if isinstance(examples, dict) else {0: batch},)
    if isinstance(examples, tuple):
        shapes = (tuple({0: batch} for _ in examples),)  # type: ignore[assignment]
    if path.suffix == ".pt2":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its own tracing
            program = torch.export.export(acting, (examples,), dynamic_shapes=shapes)
        data = io.BytesIO()
        torch.export.save(program, data)
        replace_bytes(path, data.getvalue())
        found = program.module()(_examples(agent, 7))
        _compare(agent, found, path)
        return path
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise checks.missing("ONNX export", "onnx and onnxscript", "onnx") from error
    with warnings.catch_warnings(), open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
        warnings.simplefilter("ignore")
        exported: Any = torch.onnx.export(
            acting,
            kwargs={"observation": examples},
            dynamo=True,
            dynamic_shapes={"observation": shapes[0]},
            output_names=["action"],
            verbose=False,
        )
    data = exported.model_proto.SerializeToString()
    replace_bytes(path, data)
    _run(agent, data, path)
    return path


def _run(agent: Agent, data: bytes, path: Path) -> None:
    """Compare with onnxruntime's answers, where it is installed."""
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    leaves: list[np.ndarray] = []
    map_leaves(lambda leaf: leaves.append(leaf.numpy()), _examples(agent, 7))
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, leaves, strict=True)))
    _compare(agent, torch.as_tensor(found), path)


def _compare(agent: Agent, found: Tensor, path: Path) -> None:
    """Remove the file and say so where it answers differently from the agent."""
    expected = torch.as_tensor(
        np.asarray(agent.act(map_leaves(lambda leaf: leaf.numpy(), _examples(agent, 7))))
    )
    space = agent._population.action_space
    if isinstance(space, spaces.Box):
        width = torch.as_tensor(np.asarray(space.high - space.low), dtype=torch.float64)
        same = bool(((found.double() - expected.double()).abs() <= TOLERANCE * width).all())
    else:
        same = bool((found == expected).double().mean() > 0.8)  # values that tie may fall either way
    if not same:
        path.unlink(missing_ok=True)
        raise ValueError(
            f"{path.name}: the exported policy answers differently from the agent, so it was removed. "
            f"{agent.algorithm.name}'s act() does more than its network; export agent.module() yourself."
        )


def _examples(agent: Agent, count: int) -> Any:
    """Observations [B, ...] as tensors, the same ones for the same count."""
    stream = np.random.default_rng(count)
    return _drawn(agent._population.observation_space, count, stream)


def _drawn(space: Any, count: int, stream: np.random.Generator) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _drawn(part, count, stream) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_drawn(part, count, stream) for part in space)
    shape = (count, *(space.shape or ()))
    if isinstance(space, spaces.Box):
        if space.dtype.kind in "iu":
            drawn = stream.integers(space.low, space.high, shape, endpoint=True)
        else:
            drawn = stream.normal(size=shape).clip(space.low, space.high)
        dtype = np.float32 if space.dtype == np.float64 else space.dtype  # what environments hand on
        return torch.from_numpy(np.asarray(drawn).astype(dtype))
    if isinstance(space, spaces.Discrete):
        return torch.from_numpy(stream.integers(space.n, size=shape) + int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return torch.from_numpy(space.start + stream.integers(0, space.nvec, shape))
    return torch.from_numpy(stream.integers(0, 2, shape).astype(np.int8))
