"""A network over several inputs: an encoder for each image, everything else as it is."""

from __future__ import annotations

from gymnasium import spaces

from evolab.networks.cnn.cnn import CNN
from evolab.networks.cnn.parts import EncoderParts


class MultiInput(CNN):
    """A convolutional encoder for each image of a Dict or Tuple, and a head that reads all parts.

    Takes the options of `CNN`; every image starts with the same encoder and evolves its own.
    A Box of rank 3 is an image; all other parts are flattened or one-hot and handed to the head
    beside the latent vectors.

    >>> from gymnasium.spaces import Box, Dict
    >>> space = Dict({"eye": Box(0, 255, (8, 8, 3), "uint8"), "speed": Box(-1, 1, (2,))})
    >>> network = MultiInput(channels=[16], latent=32)
    >>> network.describe(network.genes(space))
    'conv 16 (3×3, stride 2) → 32×64, relu'
    """

    def parts(self, space: spaces.Space) -> EncoderParts:
        """What the network reads of an observation: everything.

        Raises:
            TypeError: a part has no fixed size.
        """
        return EncoderParts.of(space)
