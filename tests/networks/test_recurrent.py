"""Networks that remember, against torch's own layers."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Layout, Role
from evolab.networks.recurrent.cells import CELLS, CellScan
from evolab.networks.recurrent.recurrent import Recurrent
from evolab.networks.sequences import Sequences
from evolab.testing import check_network

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
PICTURE = spaces.Box(0, 255, (8, 8, 3), np.uint8)
BOTH = spaces.Dict({"eye": PICTURE, "speed": VECTOR})
STEPS, SEQUENCES, UNITS = 5, 3, 4


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("space", [VECTOR, PICTURE, BOTH], ids=["vector", "picture", "dict"])
def test_it_holds_the_contract(cell, space):
    check_network(Recurrent(20, cell, min_units=8), space)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_scan_and_its_gradients_are_those_of_torchs_own_layer(cell):
    """Two agents at once; the layer of torch is called for one, and anew where an episode begins in the middle."""
    kind, generator = CELLS[cell], torch.Generator().manual_seed(0)
    layers = [
        (torch.nn.GRU if cell == "gru" else torch.nn.LSTM)(7, UNITS, dtype=torch.float64) for _ in range(2)
    ]
    x = torch.randn(2, STEPS, SEQUENCES, 7, generator=generator, dtype=torch.float64)
    memory = torch.randn(2, SEQUENCES, kind.memories, UNITS, generator=generator, dtype=torch.float64)
    begins = torch.zeros(2, STEPS, SEQUENCES, dtype=torch.bool)
    begins[1, 2] = True  # all sequences of the second agent begin anew at the third step

    wanted = torch.randn(2, STEPS, SEQUENCES, UNITS, generator=generator, dtype=torch.float64)
    found, gradients = [], []
    for agent, layer in enumerate(layers):

        def start(value):
            parts = [part.contiguous() for part in value.transpose(0, 1)[:, None]]
            return parts[0] if cell == "gru" else tuple(parts)

        if agent == 0:
            out, _ = layer(x[0], start(memory[0]))
        else:
            one, _ = layer(x[1, :2], start(memory[1]))
            two, _ = layer(x[1, 2:])
            out = torch.cat([one, two])
        found.append(out)
        own = dict(layer.named_parameters())
        names = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0")
        gradients.append(torch.autograd.grad((out * wanted[agent]).sum(), [own[name] for name in names]))

    def stacked(name):
        return torch.stack([getattr(layer, name).detach() for layer in layers]).requires_grad_()

    into, offset = stacked("weight_ih_l0"), stacked("bias_ih_l0")
    across, shift = stacked("weight_hh_l0"), stacked("bias_hh_l0")
    given = torch.einsum("ptni,pgi->ptng", x, into) + offset[:, None, None]
    keep = (~begins).double()[..., None, None]
    after = CellScan.apply(given, across, shift, memory, keep, kind)
    torch.testing.assert_close(after[:, :, :, 0], torch.stack(found), rtol=0, atol=1e-12)
    mine = torch.autograd.grad((after[:, :, :, 0] * wanted).sum(), [into, offset, across, shift])
    for own, theirs in zip(mine, zip(*gradients, strict=True), strict=True):
        torch.testing.assert_close(own, torch.stack(theirs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_gradient_through_what_an_lstm_keeps_is_autograds_own(cell):
    """The other numbers that are remembered have a gradient as well; finite differences check all of them."""
    kind, generator = CELLS[cell], torch.Generator().manual_seed(1)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    given, weight, bias = (
        drawn(1, 3, 2, kind.gates * 2),
        drawn(1, kind.gates * 2, 2),
        drawn(1, kind.gates * 2),
    )
    memory, keep = drawn(1, 2, kind.memories, 2).detach(), torch.ones(1, 3, 2, 1, 1, dtype=torch.float64)
    keep[0, 1, 0] = 0
    assert torch.autograd.gradcheck(lambda *x: CellScan.apply(*x, memory, keep, kind), (given, weight, bias))


def test_steps_one_by_one_are_the_sequence():
    """Acting hands the memory from call to call, learning unrolls it: both are the same function."""
    network, role = Recurrent(20, encoder=[16], min_units=8), Role(VECTOR, 2)
    genes = [network.resized(network.genes(VECTOR), "units", units) for units in (20, 12)]
    layout = Layout.of(network.axes(role, network.capacity(genes)))
    flat, generator = torch.zeros(2, 1, layout.size), torch.Generator().manual_seed(0)
    for row, one in enumerate(genes):
        for name, value in network.initialise(role, one, generator).items():
            layout.views(flat[row, 0])[name][tuple(slice(0, size) for size in value.shape)] = value
    kernel = network.kernel(role, genes, layout)
    x = torch.rand(2, STEPS * SEQUENCES, 3, generator=generator)
    start, begins = torch.zeros(2, SEQUENCES, 1, 20), torch.zeros(2, STEPS * SEQUENCES, dtype=torch.bool)
    begins[:, 7] = True  # of the second sequence the third step
    after = torch.zeros(2, STEPS * SEQUENCES, 1, 20)
    with torch.no_grad():
        whole = kernel(flat, Sequences(x, start, begins, after))
        memory, parts = start, []
        for step in range(STEPS):
            rows = slice(step * SEQUENCES, (step + 1) * SEQUENCES)
            memory = memory * ~begins[:, rows, None, None]
            now = torch.zeros_like(memory)
            parts.append(kernel(flat, Sequences(x[:, rows], memory, (), now)))
            memory = now
            torch.testing.assert_close(now, after[:, rows])
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert not after[1, :, :, 12:].any()  # units that the second agent does not have


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_new_units_change_nothing_over_a_whole_sequence(cell):
    network = Recurrent(16, cell, [16])
    population = ev.Population(
        "PPO", VECTOR, spaces.Discrete(3), 1, network=network, seed=0, device="cpu", dtype=torch.float64
    )
    child = population.individual(0).child(1)
    context = Context(network, population.roles, {}, 0.1, torch.Generator().manual_seed(0))
    resize(child, context, "units", 48)
    grown = population.copy([0])
    grown.rebuild([child])
    x = np.random.default_rng(0).uniform(-1, 1, (6, 1, 4, 3))
    outputs = []
    for one in (population, grown):
        memory = one[0].memory()
        for seen in x:
            one.act(seen, False, memory=memory)
        outputs.append(memory.state["remembered"][..., :16])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)
    assert grown.network.describe(grown.individuals[0].genes) == f"16 → {cell.upper()} 48, relu"


def test_a_start_is_orthogonal_where_the_role_wants_it():
    network, role = Recurrent(16, encoder=[16]), Role(VECTOR, 2, gain=0.01)
    generator = torch.Generator().manual_seed(0)
    state = network.initialise(role, network.genes(VECTOR), generator)
    found = network.started(role, state, generator)
    assert list(found) == list(state)
    across = found["recurrent.weight"].flatten(0, 1)  # more rows than columns: these are orthogonal
    torch.testing.assert_close(across.t() @ across, torch.eye(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(found["output.weight"] @ found["output.weight"].t(), 1e-4 * torch.eye(2))
    assert not any(value.any() for name, value in found.items() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"units": 0}, ValueError, "units"),
        ({"cell": "rnn"}, ValueError, "known are gru, lstm"),
        ({"encoder": ev.Stack(torch.nn.Linear)}, TypeError, "ev.MLP"),
        ({"encoder": ev.CNN(hidden=[])}, TypeError, "at least one hidden layer"),
        ({"steps": 0}, ValueError, "steps"),
    ],
)
def test_bad_options_are_named(options, error, words):
    with pytest.raises(error, match=words):
        Recurrent(**options)


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "CQN"])
def test_others_refuse_it_and_say_which_can(algorithm):
    actions = spaces.Discrete(2) if algorithm == "CQN" else spaces.Box(-1, 1, (1,), np.float32)
    with pytest.raises(
        TypeError, match=f"{algorithm}.* learns from single transitions.* DQN, QRDQN and PPO can have one"
    ):
        ev.Population(algorithm, VECTOR, actions, 1, network="Recurrent")
