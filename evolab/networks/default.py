"""Which network suits an observation space."""

from __future__ import annotations

from collections.abc import Sequence

from gymnasium import spaces

from evolab.core.observed import leaf_spaces
from evolab.networks.base import Network
from evolab.networks.cnn.cnn import CNN
from evolab.networks.mlp.mlp import MLP
from evolab.networks.multi_input import MultiInput
from evolab.networks.observations import is_image


def network_for(network: Network | Sequence[int] | None, observation_space: spaces.Space) -> Network:
    """The network asked for, or one that suits the observation space.

    Raises:
        TypeError: it is no network.
    """
    if isinstance(network, Network):
        return network
    if network is None:
        if is_image(observation_space):
            return CNN()
        parts = leaf_spaces(observation_space)
        return MultiInput() if any(is_image(part) for _, part in parts) else MLP([64, 64])
    if isinstance(network, (list, tuple)):
        return MLP(network)
    raise TypeError(
        f"network is {network!r}; ev.MLP([64, 64]), another evolab network or widths are expected."
    )
