"""Episodes of two environments in a buffer, for tests of what several updates draw from it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

import evolab as ev


def episodes(discrete, steps=60):
    """A buffer of episodes of two environments, some of which end."""
    stream = np.random.default_rng(1)
    kept, seen = ev.ReplayBuffer(1000), stream.normal(size=(2, 5)).astype("f")
    for _ in range(steps):
        following, ended = stream.normal(size=(2, 5)).astype("f"), stream.random((2, 2)) < 0.1
        action = stream.integers(0, 3, 2) if discrete else stream.uniform(-2, 2, (2, 2)).astype("f")
        kept.add(
            SimpleNamespace(
                observation=seen, action=action, reward=stream.normal(size=2).astype("f"), valid=None,
                next_observation=following, terminated=ended[0], truncated=ended[1],
            )
        )  # fmt: skip
        seen = following
    return kept
