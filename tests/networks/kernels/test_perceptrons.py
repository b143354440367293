"""The compiled kernels compute what torch's modules compute."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

import evolab as ev
from evolab.networks.adam import AdamState
from evolab.networks.base import Layout, Role
from evolab.networks.kernels import adam_rows as native
from evolab.networks.kernels.build import library
from evolab.networks.kernels.perceptrons import ACTIVATIONS, Perceptrons

KERNELS = library(torch.float64)
pytestmark = pytest.mark.kernels
FEATURES, EXTRA, BATCH = 5, 2, 11
ODD = [(7, 19), (33,), (16, 16, 3), (64, 64), (1, 2)]


def made(
    shapes: list[tuple[tuple[int, ...], str]],
    outputs: int,
    layer_norm: bool = False,
    dtype: torch.dtype = torch.float64,
) -> tuple[Perceptrons, Tensor, list[torch.nn.Module]]:
    """The kernels, rows of parameters with garbage behind them, and the same networks as modules."""
    g = torch.Generator().manual_seed(1)
    role = Role(Box(-1, 1, (FEATURES,)), outputs, extra=EXTRA)
    network = ev.MLP([8], layer_norm=layer_norm)
    layouts, modules, flats = [], [], []
    for widths, kind in shapes:
        genes = ev.MLP(widths, activation="relu").genes(None)
        genes = type(genes)(genes.hidden, (kind,) * len(widths))
        state = network.initialise(role, genes, g)
        state = {
            name: (value + 0.1 * torch.randn(value.shape, generator=g)).to(dtype)
            for name, value in state.items()
        }
        layouts.append(Layout.of(network.axes(role, genes)))
        modules.append(network.module(role, genes, state))
        flats.append(torch.cat([state[name].flatten() for name in layouts[-1].names]))
    rows = torch.full((len(shapes), max(map(len, flats)) + 3), float("nan"), dtype=dtype)
    for row, flat in zip(rows, flats, strict=True):
        row[: len(flat)] = flat
    sizes = [(widths, (kind,) * len(widths)) for widths, kind in shapes]
    return Perceptrons(dtype, layouts, sizes, FEATURES, EXTRA, outputs), rows, modules


def inputs(agents: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(agents, BATCH, FEATURES, generator=g, dtype=torch.float64)
    extra = torch.randn(agents, BATCH, EXTRA, generator=g, dtype=torch.float64)
    return x.to(dtype), extra.to(dtype)


def plain(
    modules: list[torch.nn.Module], x: Tensor, extra: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, flat gradients and those of the extra inputs, by autograd."""
    extra = extra.clone().requires_grad_()
    out = torch.stack([module(torch.cat([x[i], extra[i]], -1)) for i, module in enumerate(modules)])
    (out * grad).sum().backward()
    flat = [torch.cat([p.grad.flatten() for p in module.parameters()]) for module in modules]
    assert extra.grad is not None
    return out.detach(), torch.nn.utils.rnn.pad_sequence(flat, batch_first=True), extra.grad


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("outputs", [1, 3, 9, 18])
@pytest.mark.parametrize("kind", [kind for kind in ACTIVATIONS if kind != "identity"])
def test_networks_of_odd_shapes_give_the_outputs_and_gradients_of_modules(kind, outputs, layer_norm):
    by, rows, modules = made([(widths, kind) for widths in ODD], outputs, layer_norm)
    x, extra = inputs(len(ODD))
    grad = torch.randn(
        len(ODD), BATCH, outputs, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    out, kept = by.forward(rows, x, extra, keep=True)
    alone, nothing = by.forward(rows, x, extra, keep=False)
    gradient, flowing = kept.backward(grad, True, True)
    expected, by_rows, by_extra = plain(modules, x, extra, grad)
    assert torch.equal(out, alone)
    assert nothing is None
    assert torch.allclose(out, expected, atol=1e-11)
    assert torch.allclose(gradient, by_rows, atol=1e-10)
    assert torch.allclose(flowing, by_extra, atol=1e-11)


@pytest.mark.parametrize("kind", ACTIVATIONS[1:])
def test_single_precision_is_as_close_to_the_truth_as_torch_s(kind):
    shapes = [((64, 64), kind), ((48, 112), kind)]
    _, rows, modules = made(shapes, 1)
    single, _, _ = made(shapes, 1, dtype=torch.float32)
    x, extra = inputs(2)
    grad = torch.ones(2, BATCH, 1, dtype=torch.float64)
    truth, by_rows, by_extra = plain(modules, 3 * x, extra, grad)
    out, kept = single.forward(rows.float(), 3 * x.float(), extra.float(), keep=True)
    gradient, flowing = kept.backward(grad.float(), True, True)
    theirs, their_rows, their_extra = plain(
        [copy.deepcopy(module).float().requires_grad_() for module in modules],
        3 * x.float(),
        extra.float(),
        grad.float(),
    )
    for ours, other, true in (
        (out, theirs, truth),
        (gradient, their_rows, by_rows),
        (flowing, their_extra, by_extra),
    ):
        scale = float(true.abs().max())
        assert float((ours - true).abs().max()) <= 3 * float((other - true).abs().max()) + 1e-6 * scale


@pytest.mark.parametrize("kind", ACTIVATIONS[1:])
def test_extreme_inputs_saturate_and_nan_stays_nan(kind):
    by, rows, modules = made([((4,), kind)], 1, dtype=torch.float32)
    x, extra = inputs(1, torch.float32)
    x[0, 0], x[0, 1], x[0, 2] = 1e4, -1e4, float("nan")
    out, kept = by.forward(rows, x, extra, keep=True)
    expected = modules[0](torch.cat([x[0], extra[0]], -1))
    assert torch.allclose(out[0], expected, rtol=1e-4, atol=1e-4, equal_nan=True)
    gradient, _ = kept.backward(torch.ones_like(out) * torch.isfinite(out), True, False)
    assert torch.isnan(gradient).any(), "an agent that diverged must be seen to diverge"


def test_members_read_their_agent_s_inputs_and_foreign_strides_are_understood():
    by, rows, _ = made([((7, 5), "relu")] * 4, 2)
    x, extra = inputs(2)
    out, _ = by.forward(rows, x, extra, keep=False)
    twice, _ = by.forward(rows, x.repeat_interleave(2, 0), extra.repeat_interleave(2, 0), keep=False)
    turned = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    strided, _ = by.forward(rows, turned, extra.expand(3, *extra.shape)[1], keep=False)
    assert torch.equal(out, twice)
    assert torch.equal(out, strided)


def test_samples_beyond_an_agent_s_own_give_zeros_and_no_gradient():
    by, rows, _ = made([((7, 5), "elu"), ((9,), "gelu"), ((4, 4), "relu")], 1)
    x, extra = inputs(3)
    counts = np.array([BATCH, 4, 0])
    grad = torch.randn(3, BATCH, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    out, kept = by.forward(rows, x, extra, True, counts)
    gradient, flowing = kept.backward(grad, True, True)
    own = (torch.arange(BATCH) < torch.from_numpy(counts)[:, None])[..., None]
    whole, kept = by.forward(rows, x, extra, True)
    expected, beside = kept.backward(grad * own, True, True)
    assert torch.allclose(out, whole * own, atol=1e-12)
    assert torch.allclose(gradient, expected, atol=1e-12)
    assert torch.allclose(flowing, beside * own, atol=1e-12)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_large_batch_without_gradient_is_computed_in_pieces(layer_norm):
    by, rows, _ = made([((7, 33), "gelu"), ((4,), "elu")], 9, layer_norm)
    g = torch.Generator().manual_seed(5)
    x, extra = (torch.randn(2, 1000, n, generator=g, dtype=torch.float64) for n in (FEATURES, EXTRA))
    counts = np.array([1000, 700])
    pieces, _ = by.forward(rows, x, extra, False, counts)
    whole, _ = by.forward(rows, x, extra, True, counts)
    assert torch.allclose(pieces, whole, atol=1e-13)


def test_more_threads_give_the_same_bits(monkeypatch):
    by, rows, _ = made([((40 + i, 64), "gelu") for i in range(7)], 1)
    x, extra = inputs(7)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr("evolab.networks.kernels.perceptrons.GRAIN", 1)
        out, kept = by.forward(rows, x, extra, keep=True)
        found.append((out, *kept.backward(torch.ones_like(out), True, True)))
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(found[0], other, strict=True))


@pytest.mark.parametrize(
    ("x", "extra", "message"),
    [
        (
            (2, 4, 6),
            (2, 4, 2),
            r"\(2, 4, 6\) and \(2, 4, 2\) came for 2 networks; expected are \[agents, batch, 5\]",
        ),
        ((2, 5), (2, 4, 2), r"\(2, 5\)"),
        ((2, 4, 5), (2, 3, 2), r"and \[agents, batch, 2\]"),
        ((2, 4, 5), None, "None came"),
        ((3, 4, 5), (3, 4, 2), "came for 2 networks"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, extra, message):
    by, rows, _ = made([((7,), "relu")] * 2, 1)
    with pytest.raises(ValueError, match=message):
        by.forward(
            rows, torch.zeros(x).double(), None if extra is None else torch.zeros(extra).double(), keep=False
        )
    with pytest.raises(ValueError, match=r"inputs are torch.float32"):
        by.forward(rows, torch.zeros(2, 4, 5), torch.zeros(2, 4, 2), keep=False)


def test_adam_is_torch_s_for_every_agent_at_its_own_rate_and_step():
    g = torch.Generator().manual_seed(4)
    parameters = torch.randn(3, 2, 40, generator=g, dtype=torch.float64)[..., :37]
    mean, square = (torch.zeros(3, 2, 40, dtype=torch.float64)[..., :37] for _ in range(2))
    count, rate = torch.zeros(3, dtype=torch.float64), torch.tensor([1e-3, 3e-2, 1e-4], dtype=torch.float64)
    sizes = np.array([37, 20, 5])
    plain = [parameters[i, :, : sizes[i]].clone().requires_grad_() for i in range(3)]
    theirs = [torch.optim.Adam([one], lr=float(lr)) for one, lr in zip(plain, rate, strict=True)]
    before = parameters.clone()
    for _ in range(5):
        gradient = torch.randn(3, 2, 37, generator=g, dtype=torch.float64)
        count += 1
        assert native.adam(AdamState(parameters, mean, square, count, rate, sizes), gradient)
        for i, optimizer in enumerate(theirs):
            plain[i].grad = gradient[i, :, : sizes[i]].clone()
            optimizer.step()
    for i, one in enumerate(plain):
        assert torch.allclose(parameters[i, :, : sizes[i]], one, atol=1e-13)
        assert torch.equal(parameters[i, :, sizes[i] :], before[i, :, sizes[i] :])


def test_targets_follow_each_by_its_own_tau():
    target, source = torch.randn(2, 2, 9, dtype=torch.float64), torch.randn(2, 2, 9, dtype=torch.float64)
    tau = torch.tensor([0.1, 0.7], dtype=torch.float64)
    expected = target.lerp(source, tau[:, None, None])
    assert native.polyak_update(target, source, tau, np.array([9, 9]))
    assert torch.allclose(target, expected, atol=1e-15)


def test_rows_of_half_precision_and_elsewhere_are_left_to_torch():
    half = torch.zeros(1, 1, 4, dtype=torch.bfloat16)
    assert not native.polyak_update(half, half, half[:, 0, 0], np.array([4]))
    meta = torch.zeros(1, 1, 4, device="meta")
    assert not native.polyak_update(meta, meta, meta[:, 0, 0], np.array([4]))


def test_a_population_can_be_copied_and_sent_elsewhere():
    population = ev.Population("TD3", Box(-1, 1, (4,)), Box(-1, 1, (2,)), size=2, seed=1)
    observation = np.linspace(-1, 1, 8).reshape(2, 1, 4).astype(np.float32)
    for twin in (copy.deepcopy(population), pickle.loads(pickle.dumps(population))):
        assert np.array_equal(
            twin.act(observation, explore=False), population.act(observation, explore=False)
        )


def test_memory_grows_with_the_largest_matrix_not_with_the_square_of_the_widest_line():
    """Regression: vectors of 65 000 numbers ended in "no memory to compute 1 networks on a batch of 2"."""
    width, batch = 120_000, 4
    population = ev.Population(
        "DQN",
        Box(-1, 1, (width,)),
        Discrete(2),
        1,
        network=[8],
        seed=1,
        device="cpu",
        hyperparameters={"batch_size": batch},
    )
    generator = np.random.default_rng(0)
    observation = generator.normal(size=(1, batch, width)).astype(np.float32)
    values = population[0].module()(torch.from_numpy(observation[0]))
    assert (population.act(observation, explore=False)[0] == values.argmax(-1).numpy()).all()
    losses = population.learn(
        SimpleNamespace(
            observation=observation,
            action=np.zeros((1, batch), dtype=np.int64),
            reward=np.ones((1, batch), dtype=np.float32),
            next_observation=observation,
            terminated=np.ones((1, batch), dtype=bool),
        )
    )
    expected = (values[:, 0].detach() - 1).square().mean()
    assert float(losses["q"][0]) == pytest.approx(float(expected), rel=1e-4)
