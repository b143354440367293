"""The layers of a network as a reader is shown them: what each is and how large, and all of them in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

LINEAR = "linear"
CONVOLUTION = "conv"
POOLING = "max-pool"
BLOCK = "residual block"
STAGE = (CONVOLUTION, POOLING, BLOCK)
"""Layers that hand on pictures: a convolution, and what follows it up to the next one, make up a stage."""


class DiagramLayer(NamedTuple):
    """One layer.

    Attributes:
        kind: what it is, in the field's word: one of the above, or "GRU", "transformer block".
        size: units or channels that it gives.
        kernel: side of its kernel; 0 where it has none.
        stride: of its kernel.
        note: what else is to be known, such as "heads 4".
        part: of the observation that it reads, where several are read apart; "" for what reads all of them.
    """

    kind: str
    size: int
    kernel: int = 0
    stride: int = 1
    note: str = ""
    part: str = ""


def linear(sizes: Iterable[int]) -> tuple[DiagramLayer, ...]:
    """Fully connected layers of so many units."""
    return tuple(DiagramLayer(LINEAR, size) for size in sizes)


def plain(layers: Iterable[DiagramLayer]) -> bool:
    """True for fully connected layers alone, which their sizes say all of."""
    return all(layer.kind == LINEAR and not layer.part for layer in layers)


def in_words(layers: Sequence[DiagramLayer]) -> str:
    """All layers in a line, in the order of the computation.

    >>> in_words(linear([64, 32]))
    '64×32'
    >>> atari = [DiagramLayer("conv", 32, 8, 4), DiagramLayer("conv", 64, 4, 2), *linear([512])]
    >>> in_words([*atari, DiagramLayer("GRU", 64)])
    'conv 32×64 (8×8/4×4, strides 4/2) → 512 → GRU 64'
    >>> block = DiagramLayer("residual block", 16, 3)
    >>> in_words([DiagramLayer("conv", 16, 3), DiagramLayer("max-pool", 16, 3, 2), block, block, *linear([8])])
    'conv 16 (3×3, max-pool stride 2, 2 residual blocks) → 8'
    """
    parts = []
    for part, own in groupby(layers, lambda layer: layer.part):
        runs = groupby(own, lambda layer: CONVOLUTION if layer.kind in STAGE else layer.kind)
        told = " → ".join(_run(kind, list(run)) for kind, run in runs)
        parts.append((part, told))
    apart, last = (
        [f"{part}: {told}" for part, told in parts if part],
        [told for part, told in parts if not part],
    )
    if not apart:
        return " ".join(last)
    return f"[{', '.join(apart)}]{''.join(f' → {told}' for told in last)}"


def _run(kind: str, layers: Sequence[DiagramLayer]) -> str:
    """Layers of one kind that follow one another."""
    if kind == CONVOLUTION:
        return _stages(layers)
    sizes = "×".join(str(layer.size) for layer in layers)
    notes = _alike([layer.note for layer in layers])
    return f"{'' if kind == LINEAR else f'{kind} '}{sizes}{f' ({notes})' if notes else ''}"


def _stages(layers: Sequence[DiagramLayer]) -> str:
    first = [i for i, layer in enumerate(layers) if layer.kind == CONVOLUTION]
    stages = [layers[i:j] for i, j in zip(first, [*first[1:], len(layers)], strict=True)]
    convolutions = [stage[0] for stage in stages]
    pooled = [next((layer.stride for layer in stage if layer.kind == POOLING), 1) for stage in stages]
    blocks = [sum(layer.kind == BLOCK for layer in stage) for stage in stages]
    notes = [
        _alike([f"{layer.kernel}×{layer.kernel}" for layer in convolutions]),
        _strides("stride", [layer.stride for layer in convolutions]),
        _strides("max-pool stride", pooled),
        _blocks(blocks),
        _alike([layer.note for layer in convolutions]),
    ]
    sizes = "×".join(str(layer.size) for layer in convolutions)
    return f"{CONVOLUTION} {sizes} ({', '.join(note for note in notes if note)})"


def _strides(what: str, strides: Sequence[int]) -> str:
    if set(strides) == {1}:
        return ""
    return f"{what}{'s' if len(set(strides)) > 1 else ''} {_alike(list(map(str, strides)))}"


def _blocks(counts: Sequence[int]) -> str:
    if not any(counts):
        return ""
    if len(set(counts)) > 1:
        return f"residual blocks {'/'.join(map(str, counts))}"
    return f"{counts[0]} {BLOCK}{'s' if counts[0] > 1 else ''}{' each' if len(counts) > 1 else ''}"


def _alike(values: Sequence[str]) -> str:
    """What all say, or what each of them says."""
    return values[0] if len(set(values)) == 1 else "/".join(value or "–" for value in values)
