"""Contract tests for parts of your own: an algorithm, a mutation, a network.

Call one from a test of yours: `check_algorithm(MyAlgorithm())`. Each raises AssertionError with
a sentence that says which part of the contract is broken. evolab's own parts pass the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core.experience import Batch, Episodes, to_batch
from evolab.core.rng import global_states
from evolab.core.space_trees import sampled
from evolab.core.trees import map_leaves
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.resize_tensors import resize
from evolab.networks.base import Layout, Network, Role
from evolab.networks.genes import Genes
from evolab.networks.mlp.mlp import MLP
from evolab.networks.observations import encode
from evolab.population.individual import Individual
from evolab.population.population import Population

OBSERVATIONS = spaces.Box(-1.0, 1.0, (4,), np.float32)
BATCH = 12
TOKENS = spaces.MultiDiscrete([4] * 9)


def check_algorithm(
    algorithm: Algorithm,
    observation_space: spaces.Space | None = None,
    action_space: spaces.Space | None = None,
) -> None:
    """Hold an algorithm to its contract.

    It acts within the action space; learning is a function of batch and noise, moves only through
    declared networks, gives finite losses [P], treats every agent as if alone, and never waits
    for the device.

    Args:
        algorithm: with defaults for all its hyperparameters.
        observation_space: to try it in; None for four numbers.
        action_space: to try it in; None for three discrete actions where it takes them, else two numbers.

    Raises:
        AssertionError: says what is broken.
    """
    usual = TOKENS if algorithm.reads_tokens else OBSERVATIONS
    space = usual if observation_space is None else observation_space
    actions = _action_space(algorithm) if action_space is None else action_space
    for name, hyperparameter in algorithm.hyperparameters.items():
        default = hyperparameter.limits.check(name, hyperparameter.default)
        assert default == hyperparameter.default, f"the default of {name} lies outside its limits"
        assert hyperparameter.text, f"{name} needs a text that says what it does"
    many = _population(algorithm, space, actions, 3)
    roles = many.roles
    assert roles, "roles() names no network; the policy comes first"
    for name, role in roles.items():
        assert role.rate in algorithm.hyperparameters, f"{name}'s rate {role.rate!r} is no hyperparameter"
    acted = many.act(_observations(space, 3, 5))
    assert acted.shape == (3, 5, *(actions.shape or ())), f"actions have shape {acted.shape}, not [P, E, ...]"
    inside = all(actions.contains(np.asarray(one)) for row in acted for one in row)
    assert inside, f"an exploring action left {actions}"

    batch = _batch(many, space, actions, 3)
    before = {name: value.clone() for name, value in many.table.items()}
    drawn = _noise(many, batch, 3)
    twin, alone = many.copy(range(3)), many.copy([1])
    for _ in range(6):  # so that delayed parts come round
        losses = many.learn(batch, noise=drawn)
        twin.learn(batch, noise=drawn)
        alone.learn(_rows(batch, slice(1, 2)), noise=None if drawn is None else drawn[1:2])
    for name, loss in losses.items():
        assert loss.shape == (3,), f"loss {name!r} has shape {tuple(loss.shape)}, not [P]: one per agent"
        assert bool(torch.isfinite(loss).all()), f"loss {name!r} is not finite"
    for name in roles:
        assert not torch.equal(many.table[name], before[name]), f"six updates did not move {name!r}"
        for kind in (name, f"{name}.mean", f"{name}.square"):
            assert bool(torch.isfinite(many.table[kind]).all()), f"{kind} is not finite after six updates"
    for name, value in many.table.items():
        assert torch.equal(value, twin.table[name]), f"{name}: the same batch and noise gave another result"
        if value.dim() == 3:
            gap = float((alone.table[name][0] - value[1]).abs().max())
            told = f"{name}: an agent learned otherwise beside others ({gap:.1e}); reduce over the last axis"
            assert gap < 1e-9, told
    meta = _population(algorithm, space, actions, 2, device="meta")
    meta.learn(_rows(batch, slice(0, 2), "meta"), noise=None if drawn is None else drawn[:2].to("meta"))


def check_mutation(
    mutation: Callable[[Individual, Context, np.random.Generator], str | None], tries: int = 20
) -> None:
    """Hold a mutation to its contract.

    It leaves the parent's tensors, hyperparameters and the global generators alone, follows the
    generators it is given, says in words what it did, and what comes out can live in a population:
    tensors fit the genes and are finite, hyperparameters stay in their ranges.

    Args:
        mutation: `(individual, context, generator) -> what changed, or None where it cannot apply`.
        tries: how often it is applied.

    Raises:
        AssertionError: says what is broken.
    """
    for algorithm in ("TD3", "DQN"):
        actions = spaces.Discrete(3) if algorithm == "DQN" else spaces.Box(-1.0, 1.0, (2,), np.float32)
        network = MLP([24, 20])
        population = Population(algorithm, OBSERVATIONS, actions, 1, network=network, seed=0, device="cpu")
        parent = population.individual(0)
        before = {name: value.clone() for name, value in population.table.items()}
        values, genes = dict(parent.hyperparameters), parent.genes
        for seed in range(tries):
            states = global_states()
            found = []
            for _ in range(2):
                child = parent.child(seed + 1)
                common = (population.network, population.roles, population.search_space)
                context = Context(*common, 0.1, torch.Generator().manual_seed(seed))
                detail = mutation(child, context, np.random.default_rng(seed))
                said = detail is None or (isinstance(detail, str) and detail)
                assert said, f"it gave {detail!r}; words, or None where it cannot apply, are expected"
                found.append((detail, child))
            (detail, child), (again, twin) = found
            assert global_states() == states, "it drew from a global generator"
            assert (detail, child.genes) == (again, twin.genes), "the same generators gave another mutation"
            assert (parent.hyperparameters, parent.genes) == (values, genes), "it changed its parent"
            for name, value in before.items():
                assert torch.equal(population.table[name], value), f"it wrote into its parent's {name}"
            _check_individual(population, child)
        grown = population.copy([0])
        grown.rebuild([child])
        grown.act(_observations(OBSERVATIONS, 1, 3))


def check_network(network: Network, observation_space: spaces.Space | None = None) -> None:
    """Hold a network to its contract.

    Rows of a group answer as their exported modules, padding included; its gradients leave
    sleeping entries at zero; genes survive JSON; growth and shrinkage give tensors that fit.

    Args:
        network: the architecture to start from.
        observation_space: to try it in; None for four numbers.

    Raises:
        AssertionError: says what is broken.
    """
    space = OBSERVATIONS if observation_space is None else observation_space
    role = Role(space, 3, ensemble_size=2)
    first = network.genes(space)
    assert network.from_json(network.to_json(first)) == first, "genes do not survive to_json and from_json"
    assert network.describe(first), "describe() is empty"
    variants = [first]
    for gene, (size, low, high, steps) in network.sizes(first).items():
        variants.append(network.resized(first, gene, min(size + steps[0], high)))
        variants.append(network.resized(first, gene, max(size - steps[0], low)))
    for at in network.stacks(first):
        variants += filter(None, (network.deeper(first, at), network.shallower(first, at)))
    groups: dict[str, list[Genes]] = {}
    for genes in variants:
        groups.setdefault(repr(network.key(genes)), []).append(genes)
    for group in groups.values():
        _check_group(network, role, space, sorted(group, key=network.order))
    _check_growth(network, space)


def _check_group(network: Network, role: Role, space: spaces.Space, genes: Sequence[Genes]) -> None:
    layout = Layout.of(network.axes(role, network.capacity(genes)))
    flat = torch.zeros(len(genes), role.ensemble_size, layout.size, dtype=torch.float64)
    awake = torch.zeros_like(flat, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    modules = []
    for row, gene in enumerate(genes):
        for member in range(role.ensemble_size):
            state = {k: v.double() for k, v in network.initialise(role, gene, generator).items()}
            axes = network.axes(role, gene)
            assert list(state) == list(axes), f"initialise() gives {list(state)}; axes() has {list(axes)}"
            for name, value in state.items():
                corner = tuple(slice(0, size) for size in value.shape)
                layout.views(flat[row, member])[name][corner] = value
                layout.views(awake[row, member])[name][corner] = True
            modules.append(network.module(role, gene, state))
    tensors = sampled(space, (len(genes), 6), np.random.default_rng(0))
    leaf = flat.requires_grad_()
    out = network.kernel(role, genes, layout)(leaf, tensors, None, None)
    expected = (len(genes), role.ensemble_size, 6, role.outputs)
    assert out.shape == expected, f"the pass gives {tuple(out.shape)}, not [P, M, B, O]"
    (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
    assert not gradient[~awake].any(), "sleeping entries get a gradient, so they would move"
    for row in range(len(genes)):
        features = encode(space, map_leaves(lambda part, row=row: part[row], tensors), 1, torch.float64)
        for member in range(role.ensemble_size):
            answer = modules[row * role.ensemble_size + member](features)
            gap = float((answer - out[row, member]).detach().abs().max())
            assert gap < 1e-9, f"{network.describe(genes[row])}: a row and its module differ by {gap:.1e}"


def _check_growth(network: Network, space: spaces.Space) -> None:
    algorithm = "PPO" if network.remembers else "DQN"
    population = Population(algorithm, space, spaces.Discrete(3), 1, network=network, seed=0, device="cpu")
    parent = population.individual(0)
    context = Context(network, population.roles, {}, 0.1, torch.Generator().manual_seed(0))
    for gene, (size, low, high, steps) in network.sizes(parent.genes).items():
        for target in {min(size + steps[0], high), max(size - steps[0], low)} - {size}:
            child = parent.child(1)
            resize(child, context, gene, target)
            assert network.sizes(child.genes)[gene][0] == target, f"{gene} has not become {target}"
            _check_individual(population, child)


def _check_individual(population: Population, individual: Individual) -> None:
    for kind, state in individual.tensors.items():
        role = population.roles[kind.split(".")[0]]
        axes = role.recipe(population.network).axes(role, individual.genes)
        assert set(state) == set(axes), f"{kind} has {sorted(state)}; its genes say {sorted(axes)}"
        for name, value in state.items():
            shape = (role.ensemble_size, *(axis.size for axis in axes[name]))
            assert value.shape == shape, f"{kind} {name} is {tuple(value.shape)}; its genes say {shape}"
            assert bool(torch.isfinite(value).all()), f"{kind} {name} is not finite"
    for name, space in population.search_space.items():
        space.check(name, individual.hyperparameters[name])


def _population(
    algorithm: Algorithm, space: spaces.Space, actions: spaces.Space, size: int, device: str = "cpu"
) -> Population:
    values = {"batch_size": BATCH} if "batch_size" in algorithm.hyperparameters else {}
    how: dict[str, Any] = {"hyperparameters": values, "search_space": {}, "seed": 0, "dtype": torch.float64}
    return Population(algorithm, space, actions, size, device=device, **how)


def _action_space(algorithm: Algorithm) -> spaces.Space:
    assert algorithm.name, "an algorithm needs a name"
    if spaces.Discrete in algorithm.action_spaces:
        return spaces.Discrete(3)  # in TOKENS all but pad
    assert spaces.Box in algorithm.action_spaces, "action_spaces names neither Discrete nor Box"
    return spaces.Box(-2.0, 3.0, (2,), np.float32)


def _observations(space: spaces.Space, agents: int, length: int) -> Any:
    """[P, B, ...] arrays."""
    return map_leaves(Tensor.numpy, sampled(space, (agents, length), np.random.default_rng(0)))


def _batch(
    population: Population, space: spaces.Space, actions: spaces.Space, agents: int
) -> Batch | Episodes:
    if population.algorithm.reads_tokens:
        return _episodes(agents)
    rng = np.random.default_rng(0)
    observation = sampled(space, (agents, BATCH + 1), rng)
    return Batch(
        observation=map_leaves(lambda leaf: leaf[:, :-1], observation),
        action=sampled(actions, (agents, BATCH), rng),
        reward=torch.as_tensor(rng.normal(size=(agents, BATCH))),
        next_observation=map_leaves(lambda leaf: leaf[:, 1:], observation),
        terminated=torch.as_tensor(rng.random((agents, BATCH)) < 0.2),
    )


def _episodes(agents: int) -> Episodes:
    """Whole episodes of random tokens, some of them cut, chosen in turns."""
    rng = np.random.default_rng(0)
    shape = (agents, BATCH, len(TOKENS.nvec))
    place, length = np.arange(shape[-1]), rng.integers(3, shape[-1] + 1, shape[:2])
    inside = place < length[..., None]
    chosen = inside & (place % 2 == 1)
    return Episodes(
        tokens=torch.as_tensor(np.where(inside, rng.integers(0, 3, shape), 3)),
        action_mask=torch.as_tensor(chosen),
        reward=torch.as_tensor(np.where(chosen, rng.normal(size=shape), 0.0)),
        terminated=torch.as_tensor(rng.random(shape[:2]) < 0.7),
        length=torch.as_tensor(length),
    )


def _rows(batch: Batch | Episodes, rows: slice, device: str = "cpu") -> Any:
    fields = {name: value for name, value in vars(batch).items() if value is not None}
    return type(batch)(**map_leaves(lambda leaf: leaf[rows].to(device), fields))


def _noise(population: Population, batch: Batch | Episodes, agents: int) -> Tensor | None:
    """[P, B, ...] standard normal in the shape that the algorithm draws, or None where it draws nothing."""
    group = population.groups[0]
    given = to_batch(_rows(batch, slice(0, len(group))), population.device)
    seen = population.learner.batch_of(group, given)
    drawn = population.algorithm.draw(group, seen, torch.Generator().manual_seed(0))
    if drawn is None:
        return None
    generator = torch.Generator().manual_seed(1)
    return torch.randn((agents, *drawn.shape[1:]), generator=generator, dtype=drawn.dtype)
