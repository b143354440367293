"""The parts of an observation: which of them are images, which are vectors, and where each one lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core.space_trees import leaf_spaces
from evolab.core.trees import Tree
from evolab.networks.cnn.encoder import Image
from evolab.networks.observations import encode, features


@dataclass(frozen=True)
class Vector:
    """A part of an observation that is no image.

    Attributes:
        path: keys that lead to it through Dict and Tuple spaces.
        space: of this part.
        start: place of its first entry among the features of the whole observation.
        stop: behind its last entry.
    """

    path: tuple[str | int, ...]
    space: spaces.Space
    start: int
    stop: int


@dataclass(frozen=True)
class EncoderParts:
    """All parts of an observation space.

    Attributes:
        images: every Box of rank 3, in the order of the space.
        vectors: everything else, in the order of the space.
    """

    images: tuple[Image, ...]
    vectors: tuple[Vector, ...]

    @staticmethod
    def of(space: spaces.Space) -> EncoderParts:
        """The parts of `space`, through Dict and Tuple spaces of any depth.

        Raises:
            TypeError: a part has no fixed size.
        """
        images: list[Image] = []
        vectors: list[Vector] = []
        start = 0
        for path, part in leaf_spaces(space):
            stop = start + features(part)
            if isinstance(part, spaces.Box) and len(part.shape) == 3:
                images.append(Image.of(part, path, start))
            else:
                vectors.append(Vector(path, part, start, stop))
            start = stop
        return EncoderParts(tuple(images), tuple(vectors))

    @property
    def width(self) -> int:
        """Length of all vectors together."""
        return sum(vector.stop - vector.start for vector in self.vectors)

    def side(self, observation: Tree, dtype: torch.dtype) -> list[Tensor]:
        """The vectors of a batch of observations with [P, B, ...] leaves: [P, B, F] each."""
        return [encode(part.space, picked(observation, part.path), 2, dtype) for part in self.vectors]


def picked(observation: Any, path: tuple[str | int, ...]) -> Any:
    """The part of an observation that `path` leads to."""
    for key in path:
        observation = observation[key]
    return observation
