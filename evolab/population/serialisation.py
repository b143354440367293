"""Agents on disk: a folder of tensors and JSON that any evolab can load and nothing can execute.

`agent.safetensors` holds parameters, targets and moments without padding, by name;
`agent.json` the algorithm, network, genes, hyperparameters, spaces and record; `README.md` is
a model card; `manifest.json` has the SHA-256 of the first two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.core import registry, spaces
from evolab.core.device import device_named
from evolab.core.plain import from_plain, plain, to_plain
from evolab.networks.base import Layout, Network
from evolab.population.agent import Agent
from evolab.population.individual import Individual
from evolab.population.population import Population
from evolab.storage.files import Damaged
from evolab.storage.folders import Saved, aside, drafting

if TYPE_CHECKING:
    from os import PathLike

LARGEST = 4_000_000_000
"""Parameters of the largest agent believed: a file that describes a larger one is hostile or damaged."""

EXAMPLE = """\
import gymnasium
import imageio
import evolab as ev

agent = ev.Agent.load("path/to/this/folder")
env = gymnasium.make("the environment's id", render_mode="rgb_array")
returns, frames = [], []
for episode in range(3):
    observation, _ = env.reset(seed=episode)
    total, over = 0.0, False
    while not over:
        frames.append(env.render())
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
        total, over = total + reward, terminated or truncated
    returns.append(total)
env.close()
imageio.mimsave("episodes.gif", frames, duration=33)  # milliseconds a picture
print(returns)
"""
"""How a model card says that the agent is used."""

_APART = ("genes", "tensors")  # what a individual holds that is not plain


def save_agent(agent: Agent, folder: str | PathLike[str]) -> None:
    """Write an agent to a folder; see `Agent.save`."""
    population = agent._population
    row = population.row(agent.id)
    tensors: dict[str, Tensor] = {}
    individual = population.individual(row)
    about = {**describe_population(population), "agent": describe_individual(population, individual)}
    take_tensors(individual, "", tensors)
    policy = {key: value[0] for key, value in individual.tensors[next(iter(population.roles))].items()}
    individual.tensors = {}
    with drafting(Path(folder), "agent") as draft:
        draft.tensors("agent.safetensors", tensors)
        draft.json("agent.json", {**about, "sha256": draft.entry("agent.safetensors")["sha256"]})
        for name, content in population.network.files(about["agent"]["genes"], policy).items():
            (draft.tensors if name.endswith(".safetensors") else draft.json)(name, content)
        draft.text("README.md", card(agent))


def load_agent(
    folder: str | PathLike[str], algorithm: Any = None, network: Any = None, device: str = "cpu"
) -> Agent:
    """Read an agent from a folder; see `Agent.load`."""
    path = Path(folder)
    if path.is_dir() and not (path / "agent.json").exists() and (path / "elite").is_dir():
        path = path / "elite"  # the folder of a whole run
    if not path.exists() and not aside(path).exists():
        raise FileNotFoundError(f"there is no agent at {path}. agent.save({str(path)!r}) writes one.")
    saved = Saved(path, "agent")
    about, tensors = saved.json("agent.json"), saved.tensors("agent.safetensors")
    where = str(saved.path / "agent.json")
    with naming(where):
        return make_agents(about, [about["agent"]], [""], tensors, where, algorithm, network, device)[0]


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Turn whatever a damaged description raises into an error that names its file."""
    try:
        yield
    except Damaged:
        raise
    except (KeyError, AttributeError, IndexError, OverflowError, AssertionError) as error:
        raise Damaged(f"{where} is damaged: {type(error).__name__}: {error}") from error
    except (ValueError, TypeError) as error:
        if where in str(error):
            raise
        raise ValueError(f"{where}: {error}") from error


# What is written ------------------------------------------------------------------------------


