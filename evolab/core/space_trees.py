"""Trees of the form of a space, and the observations of a user in the structure and order of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.experience import Episodes
from evolab.core.trees import Tree

MEND = "env.reset() returns (observation, info) and env.step() five values: pass the observation alone."


def map_space(function: Callable[..., object], space: spaces.Space, *trees: Any) -> Any:
    """A tree of the form of a space with `function(leaf space, *leaves of the trees)` in the place of every leaf.

    >>> map_space(lambda leaf, x: x + int(leaf.n), spaces.Dict({"x": spaces.Discrete(3)}), {"x": 10})
    {'x': 13}
    """
    if isinstance(space, spaces.Dict):
        return {key: map_space(function, part, *(tree[key] for tree in trees)) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map_space(function, *parts) for parts in zip(space, *trees, strict=True))
    return function(space, *trees)


def leaf_spaces(
    space: spaces.Space, path: tuple[object, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], spaces.Space]]:
    """Every space within Dict and Tuple spaces, with the keys that lead to it, in order."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        for key, part in space.items() if isinstance(space, spaces.Dict) else enumerate(space):
            yield from leaf_spaces(part, (*path, key))
    else:
        yield path, space


def is_whole(space: spaces.Box) -> bool:
    """True for a Box of integers or booleans."""
    return np.dtype(space.dtype).kind in "iub"


def sampled(space: spaces.Space, lead: tuple[int, ...], stream: np.random.Generator) -> Any:
    """Random observations (or actions) [*lead, ...] of a space as tensors, floats normally distributed."""

    def leaf(part: spaces.Space) -> Tensor:
        shape = (*lead, *(part.shape or ()))
        if isinstance(part, spaces.Box):
            if is_whole(part):
                drawn = stream.integers(part.low, part.high, shape, endpoint=True)
            else:
                drawn = stream.normal(size=shape).clip(part.low, part.high)
            dtype = np.float32 if part.dtype == np.float64 else part.dtype  # what environments hand on
            return torch.from_numpy(np.asarray(drawn).astype(dtype))
        if isinstance(part, spaces.Discrete):
            return torch.from_numpy(stream.integers(part.n, size=shape) + int(part.start))
        if isinstance(part, spaces.MultiDiscrete):
            return torch.from_numpy(part.start + stream.integers(0, part.nvec, shape))
        return torch.from_numpy(stream.integers(0, 2, shape).astype(np.int8))

    return map_space(leaf, space)


def as_space(space: spaces.Space, observation: object, path: str = "observation") -> Tree:
    """The observation with the keys of its space, in the space's order; leaves are arrays or tensors.

    Environments hand out their own order of keys, Gymnasium sorts those of a space that is made from
    a dict: walking the observation may give another order of leaves than walking the space.

    Raises:
        ValueError: it has another structure, or holds no numbers.

    >>> space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(3)})
    >>> as_space(space, {"b": np.array(2), "a": np.array(1)})
    {'a': array(1), 'b': array(2)}
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, Mapping) or set(observation) != set(space):
            hint = f" {MEND}" if isinstance(observation, tuple) else ""
            raise ValueError(
                f"{path} is {_told(observation)}; its space has the keys {', '.join(space)}.{hint}"
            )
        return {key: as_space(part, observation[key], f"{path}[{key!r}]") for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(observation, (tuple, list)) or len(observation) != len(space):
            raise ValueError(f"{path} is {_told(observation)}; its space is a tuple of {len(space)} parts.")
        parts = zip(space, observation, strict=True)
        return tuple(as_space(part, value, f"{path}[{i}]") for i, (part, value) in enumerate(parts))
    if isinstance(observation, (np.ndarray, Tensor)) and holds_numbers(observation):
        return observation
    try:
        array = np.asarray(observation)
    except ValueError:  # parts of different shape
        array = np.empty(0, object)
    if not holds_numbers(array):
        hint = f" {MEND}" if isinstance(observation, tuple) else ""
        raise ValueError(f"{path} is {_told(observation)}; its space is {space}.{hint}")
    return array


def holds_numbers(leaf: np.ndarray | Tensor) -> bool:
    """True for real and whole numbers and truth values, False for complex numbers, texts and objects."""
    return not leaf.is_complex() if isinstance(leaf, Tensor) else leaf.dtype.kind in "biuf"


def leading_shape(space: spaces.Space, observation: Tree, path: str = "observation") -> tuple[int, ...]:
    """The axes before an observation's own, which all of its leaves have in common.

    Args:
        space: of one observation.
        observation: as `as_space` gives it.
        path: what messages call it.

    Raises:
        ValueError: a leaf does not end in its space's shape, or leaves differ in what comes before.
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        inner: Any = observation  # a dict or tuple, as its space
        found = {key: leading_shape(part, inner[key], f"{path}[{key!r}]") for key, part in parts}
        first = next(iter(found.values()), ())
        wrong = next((key for key, shape in found.items() if shape != first), None)
        if wrong is not None:
            raise ValueError(
                f"{path}[{wrong!r}] comes in a batch of shape {found[wrong]}, another part of {path} in {first}."
            )
        return first
    assert isinstance(observation, (np.ndarray, Tensor))
    own, shape = tuple(space.shape or ()), tuple(observation.shape)
    split = len(shape) - len(own)
    if split < 0 or shape[split:] != own:
        raise ValueError(
            f"{path} has shape {shape}; one of {space} has shape {own}, a batch (B, ...) of them."
        )
    return shape[:split]


