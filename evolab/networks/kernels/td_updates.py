"""Whole updates by temporal differences in one call: see `td_updates.h`."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evolab.networks.kernels.build import library
from evolab.networks.kernels.core_sharing import threads
from evolab.networks.kernels.perceptrons import GRAIN, Perceptrons

_INTEGER, _POINTER = ctypes.c_int64, ctypes.c_void_p

MOST_ACTIONS = 64
"""Entries of an action, at most, where their deviations are numbers; as in `gaussian.h`."""


@dataclass(frozen=True)
class TemporalDifference:
    """An update that the kernels make whole: values regress on temporal-difference targets, targets follow.

    Attributes:
        value: the network of the values; where it is an ensemble, the least of them makes the target.
        policy: the network of a deterministic policy that moves up the first value, every `policy_delay`
            updates; None where the values are those of choices.
        smoothed: noise of scale `target_noise` within `noise_clip` is added to the target policy's actions.
        double: the network itself makes the next choice, and its target values it.
        huber: as in `Regression`.
        temperature: the number that is the logarithm of a stochastic policy's temperature, which is squashed and
            Gaussian, aims at `entropy_per_action` and has no target; None for a deterministic policy.
        limits: of the logarithms of a stochastic policy's deviations.
        quantiles: of each value, which is a distribution then and regresses on the samples that make the target: the next
            choice's quantiles, or those of all critics in rising order; None where values are numbers.
        dropped: the hyperparameter that is the share of these samples, the highest, which do not count; None for all.
        cloning: the hyperparameter that the value, over its mean size, weighs in a deterministic policy's loss beside the
            mean squared distance from the data's actions; None for the value alone.
        states: the network of the values of states, where these follow an upper expectile of what the data's actions are
            worth and make the target; the policy is then a Gaussian that imitates the data by their advantages, without a
            target.
        deviations: the numbers that are the logarithms of its deviations.
    """

    value: str
    policy: str | None = None
    smoothed: bool = False
    double: bool = False
    huber: float | None = None
    temperature: str | None = None
    limits: tuple[float, float] = (0.0, 0.0)
    quantiles: int | None = None
    dropped: str | None = None
    cloning: str | None = None
    states: str | None = None
    deviations: str | None = None

    @property
    def networks(self) -> list[str]:
        """The perceptrons among what moves."""
        return [name for name in (self.value, self.policy, self.states) if name is not None]

    @property
    def numbers(self) -> list[str]:
        """What else moves."""
        return [name for name in (self.temperature, self.deviations) if name is not None]

    @property
    def noted(self) -> list[str]:
        """Whose losses the kernels tell when a policy moves, in their order; none where they tell its values."""
        both = (self.policy, self.temperature) if self.temperature else (self.states, self.policy)
        return [name for name in both if name is not None] if self.numbers else []


class Trained(ctypes.Structure):
    """One network of a group's agents, as the kernels are told of it."""

    _fields_ = [
        ("plan", _POINTER),
        *((name, _INTEGER) for name in ("members", "apart")),
        *((name, _POINTER) for name in ("parameters", "target", "sizes", "mean", "square", "steps", "rate")),
    ]


class Updates(ctypes.Structure):
    """Some updates of a group, in the kernels' order of fields."""

    _fields_ = [
        *(
            (name, _INTEGER)
            for name in ("agents", "updates", "batch", "features", "actions", "before", "delay")
        ),
        ("greedy_online", _INTEGER),
        *((name, _POINTER) for name in ("counts", "observation", "next_observation", "action", "choice")),
        *(
            (name, _POINTER)
            for name in ("reward", "terminated", "weight", "noise", "discount", "ahead", "tau")
        ),
        *((name, _POINTER) for name in ("noise_scale", "noise_limit")),
        ("huber", ctypes.c_double),
        ("squash", _POINTER),
        *(("value", Trained), ("policy", Trained)),
        *((name, _POINTER) for name in ("losses", "values")),
        *(
            ("temperature", Trained),
            ("entropy", _POINTER),
            ("least", ctypes.c_double),
            ("most", ctypes.c_double),
            ("quantiles", _INTEGER),
            ("dropped", _POINTER),
            ("errors", _POINTER),
            ("permitted", _POINTER),
            ("cloning", _POINTER),
            *(("states", Trained), ("deviations", Trained)),
            *(("expectile", _POINTER), ("advantage", _POINTER)),
        ),
    ]


def run(dtype: torch.dtype, entry: str, jobs: Sequence[Any], work: float, by: Perceptrons) -> None:
    """Make the updates of several groups; agents are spread over threads.

    Args:
        dtype: of the parameters.
        entry: the kernels' function that makes them.
        jobs: of one group each, `Updates` or what else `entry` takes.
        work: multiply-adds of all of them.
        by: one of the networks, for the words of an error.

    Raises:
        MemoryError: there is too little for an update.
        IndexError: a choice is no output.
    """
    kernels = library(dtype)
    assert kernels is not None
    call = getattr(kernels, entry)
    if not call.argtypes:
        call.argtypes = [_INTEGER, _INTEGER, _POINTER]
    each = (_POINTER * len(jobs))(*map(ctypes.addressof, jobs))
    agents = sum(job.agents for job in jobs)
    most = min(threads(), agents, 1 + int(work / GRAIN))
    failed = call(most, len(jobs), each)
    if failed:
        by.explain(failed, max(job.batch for job in jobs))


@functools.cache
def torch_tanh(dtype: torch.dtype) -> int | None:
    """The address of the function by which torch computes tanh; None where it cannot be had.

    With it a whole update gives the bits of torch's own operations. Where torch has none that can be called
    from outside, the kernels' own tanh differs from it in the last bit.
    """
    with_mkl = {torch.float32: "VSTANH_", torch.float64: "VDTANH_"}
    if not torch.backends.mkl.is_available():
        return None
    try:
        found = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        call = getattr(found, with_mkl[dtype])
    except (OSError, AttributeError, KeyError):
        return None
    probe = torch.linspace(-12, 12, 1001, dtype=dtype)
    result, count = torch.empty_like(probe), ctypes.c_int(len(probe))
    call(ctypes.byref(count), _POINTER(probe.data_ptr()), _POINTER(result.data_ptr()))
    return ctypes.cast(call, _POINTER).value if torch.equal(result, torch.tanh(probe)) else None


def address(tensor: Tensor | None) -> Any:
    """Where a tensor lies."""
    return None if tensor is None else tensor.data_ptr()
