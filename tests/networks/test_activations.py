from __future__ import annotations

import pytest
import torch
from torch import nn

from evolab.networks.activations import ACTIVATIONS, activate, activate_backward, layer_norm, spans


@pytest.mark.parametrize("kind", list(ACTIVATIONS))
def test_an_activation_and_its_derivative_are_torchs(kind):
    z = torch.randn(3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = z.requires_grad_()
    expected = ACTIVATIONS[kind].module()(z)
    weight = torch.randn(z.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((expected * weight).sum(), z)
    h = ACTIVATIONS[kind].forward(z.detach())
    assert torch.allclose(h, expected, atol=1e-14)
    assert torch.allclose(ACTIVATIONS[kind].backward(weight, z.detach(), h), gradient, atol=1e-12)
    assert ACTIVATIONS[kind].forward(torch.zeros(1)) == 0, "a sleeping unit must stay silent"
    if ACTIVATIONS[kind].idempotent:
        assert torch.equal(ACTIVATIONS[kind].forward(h), h)


def test_rows_of_different_activation_keep_their_own():
    kinds = ["relu", "relu", "elu", "tanh"]
    z = torch.randn(4, 2, 3, dtype=torch.float64)
    stretches = spans(kinds)
    assert stretches == [("relu", 0, 2), ("elu", 2, 3), ("tanh", 3, 4)]
    h = activate(z, stretches)
    grad = activate_backward(torch.ones_like(z), z, h, stretches)
    for row, kind in enumerate(kinds):
        assert torch.equal(h[row], ACTIVATIONS[kind].forward(z[row]))
        assert torch.equal(grad[row], ACTIVATIONS[kind].backward(torch.ones_like(z[row]), z[row], h[row]))


def test_padded_layer_norm_is_that_of_torch_and_moves_no_sleeping_unit():
    widths, capacity = [3, 7, 5], 7
    z = torch.zeros(3, 4, capacity, dtype=torch.float64)
    scale, shift = (
        torch.zeros(3, capacity, dtype=torch.float64),
        torch.zeros(3, capacity, dtype=torch.float64),
    )
    norms = []
    for row, width in enumerate(widths):
        z[row, :, :width] = torch.randn(4, width, dtype=torch.float64)
        norm = nn.LayerNorm(width).double()
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        scale[row, :width], shift[row, :width] = norm.weight.detach(), norm.bias.detach()
        norms.append(norm)
    awake = torch.tensor(widths)[:, None, None]
    mask = (torch.arange(capacity) < awake).double()
    z.requires_grad_()
    out = layer_norm(z, scale, shift, mask, awake.double())
    (gradient,) = torch.autograd.grad((out * torch.arange(capacity)).sum(), z)
    for row, width in enumerate(widths):
        alone = z[row, :, :width].detach().requires_grad_()
        expected = norms[row](alone)
        assert torch.allclose(out[row, :, :width], expected, atol=1e-12)
        assert not out[row, :, width:].any()
        (own,) = torch.autograd.grad((expected * torch.arange(width)).sum(), alone)
        assert torch.allclose(gradient[row, :, :width], own, atol=1e-12)
        assert not gradient[row, :, width:].any(), "a sleeping unit got a gradient through the mean"
