"""Activations by name, with the derivative written out for the fused backward pass.

Every activation here maps 0 to 0. That is what lets a padded unit sleep without a mask: its
output is zero, so its outgoing gradients are zero, and with zero outgoing weights its
incoming gradients are zero as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """An elementwise function with f(0) = 0.

    Attributes:
        forward: z to h.
        into: the same, written into its second argument, which may be z itself.
        backward: (gradient of h, z, h) to the gradient of z, written into the first.
        module: makes the same function as a torch module.
        idempotent: f(f(z)) = f(z), so a layer of it can be inserted exactly.
        reads_input: its derivative needs z; the others' is a function of h.
    """

    forward: Callable[[Tensor], Tensor]
    into: Callable[[Tensor, Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    module: Callable[[], nn.Module]
    idempotent: bool = False
    reads_input: bool = False


# Gradients are written in place: with three buffers at equal offsets within a page, relu's took 8
# times as long (measured).
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        torch.relu,
        lambda z, out: torch.clamp_min(z, 0, out=out),
        lambda g, z, h: _aten.threshold_backward.grad_input(g, h, 0, grad_input=g),
        nn.ReLU,
        idempotent=True,
    ),
    "elu": Activation(
        F.elu,
        lambda z, out: _aten.elu.out(z, out=out),
        lambda g, z, h: _aten.elu_backward.grad_input(g, 1.0, 1.0, 1.0, True, h, grad_input=g),
        nn.ELU,
    ),
    "gelu": Activation(
        F.gelu,
        lambda z, out: _aten.gelu.out(z, out=out),
        lambda g, z, h: _aten.gelu_backward.grad_input(g, z, grad_input=g),
        nn.GELU,
        reads_input=True,
    ),
    "tanh": Activation(
        torch.tanh,
        lambda z, out: torch.tanh(z, out=out),
        lambda g, z, h: _aten.tanh_backward.grad_input(g, h, grad_input=g),
        nn.Tanh,
    ),
    "silu": Activation(
        F.silu,
        lambda z, out: _aten.silu.out(z, out=out),
        lambda g, z, h: _aten.silu_backward.grad_input(g, z, grad_input=g),
        nn.SiLU,
        reads_input=True,
    ),
    "leaky_relu": Activation(
        F.leaky_relu,
        lambda z, out: _aten.leaky_relu.out(z, out=out),
        lambda g, z, h: _aten.leaky_relu_backward.grad_input(g, h, 0.01, True, grad_input=g),
        nn.LeakyReLU,
    ),
    "identity": Activation(lambda z: z, lambda z, out: z, lambda g, z, h: g, nn.Identity, idempotent=True),
}


def check_activation(network: str, name: object) -> None:
    """Refuse an activation that there is not.

    Raises:
        ValueError: says which there are.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"{network}: activation is {name!r}; known are {', '.join(ACTIVATIONS)}.")


def spans(values: list[str]) -> list[tuple[str, int, int]]:
    """Maximal stretches of equal values as (value, start, stop).

    >>> spans(["relu", "relu", "elu"])
    [('relu', 0, 2), ('elu', 2, 3)]
    """
    stretches: list[tuple[str, int, int]] = []
    for index, value in enumerate(values):
        if stretches and stretches[-1][0] == value:
            stretches[-1] = (value, stretches[-1][1], index + 1)
        else:
            stretches.append((value, index, index + 1))
    return stretches


def activate(z: Tensor, stretches: list[tuple[str, int, int]]) -> Tensor:
    """Each stretch of rows of `z` [R, B, H] through its own activation."""
    if len(stretches) == 1:
        return ACTIVATIONS[stretches[0][0]].forward(z)
    return torch.cat([ACTIVATIONS[kind].forward(z[start:stop]) for kind, start, stop in stretches])


def activate_(z: Tensor, stretches: list[tuple[str, int, int]]) -> Tensor:
    """As `activate`, outside of autograd, and over `z` itself where no derivative needs it."""
    keep = any(ACTIVATIONS[kind].reads_input for kind, _, _ in stretches)
    h = torch.empty_like(z) if keep else z
    if len(stretches) == 1:
        return ACTIVATIONS[stretches[0][0]].into(z, h)
    sizes = [stop - start for _, start, stop in stretches]
    inputs = z.split(sizes)
    for (kind, _, _), source, out in zip(stretches, inputs, h.split(sizes) if keep else inputs, strict=True):
        if kind != "identity":
            ACTIVATIONS[kind].into(source, out)
        elif keep:
            out.copy_(source)
    return h


