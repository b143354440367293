"""Each loss against torch's own, and each gradient that is written out against autograd."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import huber_loss, mse_loss

from evolab.algorithms.cqn import ConservativeError
from evolab.algorithms.losses import QuantileError, SquaredError
from evolab.networks.kernels import quantiles
from evolab.networks.loss import Loss

P, M, B, A = 2, 3, 5, 4


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = drawn(P, B, seed=1).softmax(-1)
TARGET = drawn(P, B, seed=2)
ACTION = torch.randint(A, (P, B), generator=torch.Generator().manual_seed(3))
SAMPLES = drawn(P, B, 7, seed=5).sort(-1).values
ALPHA = torch.tensor([0.7, 0.0], dtype=torch.float64)

CASES = {
    "one output": (SquaredError(TARGET, WEIGHT), (P, B, 1)),
    "an ensemble": (SquaredError(TARGET, WEIGHT, huber=0.6), (P, M, B, 1)),
    "chosen": (SquaredError(TARGET, WEIGHT, ACTION, 0.6), (P, B, A)),
    "chosen of an ensemble": (SquaredError(TARGET, WEIGHT, ACTION), (P, M, B, A)),
    "quantiles": (QuantileError(SAMPLES, WEIGHT, 0.8), (P, B, 5)),
    "quantiles of an ensemble": (
        QuantileError(SAMPLES, WEIGHT, 0.8, kept=torch.tensor([4.0, 7.0])),
        (P, M, B, 5),
    ),
    "quantiles of what was chosen": (QuantileError(SAMPLES, WEIGHT, 2.0, ACTION, 3), (P, B, 3 * A)),
    "more than a vector holds": (QuantileError(SAMPLES, WEIGHT, 0.3, ACTION, 37), (P, M, B, 37 * A)),
    "conservative": (ConservativeError(TARGET, WEIGHT, ACTION, ALPHA), (P, B, A)),
    "conservative within huber": (ConservativeError(TARGET, WEIGHT, ACTION, ALPHA, 0.6), (P, B, A)),
}


@pytest.mark.parametrize("compiled", [True, False], ids=["kernels", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_autograd_s(monkeypatch, case, compiled):
    if not compiled:
        monkeypatch.setattr(quantiles, "library", lambda dtype: None)
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


def by_hand(quantiles, samples, kappa):
    """The quantile Huber loss of Dabney et al. 2017, eq. 10, number by number, with the mean over the quantiles."""
    total = 0.0
    for i, quantile in enumerate(quantiles):
        for sample in samples:
            u = sample - quantile
            size = abs(u)
            huber = u * u / 2 if size <= kappa else kappa * (size - kappa / 2)
            total += abs((i + 0.5) / len(quantiles) - (u < 0)) * huber / kappa
    return total / len(quantiles) / len(samples)


def test_the_quantile_error_is_the_paper_s_number_by_number():
    out, kept = drawn(P, M, B, 5, seed=4), [4, 7]
    found = QuantileError(SAMPLES, WEIGHT, 0.8, kept=torch.tensor([4.0, 7.0]))(out)
    for p in range(P):
        each = [
            float(WEIGHT[p, b]) * by_hand(out[p, m, b].tolist(), SAMPLES[p, b, : kept[p]].tolist(), 0.8)
            for m in range(M)
            for b in range(B)
        ]
        assert float(found[p]) == pytest.approx(sum(each), rel=1e-12)
    found = QuantileError(SAMPLES, WEIGHT, 2.0, ACTION, 3)(out := drawn(P, B, 3 * A, seed=4))
    for p in range(P):
        own = [out[p, b].tolist()[3 * int(ACTION[p, b]) :][:3] for b in range(B)]
        each = [float(WEIGHT[p, b]) * by_hand(own[b], SAMPLES[p, b].tolist(), 2.0) for b in range(B)]
        assert float(found[p]) == pytest.approx(sum(each), rel=1e-12)


def test_the_quantile_error_is_sb3_contrib_s():
    """Numbers that sb3-contrib 2.9.2's `quantile_huber_loss` gave for these inputs, without its sum over quantiles."""
    out = torch.sin(torch.arange(24, dtype=torch.float64) * 1.3).view(1, 2, 3, 4) * 2
    samples = torch.cos(torch.arange(18, dtype=torch.float64) * 0.7).view(1, 3, 6) * 3
    loss = QuantileError(samples, torch.full((1, 3), 1 / 3, dtype=torch.float64), 1.0)
    losses, slope = loss.gradient(out)
    assert float(losses) / 2 == pytest.approx(0.8481422087192121, abs=1e-9)
    assert (slope[0, 1, 2] / 2).tolist() == pytest.approx(
        [0.029148977585986776, 0.019869214182554627, 0.000967144701739333, -0.016862899422021054], abs=1e-9
    )
