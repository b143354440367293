"""GPT: the GPT-2 architecture for a population, in which every agent has its own depth and widths.

Blocks with layer normalisation in front, learned positions, GELU in its tanh form, and outputs that are products with the
token embeddings (Radford et al. 2019, Language models are unsupervised multitask learners, section 2.3). Weights are [O, I].
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.core import checks
from evolab.core.layers import DiagramLayer
from evolab.core.readonly import frozen_options
from evolab.networks.base import CALLS, CHANGED, Axes, Layout, Network, Role, Sizes, State
from evolab.networks.gpt import parameters
from evolab.networks.gpt.files import CONFIG, TENSORS, for_transformers, read_folder
from evolab.networks.gpt.genes import GPTGenes, Shape, divisors
from evolab.networks.gpt.kernel import GPTKernel
from evolab.networks.gpt.module import GPTModule


class Weights(NamedTuple):
    """Genes and parameters that agents start from."""

    genes: GPTGenes
    state: State


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class GPT(Network[GPTGenes]):
    """A decoder-only transformer, GPT-2's, over sequences of tokens.

    Args:
        layers: blocks.
        width: D, of the residual stream; the same for all agents.
        heads: of every attention layer; they must divide the width.
        feed_forward: width of the layer within each block; None for four times the width.
        block: longest sequence; None for the environment's.
        vocabulary: V, number of tokens; None for the environment's.
        tied: the outputs are products with the token embeddings.
        eps: of the layer norms.
        scaled: divide attention by the root of a head's width.
        by_layer: divide attention by the number of the block as well.
        min_layers: fewest blocks that mutations may leave.
        max_layers: most blocks that mutations may build.
        min_units: narrowest feed-forward layer that mutations may leave.
        max_units: widest feed-forward layer that mutations may build.
        weights: what agents start from, as `from_pretrained` reads it; None for weights drawn at random.

    Raises:
        ValueError: a number that is not positive, or heads that don't divide the width.

    A new block adds zero to the residual stream and a new unit of the feed-forward layer has no
    weight out of it, so that growth changes no answer. Another number of heads does.

    >>> GPT(layers=2, width=64, heads=2).describe(GPTGenes((256, 256), 2))
    '2 x 64 (256, 256), 2 heads'
    """

    layers: int = 2
    width: int = 64
    heads: int = 2
    feed_forward: int | None = None
    block: int | None = None
    vocabulary: int | None = None
    tied: bool = True
    eps: float = 1e-5
    scaled: bool = True
    by_layer: bool = False
    min_layers: int = 1
    max_layers: int = 12
    min_units: int = 32
    max_units: int = 4096
    weights: Weights | None = field(default=None, repr=False, compare=False)

    reads_tokens: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "min_layers", "max_layers", "min_units", "max_units"):
            checks.positive_integer(f"GPT: {name}", getattr(self, name))
        checks.positive("GPT: eps", self.eps)
        for name in ("feed_forward", "block", "vocabulary"):
            if getattr(self, name) is not None:
                checks.positive_integer(f"GPT: {name}", getattr(self, name))
        if self.weights is not None and not isinstance(self.weights, Weights):
            raise TypeError("GPT: weights are read by GPT.from_pretrained(folder).")
        if self.width % self.heads:
            raise ValueError(
                f"GPT: {self.heads} heads don't divide a width of {self.width}. "
                f"Choose one of {divisors(self.width)}."
            )

    # Pretrained weights ----------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str], **limits: int) -> GPT:
        """A network whose agents start from the weights in a local folder of Hugging Face's form.

        It is callable on tokens [B, T] and gives logits [B, T, V].

        Args:
            folder: with `config.json` of a GPT-2 and `model.safetensors`, or several files of weights and their
                `model.safetensors.index.json`; nothing is downloaded.
            limits: `min_layers`, `max_layers`, `min_units`, `max_units`, as in `GPT`.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: weights are pickled, a key is missing, unknown or of another shape, or this GPT can't compute it.
        """
        options, genes, state = read_folder(folder)
        return cls(**{**options, **limits}, weights=Weights(genes, state))  # type: ignore[arg-type]

    def __call__(self, tokens: object) -> Tensor:
        """Logits [B, T, V] of the pretrained weights for tokens [B, T].

        Raises:
            ValueError: this network was not read from a folder, so it has no weights of its own.
        """
        if self.weights is None:
            raise ValueError(
                "a GPT holds no weights; its agents do. Use GPT.from_pretrained(folder), or agent.module()."
            )
        assert self.vocabulary is not None
        assert self.block is not None
        genes, state = self.weights
        space = spaces.MultiDiscrete(np.full(self.block, self.vocabulary))
        with torch.no_grad():
            return self.module(Role(space, self.vocabulary), genes, state)(torch.as_tensor(tokens))

    # What an agent has -----------------------------------------------------------------------

    def genes(self, observation_space: spaces.Space) -> GPTGenes:
        """As many equal blocks as were asked for, or those of the pretrained weights."""
        if self.weights is not None:
            return self.weights.genes
        return GPTGenes((self.feed_forward or 4 * self.width,) * self.layers, self.heads)

    def sizes_of(self, role: Role) -> tuple[int, int]:
        """V and T: tokens known and longest sequence.

        Raises:
            TypeError: observations are no sequences of tokens.
            ValueError: the environment has another vocabulary, or longer sequences.
        """
        space = role.observation_space
        if not isinstance(space, spaces.MultiDiscrete) or len(set(np.ravel(space.nvec).tolist())) != 1:
            raise TypeError(
                f"GPT needs sequences of tokens, MultiDiscrete([V] * T); this environment's observations are "
                f"{space}. Use ev.MLP for it."
            )
        vocabulary, length = int(np.ravel(space.nvec)[0]), int(np.size(space.nvec))
        if self.vocabulary is not None and self.vocabulary != vocabulary:
            raise ValueError(
                f"this GPT knows {self.vocabulary} tokens, the environment has {vocabulary}: the vocabularies "
                f"don't match. Pass vocabulary={vocabulary}, or weights that were trained with these tokens."
            )
        if self.block is not None and self.block < length:
            raise ValueError(
                f"this GPT's block holds {self.block} tokens, the environment's sequences have up to {length}. "
                f"Pass block={length}."
            )
        return vocabulary, self.block or length

    def axes(self, role: Role, genes: GPTGenes) -> Axes:
        """`token` [V, D], `position` [T, D], the blocks, `norm`, and `output` where it is not tied."""
        vocabulary, block = self.sizes_of(role)
        tied = self.tied and role.outputs == vocabulary
        return parameters.axes(genes, self.width, vocabulary, block, None if tied else role.outputs)

    def initialise(self, role: Role, genes: GPTGenes, generator: torch.Generator) -> State:
        """As GPT-2 draws them: normal, smaller where a product is added to the residual stream.

        The spread is GPT-2's at its own width and grows as the width shrinks, so that products keep their size.
        """
        pretrained = self.weights.state if self.weights is not None else {}
        return parameters.drawn(self.axes(role, genes), len(genes.hidden), pretrained, generator)

    def capacity(self, genes: Sequence[GPTGenes]) -> GPTGenes:
        """Per block the widest agent that has it."""
        depth = max(len(gene.hidden) for gene in genes)
        widest = (max(gene.hidden[i] for gene in genes if len(gene.hidden) > i) for i in range(depth))
        return GPTGenes(tuple(widest), genes[0].heads)

    def kernel(self, role: Role, genes: Sequence[GPTGenes], layout: Layout) -> GPTKernel:
        """The batched pass for these agents."""
        return GPTKernel(self.shape(role, genes[0]), role, genes, layout)

    def shape(self, role: Role, genes: GPTGenes) -> Shape:
        """What agents with as many heads have in common."""
        tied = self.tied and role.outputs == self.sizes_of(role)[0]
        return Shape(genes.heads, self.eps, self.scaled, self.by_layer, tied)

    def key(self, genes: GPTGenes) -> Hashable:
        """Attention is one batched product over agents with equally many heads."""
        return genes.heads

    def order(self, genes: GPTGenes) -> Any:
        """Deepest first, then widest first."""
        return (-len(genes.hidden), tuple(-units for units in genes.hidden))

    def cost(self, role: Role, genes: GPTGenes) -> float:
        """Multiply-adds of one forward pass over one whole sequence."""
        _, block = self.sizes_of(role)
        inner = sum(4 * self.width**2 + 2 * self.width * units for units in genes.hidden)
        attention = len(genes.hidden) * block * self.width
        return float(role.ensemble_size * block * (inner + attention + self.width * role.outputs))

    def module(self, role: Role, genes: GPTGenes, state: State) -> GPTModule:
        """A plain torch module: tokens [B, T] to outputs [B, T, O]."""
        module = GPTModule(
            role.outputs, self.sizes_of(role), self.width, genes.hidden, self.shape(role, genes)
        )
        return module.filled(state)

    def describe(self, genes: GPTGenes) -> str:
        """Blocks, width, widths of the feed-forward layers and heads."""
        units = ", ".join(map(str, genes.hidden))
        return f"{len(genes.hidden)} x {self.width} ({units}), {genes.heads} head{'s' * (genes.heads > 1)}"

    def diagram(self, genes: GPTGenes) -> tuple[DiagramLayer, ...]:
        """A block each, as wide as its feed-forward layer."""
        heads = f"heads {genes.heads}"
        return tuple(DiagramLayer("transformer block", units, note=heads) for units in genes.hidden)

    # What mutates ----------------------------------------------------------------------------

    def sizes(self, genes: GPTGenes) -> Sizes:
        """Every feed-forward width in steps of 32, 64 or 128, and the number of heads by divisors of the width."""
        sizes: Sizes = {
            f"hidden.{index}": (units, self.min_units, self.max_units, (32, 64, 128))
            for index, units in enumerate(genes.hidden)
        }
        if self.width > 1:
            sizes["heads"] = (genes.heads, 1, max(1, self.width // 8), (1,))
        return sizes

    def resized(self, genes: GPTGenes, gene: str, size: int) -> GPTGenes:
        """`genes` with one width changed; heads go to the next number that divides the width."""
        if gene == "heads":
            return genes.with_heads(size, self.width)
        return genes.with_units(int(gene.rsplit(".", 1)[1]), size)

    def deeper(self, genes: GPTGenes, stack: str = "hidden") -> GPTGenes | None:
        """One more block at the end, as wide as the last."""
        if len(genes.hidden) >= self.max_layers:
            return None
        return genes.deeper()

    def shallower(self, genes: GPTGenes, stack: str = "hidden") -> GPTGenes | None:
        """Without the last block."""
        if len(genes.hidden) <= self.min_layers:
            return None
        return genes.shallower()

    def deepened(
        self, role: Role, genes: GPTGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """The new block looks where the last one looks, and adds zero to the residual stream."""
        last, new = f"block.{len(genes.hidden) - 1}.", f"block.{len(genes.hidden)}."
        silent = ("merge.weight", "merge.bias", "reduce.weight", "reduce.bias")
        grown: State = {}
        for name in self.axes(role, genes.deeper()):
            if not name.startswith(new):
                grown[name] = state[name]
                continue
            model = state[last + name.removeprefix(new)]
            grown[name] = torch.zeros_like(model) if moment or name.endswith(silent) else model.clone()
        return grown

    def shallowed(
        self, role: Role, genes: GPTGenes, state: State, moment: bool, stack: str = "hidden"
    ) -> State:
        """Without what the last block added."""
        gone = f"block.{len(genes.hidden) - 1}."
        return {name: value for name, value in state.items() if not name.startswith(gone)}

    def files(self, genes: dict[str, object], state: State) -> dict[str, Any]:
        """The policy in Hugging Face's form: `GPT2LMHeadModel.from_pretrained(folder)` reads it."""
        own = self.from_json(genes)
        shape = Shape(own.heads, self.eps, self.scaled, self.by_layer, self.tied)
        config, tensors = for_transformers(shape, own, state)
        return {CONFIG: config, TENSORS: tensors}

    def to_json(self, genes: GPTGenes) -> dict[str, Any]:
        """`genes` as plain values."""
        return {"hidden": list(genes.hidden), "heads": genes.heads}

    def from_json(self, value: dict[str, object]) -> GPTGenes:
        """The inverse of `to_json`."""
        return GPTGenes.from_json(value, self.width)