def describe_population(population: Population) -> dict[str, Any]:
    """Everything that the agents of a population have in common, as plain values."""
    return {
        "algorithm": to_plain(population.algorithm),
        "network": to_plain(population.network),
        "search_space": to_plain(population.search_space),
        "observation_space": spaces.to_json(population.observation_space),
        "action_space": spaces.to_json(population.action_space),
        "dtype": str(population.dtype).removeprefix("torch."),
        "seed": population.seed,
    }


def describe_individual(population: Population, individual: Individual) -> dict[str, Any]:
    """One agent as plain values, its tensors apart."""
    values = {
        field.name: getattr(individual, field.name)
        for field in fields(individual)
        if field.name not in _APART
    }
    values["counts"] = {name: float(count) for name, count in individual.counts.items()}
    return plain({**values, "genes": population.network.to_json(individual.genes)})  # type: ignore[no-any-return]


def take_tensors(individual: Individual, prefix: str, into: dict[str, Tensor]) -> None:
    """Put the tensors of a individual into `into` as `prefix + role and kind + "/" + parameter`."""
    for name, state in individual.tensors.items():
        for key, value in state.items():
            into[f"{prefix}{name}/{key}"] = value


def card(agent: Agent) -> str:
    """A model card in the form that model hubs read."""
    known = agent.describe()
    fitness = known["fitness"]
    result = [] if math.isnan(fitness) else [f"\nMean return when it was saved: **{fitness:.2f}**."]
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in known.items()]
    population = agent._population
    return "\n".join(
        [
            "---",
            "library_name: evolab",
            "pipeline_tag: reinforcement-learning",
            "tags:",
            "- reinforcement-learning",
            "- evolab",
            f"- {''.join(c for c in str(known['algorithm']) if c.isalnum() or c in '-_')}",
            "---",
            "",
            f"# {_cell(known['algorithm'])} agent {known['agent']}",
            *result,
            "",
            "```python",
            *EXAMPLE.splitlines(),
            "```",
            "",
            "| | |",
            "|---|---|",
            *rows,
            f"| observation space | {_cell(population.observation_space)} |",
            f"| action space | {_cell(population.action_space)} |",
            "",
            "The folder holds safetensors and JSON; loading it executes nothing.",
            "",
        ]
    )


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = text if len(text) <= 200 else text[:197] + "..."
    for special, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(special, escaped)
    return text


# What is read ---------------------------------------------------------------------------------


def make_agents(
    about: Mapping[str, Any],
    described: Sequence[Mapping[str, Any]],
    prefixes: Sequence[str],
    tensors: Mapping[str, Tensor],
    where: str,
    algorithm: Any = None,
    network: Any = None,
    device: str = "cpu",
) -> list[Agent]:
    """Agents, each in a table of its own, from what `describe_population` and `describe_individual` gave.

    Args:
        about: what they have in common.
        described: each one's own values.
        prefixes: of each one's tensors.
        tensors: of all of them, by name.
        where: the file that is named when something does not fit.
        algorithm: passed in by the user, where it is not evolab's own.
        network: passed in by the user, where it is not evolab's own.
        device: where they live.
    """
    agents = []
    for values, prefix in zip(described, prefixes, strict=True):
        population = empty_population(about, 1, values, algorithm, network, device)
        individual = make_individual(population, values, prefix, tensors, where)
        population.rebuild([individual])
        population.next_id = individual.id + 1
        agents.append(Agent(population, individual.id))
    return agents


