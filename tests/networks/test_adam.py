from __future__ import annotations

import torch

from evolab.networks.adam import AdamState, adam_, clip_norm_, polyak_update_


def test_adam_is_torchs_with_a_rate_and_a_count_per_agent():
    g = torch.Generator().manual_seed(0)
    parameters = torch.randn(3, 2, 7, generator=g, dtype=torch.float64)
    rates = torch.tensor([1e-3, 1e-2, 0.3], dtype=torch.float64)
    alone = [torch.nn.Parameter(row.clone()) for row in parameters]
    optimizers = [torch.optim.Adam([p], lr=float(rate)) for p, rate in zip(alone, rates, strict=True)]
    mean, square = torch.zeros_like(parameters), torch.zeros_like(parameters)
    count = torch.zeros(3, dtype=torch.float64)
    for step in range(60):
        gradient = torch.randn(3, 2, 7, generator=g, dtype=torch.float64)
        gradient[0, 0, 0] = 0.0  # a sleeping unit
        rows = slice(0, 3) if step % 2 else slice(0, 2)  # the third agent moves every other time
        for row in range(3)[rows]:
            alone[row].grad = gradient[row].clone()
            optimizers[row].step()
        state = AdamState(parameters[rows], mean[rows], square[rows], count[rows], rates[rows])
        adam_(state, gradient[rows].clone())
    for row in range(3):
        assert torch.allclose(parameters[row], alone[row], atol=1e-12)
    assert count.tolist() == [60, 60, 30]


def test_a_parameter_without_a_gradient_does_not_move():
    parameters = torch.ones(1, 1, 4)
    mean, square, count = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), torch.zeros(1)
    state = AdamState(parameters, mean, square, count, torch.tensor([0.1]))
    for _ in range(5):
        adam_(state, torch.tensor([[[0.0, 1.0, 0.0, -1.0]]]))
    assert parameters[0, 0, 0] == parameters[0, 0, 2] == 1.0
    assert parameters[0, 0, 1] < 1 < parameters[0, 0, 3]


def test_each_agents_gradient_is_clipped_by_its_own_norm():
    gradient = torch.tensor([[[3.0, 4.0]], [[0.3, 0.4]]])
    clip_norm_([gradient], 1.0)
    assert torch.allclose(gradient, torch.tensor([[[0.6, 0.8]], [[0.3, 0.4]]]), atol=1e-5)


def test_targets_polyak_update_by_each_agents_own_share():
    target, source = torch.zeros(2, 1, 1), torch.ones(2, 1, 1)
    polyak_update_(target, source, torch.tensor([0.25, 1.0]))
    assert target.flatten().tolist() == [0.25, 1.0]
