"""A stand-in for a CUDA graph on any device: operations are noted with the tensors they touch, and done again.

As with a graph, recording leaves every tensor and generator as it was, what the host decided stays decided,
and a replay reads and writes the very tensors of the recording. What would need the host during a recording
is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evolab.networks.batching.cuda_graphs import Recording

HOST = {
    "aten._local_scalar_dense.default",
    "aten.lift_fresh.default",  # a tensor made of the host's numbers
    "aten.is_nonzero.default",
    "aten.masked_select.default",
    "aten.nonzero.default",
    "aten.unique_consecutive.default",
}
"""Operations that wait for the device, or copy from the host."""


class Notes(TorchDispatchMode):
    """The operations of some work, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        self.own: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if str(func) in HOST:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        for tensor in _written(func, args, kwargs):
            if tensor.untyped_storage().data_ptr() not in self.own:
                self.before.append((tensor, tensor.clone()))
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        for tensor in _fresh(args, kwargs, out):
            self.own.add(tensor.untyped_storage().data_ptr())
        return out


def record(work: Callable[[], dict[str, Tensor]], generator: torch.Generator) -> Recording:
    """As `evolab.networks.batching.cuda_graphs.record`."""
    state = generator.get_state()
    with Notes() as notes:
        results = work()
    for tensor, value in reversed(notes.before):
        tensor.copy_(value)
    generator.set_state(state)

    def replay() -> None:
        with torch.no_grad():
            for func, args, kwargs, out in notes.calls:
                again = func(*args, **kwargs)
                kept = {id(tensor) for tensor in _fresh(args, kwargs, out)}
                for tensor, value in zip(_tensors(out), _tensors(again), strict=True):
                    if id(tensor) in kept:
                        tensor.copy_(value)

    return Recording(results, replay)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _fresh(args: Any, kwargs: Any, out: Any) -> list[Tensor]:
    """The results that are neither arguments nor views of them."""
    given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
    return [tensor for tensor in _tensors(out) if tensor.untyped_storage().data_ptr() not in given]


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operation writes to."""
    found: list[Tensor] = []
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            found += _tensors(value)
    return found