def empty_population(
    about: Mapping[str, Any], size: int, values: Mapping[str, Any], algorithm: Any, network: Any, device: str
) -> Population:
    """A population with the right options, whose agents are still to be put in."""
    own_algorithm = algorithm_of(about["algorithm"], algorithm)
    own_network = network_of(about["network"], network)
    observation = spaces.from_json(about["observation_space"])
    action = spaces.from_json(about["action_space"])
    _refuse_giants(own_algorithm, own_network, observation, action)
    dtype = getattr(torch, str(about["dtype"]), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype is {about['dtype']!r}; a floating-point type such as 'float32' is expected.")
    return Population(
        own_algorithm,
        observation,
        action,
        size,
        network=own_network,
        search_space=from_plain(about["search_space"]),
        seed=int(about["seed"]),
        device=device,
        dtype=dtype,
    )


def make_individual(
    population: Population, values: Mapping[str, Any], prefix: str, tensors: Mapping[str, Tensor], where: str
) -> Individual:
    """A individual whose tensors have exactly the shapes that its genes ask for.

    Raises:
        Damaged: a tensor is missing or of another shape.
        ValueError: a hyperparameter is unknown or outside its limits.
    """
    genes = population.network.from_json(values["genes"])
    own = {field.name for field in fields(Individual)} - set(_APART)
    individual = Individual(**{name: value for name, value in values.items() if name in own}, genes=genes)
    known = population.algorithm.hyperparameters
    if set(individual.hyperparameters) != set(known):
        raise Damaged(f"{where} is damaged: its hyperparameters are {sorted(individual.hyperparameters)}.")
    for name, value in individual.hyperparameters.items():
        known[name].limits.check(name, value)
    individual.fitness = [float(value) for value in individual.fitness]
    individual.counts = {name: float(individual.counts[name]) for name in population.roles}
    for name, role in population.roles.items():
        shapes = role.recipe(population.network).axes(role, genes)
        for kind in ("", ".target", ".mean", ".square"):
            if kind == ".target" and not role.has_target:
                continue
            state = individual.tensors[name + kind] = {}
            for key, axes in shapes.items():
                tensor = tensors.get(f"{prefix}{name}{kind}/{key}")
                expected = (role.ensemble_size, *(axis.size for axis in axes))
                if tensor is None or tuple(tensor.shape) != expected or tensor.dtype != population.dtype:
                    came = "is missing" if tensor is None else f"is {tensor.dtype} {tuple(tensor.shape)}"
                    raise Damaged(
                        f"{where} does not fit its tensors: {name}{kind}/{key} {came}, {expected} is expected."
                    )
                state[key] = tensor.to(population.device)
    return individual


def algorithm_of(described: Any, given: Any) -> Algorithm:
    """The algorithm that a file names, or the one the user passed in.

    Raises:
        ValueError: the file's algorithm is not evolab's own and none was passed, or another one was.
    """
    from evolab.algorithms.options import algorithm_named

    if given is not None:
        algorithm = algorithm_named(given)
        wanted = described.get("type") if isinstance(described, dict) else described
        if type(algorithm).__name__ != wanted:
            raise ValueError(f"it was saved with algorithm {wanted}, {type(algorithm).__name__} was passed.")
        return algorithm
    made = _own(described, "algorithm")
    if not isinstance(made, Algorithm):
        raise ValueError(f"{described!r} is no algorithm.")
    return made


def network_of(described: Any, given: Any) -> Network:
    """The network that a file names, or the one the user passed in."""
    if given is not None:
        from evolab.networks.default import network_for

        return network_for(given, None)  # type: ignore[arg-type]
    made = _own(described, "network")
    if not isinstance(made, Network):
        raise ValueError(f"{described!r} is no network.")
    return made


def _own(described: Any, what: str) -> Any:
    kind = described.get("type") if isinstance(described, dict) else described
    if kind not in registry.names(what):
        raise ValueError(
            f"{what} {kind!r} is not evolab's own, and nothing is imported by a name in a file. "
            f"Pass the object: load(folder, {what}={kind}(...))."
        )
    return from_plain(described)


def _refuse_giants(algorithm: Algorithm, network: Network, observation: Any, action: Any) -> None:
    """Count the parameters before anything of their size is allocated."""
    from evolab.core.actions import actions_of

    algorithm.check(observation, action)
    roles = algorithm.roles(observation, actions_of(action, device_named("cpu"), torch.float32))
    genes = network.genes(observation)
    sizes = [
        role.ensemble_size * Layout.of(role.recipe(network).axes(role, genes)).size for role in roles.values()
    ]
    total = sum(sizes)
    if total > LARGEST:
        raise ValueError(f"it describes an agent of {total:,} parameters; more than {LARGEST:,} are refused.")