def check_choices(space: spaces.Space, observation: Tree, path: str = "observation") -> None:
    """Refuse an entry that a Discrete, MultiDiscrete or MultiBinary space does not have; a Box is not looked at.

    Args:
        space: of one observation.
        observation: as `as_space` gives it, one or a batch of them.
        path: what messages call it.

    Raises:
        ValueError: an entry is no whole number, or none of the space's.
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        inner: Any = observation  # a dict or tuple, as its space
        for key, part in space.items() if isinstance(space, spaces.Dict) else enumerate(space):
            check_choices(part, inner[key], f"{path}[{key!r}]")
        return
    if isinstance(space, spaces.Box):
        return
    leaf: Any = observation
    values = leaf.detach().cpu().numpy() if isinstance(leaf, Tensor) else np.asarray(leaf)
    least: Any = 0
    most: Any = 1  # of MultiBinary
    if isinstance(space, spaces.Discrete):
        least, most = int(space.start), int(space.start + space.n) - 1
    elif isinstance(space, spaces.MultiDiscrete):
        least, most = space.start, space.start + space.nvec - 1
    # NaN is neither above nor below anything.
    wrong = ~((values >= least) & (values <= most) & (values == np.round(values)))
    if wrong.any():
        raise ValueError(f"{path} holds {np.asarray(values)[wrong][0]}, which {space} does not have.")


def check_tokens(space: spaces.Space, tokens: np.ndarray | Tensor, name: str = "observation") -> None:
    """Refuse what is no sequence of tokens [..., T], of at least one and at most as many as the space has.

    Args:
        space: of tokens.
        tokens: as they came.
        name: what messages call them.

    Raises:
        ValueError: says what came, and which tokens there are.
    """
    longest, size = len(space.nvec), int(space.nvec.flat[0])  # type: ignore[attr-defined]  # a MultiDiscrete
    found = tokens.cpu().numpy() if isinstance(tokens, Tensor) else tokens
    whole = bool(found.ndim and found.size and (found == np.floor(found)).all())
    if whole and found.shape[-1] <= longest and 0 <= found.min() <= found.max() < size:
        return
    wrong = f"; it holds {found.min():g} to {found.max():g}" if found.size else ""
    raise ValueError(
        f"{name} is {_told(tokens)}{wrong}. Expected tokens (T,) so far, or a batch (B, T) of them: "
        f"whole numbers from 0 to {size - 1}, one at least and {longest} at most."
    )


def check_episodes(space: spaces.Space, episodes: Episodes) -> None:
    """Refuse episodes whose parts do not fit one another, or whose tokens do not fit a space.

    Raises:
        ValueError: says what came and what is expected.
    """
    if episodes.tokens.device.type == "meta":  # has no values
        return
    check_tokens(space, episodes.tokens, "tokens")
    if episodes.tokens.is_floating_point():
        raise ValueError(f"tokens is {episodes.tokens.dtype}; whole numbers (int64) are expected.")
    shape = tuple(episodes.tokens.shape)
    expected = {"action_mask": shape, "reward": shape, "terminated": shape[:-1], "length": shape[:-1]}
    for part, wanted in expected.items():
        if (found := tuple(getattr(episodes, part).shape)) != wanted:
            raise ValueError(f"{part} has shape {found}; tokens of shape {shape} go with one of {wanted}.")
    least, most = (int(bound) for bound in episodes.length.aminmax())
    if not 1 <= least <= most <= shape[-1]:
        raise ValueError(f"length goes from {least} to {most}; there are {shape[-1]} tokens of each episode.")


def _told(value: object) -> str:
    """What came, in a few words."""
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {', '.join(type(part).__name__ for part in value[:6])}"
    if isinstance(value, (np.ndarray, Tensor)):
        kind = "" if holds_numbers(value) else f" of {value.dtype}"
        return f"an array{kind} of shape {tuple(value.shape)}"
    return "None" if value is None else f"{str(value)[:40]!r} ({type(value).__name__})"
