"""CUDA graphs: a group's updates recorded once and replayed as one launch.

An update of small networks is some two hundred kernels of a few microseconds each, and launching
them from Python takes longer than running them. A recording holds sampling, noise, passes, Adam and
targets of several updates. It is bound to addresses, so everything that an update reads or writes
stays where it is: the table, the hyperparameters, the weights of the samples and the buffer.
`EVOLAB_GRAPHS=0` in the environment leaves recordings out.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Losses = dict[str, Tensor]
Work = Callable[[], Losses]

MOST = 32
"""Recordings that a group keeps, those used last: each holds the activations of its updates."""


def possible(device: torch.device) -> bool:
    """True where work on this device may be recorded."""
    return device.type == "cuda" and os.environ.get("EVOLAB_GRAPHS", "1") != "0"


@dataclass
class Recording:
    """Work whose kernels are known.

    Attributes:
        results: where it leaves what it gives, the same tensors every time.
        replay: does it again.
    """

    results: Losses
    replay: Callable[[], None]


def record_graph(work: Work, generator: torch.Generator) -> Recording:
    """Record `work` on the current CUDA device, without doing it.

    Args:
        work: launches kernels on fixed addresses and never waits for the device.
        generator: what it draws from; every replay draws anew.
    """
    device = generator.device
    # Another thread may be rendering or evaluating: what it does on the device is its own affair.
    capturing = functools.partial(torch.cuda.graph, stream=_stream(device), capture_error_mode="thread_local")
    with _recording, torch.cuda.device(device), _uncollected():
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        graph.register_generator_state(generator)
        try:
            with capturing(graph):
                results = work()
        except BaseException:  # torch then leaves its stream current, and its generator waiting for the end
            torch.cuda.set_stream(before)
            default = torch.cuda.default_generators[device.index]
            default.graphsafe_set_state(default.clone_state())
            raise
    return Recording(results, graph.replay)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Inside, no garbage is collected: an unused graph must not be freed while another one is recorded."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_recording = threading.Lock()  # torch records one graph at a time


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings of a device: each stream's matrix products have scratch memory of their own."""
    return torch.cuda.Stream(device)


class Unrecordable(RuntimeError):
    """Some work can't be recorded."""


class Recordings:
    """What one group has recorded.

    The first time that a piece of work comes it is done as it stands, which makes what it keeps for
    later (the weights of samples, the library's handles); the second time it is recorded.
    """

    def __init__(self) -> None:
        self.made: dict[Hashable, Recording | None] = {}

    def run(
        self, key: Hashable, work: Work, generator: torch.Generator, forget: Callable[[], None]
    ) -> Losses:
        """Do `work`, by its recording where there is one.

        Args:
            key: what the recording is bound to: equal keys, equal kernels on equal addresses.
            work: as in `record_graph`; what it changes on the host it has to set itself, not to count up.
            generator: as in `record_graph`.
            forget: drops scratch memory that the next recording must not share.

        Returns:
            what `work` gives, in tensors of the caller's own.

        Raises:
            Unrecordable: `work` waits for the device, or does something else that a graph can't hold;
                nothing was done.
        """
        if key not in self.made:
            self.made[key] = None
            return work()
        recording = self.made[key] = self.made.pop(key)  # the newest
        if recording is None:
            forget()
            try:
                recording = record_graph(work, generator)
            except RuntimeError as problem:
                raise Unrecordable(
                    f"these updates can't be recorded as a CUDA graph and go on without one, more slowly: "
                    f"{str(problem.__context__ or problem).splitlines()[0]}"
                ) from problem
            finally:
                forget()
            self.made[key] = recording
            for old in list(self.made)[:-MOST]:
                del self.made[old]
        recording.replay()
        return {name: value.clone() for name, value in recording.results.items()}


def addresses(value: Any) -> tuple[int, ...]:
    """Where the tensors of a nested value lie, in their order."""
    if isinstance(value, Tensor):
        return (value.data_ptr(),)
    parts = value.values() if isinstance(value, dict) else value
    return tuple(address for part in parts for address in addresses(part))
