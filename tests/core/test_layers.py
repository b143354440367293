"""Layers as a reader is shown them, of every network that evolves."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

import evolab as ev
from evolab.core.layers import in_words, plain
from evolab.networks.noisy.noisy import NoisyLayers

ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)
VECTOR = spaces.Box(-1, 1, (3,))
TWO = spaces.Dict(
    {"left": spaces.Box(0, 255, (12, 12, 3), np.uint8), "right": spaces.Box(0, 255, (8, 8, 1), np.uint8)}
)
EACH = ev.MultiInput([16], latent=32)
NATURE = ev.CNN([32, 64, 64], kernels=[8, 4, 3], strides=[4, 2, 1], padding=0, latent=512, hidden=[])
CASES = {
    "perceptron": (ev.MLP([64, 96]), VECTOR, "64×96"),
    "Nature": (NATURE, ATARI, "conv 32×64×64 (8×8/4×4/3×3, strides 4/2/1, no padding) → 512"),
    "noisy Nature": (
        NoisyLayers(NATURE),
        ATARI,
        "conv 32×64×64 (8×8/4×4/3×3, strides 4/2/1, no padding) → 512",
    ),
    "IMPALA": (
        ev.CNN([16, 32, 32], blocks=2, latent=256, hidden=[]),
        ATARI,
        "conv 16×32×32 (3×3, max-pool stride 2, 2 residual blocks each) → 256",
    ),
    "uneven stages": (
        ev.CNN([16, 32], strides=[2, 1], kernels=5, padding=1, blocks=[1, 3], hidden=[64]),
        ATARI,
        "conv 16×32 (5×5, max-pool strides 2/1, residual blocks 1/3, padding 1) → 64×64",
    ),
    "LSTM": (ev.Recurrent(48, "lstm"), VECTOR, "64 → LSTM 48"),
    "GRU that sees": (
        ev.Recurrent(32, encoder=ev.CNN([16], hidden=[64])),
        ATARI,
        "conv 16 (3×3, stride 2) → 64×64 → GRU 32",
    ),
    "two images": (
        EACH,
        TWO,
        "[image 0: conv 16 (3×3, stride 2) → 32, image 1: conv 16 (3×3, stride 2) → 32] → 64",
    ),
    "transformer": (ev.GPT(layers=2, width=64, heads=4), VECTOR, "transformer block 256×256 (heads 4)"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_is_told_in_the_fields_words(name):
    """Stages, blocks, strides, pooling and what remembers were told as widths alone: "16x32x32x256", "64x48"."""
    network, space, words = CASES[name]
    genes = network.genes(space)
    assert in_words(network.diagram(genes)) == words
    if not isinstance(network, ev.MLP | ev.GPT):
        assert network.describe(genes) == f"{words}, relu"


@pytest.mark.parametrize("name", CASES)
def test_no_layer_is_left_out(name):
    network, space, _ = CASES[name]
    genes = network.genes(space)
    sizes = [
        layer.size for layer in network.diagram(genes) if layer.kind not in ("max-pool", "residual block")
    ]
    assert tuple(sizes) == genes.hidden
    assert plain(network.diagram(genes)) == (name == "perceptron")
