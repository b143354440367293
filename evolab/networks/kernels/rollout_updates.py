"""Everything that agents learn from a rollout by clipped policy gradients, in one call: see `rollout_updates.h`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from evolab.networks.kernels.td_updates import Trained

_INTEGER, _POINTER = ctypes.c_int64, ctypes.c_void_p

LOSSES = ("actor", "critic", "entropy", "divergence")
"""What the kernels tell of a minibatch, in their order."""


@dataclass(frozen=True)
class ClippedPolicyGradient:
    """Passes over rollouts that the kernels make whole: policy and value move together, by one clipped gradient.

    Attributes:
        policy: the network whose outputs are the logits of one choice, or, before tanh, the means of a Gaussian.
        value: the network of one output.
        deviations: the numbers that are the logarithms of the Gaussian's deviations; agents without them choose.
    """

    policy: str
    value: str
    deviations: str

    @property
    def networks(self) -> list[str]:
        """The perceptrons among what moves."""
        return [self.policy, self.value]


class Rollouts(ctypes.Structure):
    """The rollouts of a group, in the kernels' order of fields."""

    _fields_ = [
        *((name, _INTEGER) for name in ("agents", "batch", "environments", "features", "actions")),
        *((name, _INTEGER) for name in ("epochs", "parts")),
        *((name, _POINTER) for name in ("observation", "next_observation", "action", "choice", "order")),
        *((name, _POINTER) for name in ("reward", "terminated", "ended", "valid")),
        *((name, _POINTER) for name in ("discount", "trace", "clip", "entropy_weight", "value_weight")),
        *((name, _POINTER) for name in ("most_norm", "squash")),
        *((name, Trained) for name in ("policy", "value", "deviations")),
        ("losses", _POINTER),
    ]
