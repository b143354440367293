"""Each loss against torch's own, and each gradient that is written out against autograd."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import huber_loss, mse_loss

from evolab.algorithms.cqn import ConservativeError
from evolab.algorithms.losses import SquaredError
from evolab.networks.loss import Loss

P, M, B, A = 2, 3, 5, 4


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = drawn(P, B, seed=1).softmax(-1)
TARGET = drawn(P, B, seed=2)
ACTION = torch.randint(A, (P, B), generator=torch.Generator().manual_seed(3))
ALPHA = torch.tensor([0.7, 0.0], dtype=torch.float64)

CASES = {
    "one output": (SquaredError(TARGET, WEIGHT), (P, B, 1)),
    "an ensemble": (SquaredError(TARGET, WEIGHT, huber=0.6), (P, M, B, 1)),
    "chosen": (SquaredError(TARGET, WEIGHT, ACTION, 0.6), (P, B, A)),
    "chosen of an ensemble": (SquaredError(TARGET, WEIGHT, ACTION), (P, M, B, A)),
    "conservative": (ConservativeError(TARGET, WEIGHT, ACTION, ALPHA), (P, B, A)),
    "conservative within huber": (ConservativeError(TARGET, WEIGHT, ACTION, ALPHA, 0.6), (P, B, A)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_autograd_s(case):
    loss, shape = CASES[case]
    out = drawn(*shape, seed=4)
    losses, slope = loss.gradient(out)
    expected, by_autograd = Loss.gradient(loss, out)
    assert losses.shape == (P,)
    torch.testing.assert_close(losses, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(slope, by_autograd, atol=1e-14, rtol=0)


def test_a_squared_error_is_torch_s_and_a_huber_error_twice_torch_s():
    out = drawn(P, M, B, A, seed=4)
    chosen = out.gather(-1, ACTION[:, None, :, None].expand(P, M, B, 1)).squeeze(-1)
    target = TARGET[:, None].expand(P, M, B)
    for huber in (None, 0.6):
        error = mse_loss(chosen, target, reduction="none")
        if huber is not None:
            error = 2 * huber_loss(chosen, target, reduction="none", delta=huber)
        expected = (WEIGHT[:, None] * error).sum((1, 2))
        torch.testing.assert_close(SquaredError(TARGET, WEIGHT, ACTION, huber)(out), expected)
