"""Encoders with residual blocks, computed side by side: all rows in grouped convolutions, or each at its own size.

Autograd goes through them. A block needs its input twice, so that activations are not written over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from evolab.networks.activations import activate
from evolab.networks.base import State
from evolab.networks.cnn.encoder import POOLED, EncoderGenes, Image, axes, parts_of_block
from evolab.networks.cnn.feature_maps import Activated, Stretches
from evolab.networks.cnn.rows import cut


class ResidualEncoders:
    """The encoders of one image, of agents with equal kernels, strides and numbers of blocks.

    Args:
        image: that they read.
        genes: of each agent.
        prefix: of their parameters' names.

    Source: Espeholt et al. 2018, IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures,
    figure 3, without the recurrent layer.
    """

    def __init__(self, image: Image, genes: Sequence[EncoderGenes], prefix: str) -> None:
        self.image, self.genes, self.prefix = image, genes, prefix
        self._shapes = [
            {name: [axis.size for axis in parameter] for name, parameter in axes(image, one, prefix).items()}
            for one in genes
        ]

    def together(self, state: State, x: Tensor, stretches: Sequence[Stretches]) -> Tensor:
        """Latent vectors [R, B, L] of images [B, P * I, H, W] in channels-last memory, in grouped convolutions."""
        return self._encoded(state, x, len(self.genes), stretches)

    def by_row(self, state: State, pictures: Sequence[Tensor], members: int) -> Tensor:
        """Latent vectors [R, B, L] of each agent's images [B, I, H, W], zero where a unit sleeps; row by row."""
        longest = state[f"{self.prefix}latent.bias"].shape[1]
        # Taken apart at once: the gradient of one row by itself would be a tensor of all of them.
        names = self._shapes[0]
        apart = {name: state[name].unbind(0) for name in names}
        found = []
        for row in range(len(self.genes) * members):
            agent = row // members
            one, shapes = self.genes[agent], self._shapes[agent]
            own = {name: cut(apart[name][row], *shapes[name]).unsqueeze(0) for name in names}
            kinds = [[(kind, 0, 1)] for kind in one.activation]
            (latent,) = self._encoded(own, pictures[agent], 1, kinds)
            found.append(latent if one.latent == longest else F.pad(latent, (0, longest - one.latent)))
        return torch.stack(found)

    def _encoded(self, state: State, x: Tensor, agents: int, stretches: Sequence[Stretches]) -> Tensor:
        first = self.genes[0]
        groups = agents  # members of an agent look at the same image: the first layer has a group per agent
        for index, (_, stride, padding) in enumerate(zip(*first.geometry, strict=True)):
            scaled = self.image.scaled and not index
            x = _convolved(state, f"{self.prefix}conv.{index}", x, (groups, padding, scaled))
            groups, channels = state[f"{self.prefix}conv.{index}.bias"].shape
            x = F.max_pool2d(x, POOLED, stride, POOLED // 2) if stride > 1 else x
            for block in range(first.blocks[index]):
                one, two = parts_of_block(self.prefix, index, block)
                h = Activated.apply(x, stretches[index], channels, False)
                h = _convolved(state, one, h, (groups, 1, False))
                h = Activated.apply(h, stretches[index], channels, True)
                x = x + _convolved(state, two, h, (groups, 1, False))
        x = Activated.apply(x, stretches[-2], channels, True)
        flat = x.unflatten(1, (groups, channels)).permute(1, 0, 3, 4, 2).flatten(2)  # [R, B, h * w * O]
        weight, bias = state[f"{self.prefix}latent.weight"], state[f"{self.prefix}latent.bias"]
        z = torch.baddbmm(bias.unsqueeze(1), flat, weight.flatten(2).transpose(1, 2))
        return activate(z, list(stretches[-1]))


def _convolved(state: State, name: str, x: Tensor, how: tuple[int, int, bool]) -> Tensor:
    """One convolution of all rows, in so many groups, padded so far; its filters over 255 where pictures are bytes."""
    groups, padding, scaled = how
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    filters = weight.reshape(prod(weight.shape[:2]), *weight.shape[2:])
    filters = filters / 255 if scaled else filters  # not the bytes themselves: there are many more of them
    return F.conv2d(x, filters, bias.reshape(-1), 1, padding, 1, groups)
