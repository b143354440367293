"""Random streams keyed by what they are for, so that a run can be cut and resumed anywhere.

A stream's seed is a function of (run seed, keys, purpose); no stream depends on how much was
drawn from another one, and the global generators of numpy and torch are never touched.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping

import numpy as np
import torch


def seed_of(seed: int, *keys: int | str) -> int:
    """A 63-bit seed for the stream that `keys` name.

    >>> seed_of(42, 1, "sampling") == seed_of(42, 1, "sampling") != seed_of(42, 2, "sampling")
    True
    """
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in keys]
    state = np.random.SeedSequence([int(seed), *words]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def numpy_stream(seed: int, *keys: int | str) -> np.random.Generator:
    """A numpy generator of its own."""
    return np.random.default_rng(seed_of(seed, *keys))


def torch_stream(seed: int, *keys: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator of its own on `device` ("meta" is served by the CPU's)."""
    place = "cpu" if torch.device(device).type == "meta" else device
    return torch.Generator(place).manual_seed(seed_of(seed, *keys))


def fresh_seed() -> int:
    """A seed from the operating system's entropy, for runs that were given none."""
    return int(np.random.SeedSequence().generate_state(1, np.uint32)[0])


def global_states() -> Mapping[str, object]:
    """States of the generators that everything in a process shares, to be compared: whoever drew from one changed it.

    All of a state counts: numpy's numbers stay the same for hundreds of draws, in which only a place among them moves.
    """
    return {
        "numpy.random": repr(np.random.get_state(legacy=False)),  # noqa: NPY002  (it is looked at, not drawn from)
        "the module random": random.getstate(),
        "torch": torch.get_rng_state().tolist(),
    }
