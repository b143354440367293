"""Which network suits an observation space."""

from __future__ import annotations

from collections.abc import Sequence

from gymnasium import spaces

from evolab.core.registry import resolve
from evolab.networks.base import Network
from evolab.networks.cnn.cnn import CNN
from evolab.networks.mlp.mlp import MLP
from evolab.networks.multi_input import MultiInput
from evolab.networks.observations import holds_image, is_image


def network_for(network: Network | Sequence[int] | str | None, observation_space: spaces.Space) -> Network:
    """The network asked for, or one that suits the observation space.

    Raises:
        TypeError: it is no network.
        ValueError: no network has this name.
    """
    if isinstance(network, Network):
        return network
    if network is None:
        if is_image(observation_space):
            return CNN()
        return MultiInput() if holds_image(observation_space) else MLP([64, 64])
    if isinstance(network, (list, tuple)):
        return MLP(network)
    if isinstance(network, str):
        return resolve("network", network, Network)  # type: ignore[type-abstract]
    raise TypeError(
        f"network is {network!r}; ev.MLP([64, 64]), another network, its name or widths are expected."
    )