def activate_backward(grad: Tensor, z: Tensor, h: Tensor, stretches: list[tuple[str, int, int]]) -> Tensor:
    """The gradient of z [R, B, H] from that of h = activate(z), written over it."""
    if len(stretches) == 1:
        return ACTIVATIONS[stretches[0][0]].backward(grad, z, h)
    sizes = [stop - start for _, start, stop in stretches]
    after = h.split(sizes)
    before = after if z is h else z.split(sizes)
    for (kind, _, _), flowing, inputs, outputs in zip(
        stretches, grad.split(sizes), before, after, strict=True
    ):
        ACTIVATIONS[kind].backward(flowing, inputs, outputs)
    return grad


def layer_norm(
    z: Tensor, scale: Tensor, shift: Tensor, mask: Tensor, width: Tensor, eps: float = 1e-5
) -> Tensor:
    """Layer normalisation over the units that are awake.

    Args:
        z: [R, B, H], zero where a unit sleeps.
        scale: [R, H], zero where a unit sleeps.
        shift: [R, H], zero where a unit sleeps.
        mask: [R, 1, H], 1 where a unit is awake.
        width: [R, 1, 1], the number of units awake.
        eps: as in torch.nn.LayerNorm.

    Returns:
        [R, B, H], zero where a unit sleeps.

    Source: Ba et al. 2016, Layer Normalization, eq. 3.
    """
    # Masked first: through the mean a sleeping unit would get a gradient, and would move.
    mean = (z * mask).sum(-1, keepdim=True) / width
    centred = (z - mean) * mask
    variance = centred.square().sum(-1, keepdim=True) / width
    return centred * torch.rsqrt(variance + eps) * scale.unsqueeze(1) + shift.unsqueeze(1)


def identity_layer(bias: Tensor, moment: bool) -> Tensor:
    """Weight [M, H, H] of a layer that hands on what it gets, beside its bias of zeros [M, H]; zeros for a moment."""
    return torch.diag_embed(torch.zeros_like(bias) if moment else torch.ones_like(bias))


def merged_output(state: dict[str, Tensor], last: str, moment: bool) -> dict[str, Tensor]:
    """The output layer [M, O, ...] with the linear part of the hidden layer `last` in it; zeros for a moment."""
    head = state["output.weight"]
    shift = (head @ state[f"{last}.bias"].unsqueeze(-1)).squeeze(-1)
    merged = {"output.weight": head @ state[f"{last}.weight"], "output.bias": state["output.bias"] + shift}
    return {name: torch.zeros_like(value) if moment else value for name, value in merged.items()}


def repeated(x: Tensor, members: int) -> Tensor:
    """[P, B, F] to [P * M, B, F], the same for every member."""
    if members == 1:
        return x
    return x.unsqueeze(1).expand(x.shape[0], members, *x.shape[1:]).reshape(-1, *x.shape[1:])


def _factors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Its QR decomposition, on one thread: sums of several would be rounded otherwise on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        columns, upper = torch.linalg.qr(matrix)
    finally:
        torch.set_num_threads(threads)
    return columns, upper


def orthogonal(state: dict[str, Tensor], gain: float, generator: torch.Generator) -> dict[str, Tensor]:
    """A start with orthogonal weights: of gain sqrt(2) in hidden layers and `gain` in the last one, biases of 0.

    Rows are orthogonal, or columns where there are more rows: no direction of what is read is lost or preferred. Scales
    and shifts of a normalisation stay as they are.

    Args:
        state: of one member, by name: [O, ...] weights and [O] biases.
        gain: of the last layer, "output", or what reads the latent vectors where no hidden layer does.
        generator: of the draws.

    Source: Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks.
    """
    last = ("output.weight",) if "output.weight" in state else ("reading.weight", "side.weight")
    found = {}
    for name, value in state.items():
        if name.endswith("weight"):
            outputs, inputs = value.flatten(1).shape
            drawn = torch.empty(max(outputs, inputs), min(outputs, inputs)).normal_(generator=generator)
            columns, upper = _factors(drawn)
            columns = columns * upper.diagonal().sign()  # else some directions are likelier than others
            weight = columns if outputs >= inputs else columns.t()
            value = (gain if name.endswith(last) else 2**0.5) * weight.reshape(value.shape)
        found[name] = torch.zeros_like(value) if name.endswith("bias") else value
    return found


def linear_state(inputs: int, outputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weight [outputs, inputs] and bias [outputs], distributed as in torch.nn.Linear."""
    bound = 1 / max(inputs, 1) ** 0.5
    weight = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
    bias = torch.empty(outputs).uniform_(-bound, bound, generator=generator)
    return weight, bias
