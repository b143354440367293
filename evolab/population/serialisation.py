"""Agents on disk: a folder of tensors and JSON that any evolab can load and nothing can execute.

`agent.safetensors` holds parameters, targets and moments without padding, by name;
`agent.json` the algorithm, network, genes, hyperparameters, spaces and record; `README.md` is
a model card; `manifest.json` has the SHA-256 of the first two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import Tensor

from evolab.algorithms.base import Algorithm
from evolab.algorithms.search_space import algorithm_named, search_space_of
from evolab.core import checks, registry, spaces
from evolab.core.device import device_named, dtype_called
from evolab.core.plain_values import from_plain, plain, to_plain
from evolab.networks.base import Network
from evolab.networks.default import network_for
from evolab.networks.genes import Genes
from evolab.population.file_schema import AGENT_FILE
from evolab.population.individual import Individual
from evolab.population.model_card import card
from evolab.population.normalisation import NAME, words_of
from evolab.population.spec import Spec
from evolab.population.table import Table
from evolab.storage.files import Damaged
from evolab.storage.folders import Saved, aside, drafting

Part = TypeVar("Part")

LARGEST = 4_000_000_000
"""Parameters of the largest agent that is read: a file that describes a larger one is hostile or damaged."""

_APART = ("genes", "tensors", "slot")  # what is written in another form than it has
_SLOT = "place"  # its name in files


def save(table: Table, row: int, folder: str | PathLike[str]) -> None:
    """Write an agent to a folder; see `Agent.save`."""
    tensors: dict[str, Tensor] = {}
    about = {**describe_spec(table.spec), "agent": take(table, row, "", tensors)}
    policy = {key: value[0] for key, value in table.individual(row).tensors[table.spec.policy].items()}
    with drafting(checks.path("folder", folder), "agent") as draft:
        draft.tensors("agent.safetensors", tensors)
        draft.json("agent.json", {**about, "sha256": draft.entry("agent.safetensors")["sha256"]})
        for name, content in table.network.files(about["agent"]["genes"], policy).items():
            (draft.tensors if name.endswith(".safetensors") else draft.json)(name, content)
        draft.text("README.md", card(table.describe(row), table.spec))


def load(
    folder: str | PathLike[str],
    algorithm: str | Algorithm | None = None,
    network: Network | Sequence[int] | str | None = None,
    device: str = "cpu",
) -> Table:
    """Read an agent from a folder, into a table of its own; see `Agent.load`."""
    path = checks.path("folder", folder)
    elite = path / "elite"  # in the folder of a whole run
    if path.is_dir() and not (path / "agent.json").exists() and (elite.is_dir() or aside(elite).is_dir()):
        path = elite
    if not path.exists() and not aside(path).exists():
        raise FileNotFoundError(f"there is no agent at {path}. agent.save({str(path)!r}) writes one.")
    saved = Saved(path, "agent")
    about, tensors = saved.json("agent.json"), saved.tensors("agent.safetensors")
    where = str(saved.path / "agent.json")
    with naming(where):
        AGENT_FILE("", about)
        spec = spec_of(about, algorithm, network, device)
        return Table(spec, [individual_of(spec, about["agent"], "", tensors, f"{where}: agent")])


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Turn whatever a damaged description raises into an error that names its file."""
    try:
        yield
    except Damaged:
        raise
    except KeyError as error:
        raise Damaged(f"{where}: {error.args[0] if error.args else 'something'} is missing.") from error
    except (AttributeError, IndexError, OverflowError, AssertionError) as error:
        raise Damaged(f"{where} is damaged: {type(error).__name__}: {error}") from error
    except (ValueError, TypeError) as error:
        if where in str(error):
            raise
        raise ValueError(f"{where}: {error}") from error


# What is written ------------------------------------------------------------------------------


def describe_spec(spec: Spec) -> dict[str, Any]:
    """Everything that the agents of a table have in common, as plain values."""
    return {
        "algorithm": to_plain(spec.algorithm),
        "network": to_plain(spec.network),
        "search_space": to_plain(spec.search_space),
        "observation_space": spaces.to_json(spec.observation_space),
        "action_space": spaces.to_json(spec.action_space),
        "dtype": str(spec.dtype).removeprefix("torch."),
        "seed": spec.seed,
        **({"normalise": list(spec.normalise)} if spec.normalise else {}),
    }


def take(table: Table, row: int, prefix: str, into: dict[str, Tensor]) -> dict[str, Any]:
    """An agent as plain values; its tensors go into `into` as `prefix + role and kind + "/" + parameter`."""
    individual = table.individual(row)
    for name, state in individual.tensors.items():
        for key, value in state.items():
            into[f"{prefix}{name}/{key}"] = value
    own = (field.name for field in fields(individual) if field.name not in _APART)
    values = {name: getattr(individual, name) for name in own}
    values[_SLOT] = individual.slot
    values["counts"] = {name: float(count) for name, count in individual.counts.items()}
    values["genes"] = table.network.to_json(individual.genes)
    return plain(values)


# What is read ---------------------------------------------------------------------------------


def spec_of(
    about: Mapping[str, Any],
    algorithm: str | Algorithm | None,
    network: Network | Sequence[int] | str | None,
    device: str | torch.device,
    key: str = "",
) -> Spec:
    """The inverse of `describe`.

    Args:
        about: what it gave.
        algorithm: passed in by the user, where it is not evolab's own; else None.
        network: likewise.
        device: where the agents will live.
        key: what comes before the keys of `about` in its file, such as "population.".

    Raises:
        ValueError: the file's algorithm or network is not evolab's own and none was passed, or another
            one was; or the agent would be absurdly large.
    """
    dtype = dtype_called(about["dtype"])
    if dtype is None or not dtype.is_floating_point:
        raise ValueError(
            f"{key}dtype is {about['dtype']!r}; a floating-point type such as 'float32' is expected."
        )
    own_algorithm = _algorithm(about["algorithm"], algorithm, f"{key}algorithm")
    described = from_plain(about["search_space"], f"{key}search_space")
    _, search_space = search_space_of(own_algorithm, None, described)
    spec = Spec(
        own_algorithm,
        spaces.from_json(about["observation_space"], f"{key}observation_space"),
        spaces.from_json(about["action_space"], f"{key}action_space"),
        _network(about["network"], network, f"{key}network"),
        search_space,
        int(about["seed"]),
        device_named(device),
        dtype,
        normalise=words_of(about.get("normalise"), own_algorithm),
    )
    # Before anything of that size is allocated.
    total = sum(spec.sizes(spec.network.genes(spec.observation_space)).values())
    if total > LARGEST:
        raise ValueError(f"it describes an agent of {total:,} parameters; more than {LARGEST:,} are refused.")
    return spec


def individual_of(
    spec: Spec, values: Mapping[str, object], prefix: str, tensors: Mapping[str, Tensor], where: str
) -> Individual:
    """The inverse of `take`: an agent whose tensors have exactly the shapes that its genes ask for.

    Args:
        spec: of its table.
        values: its own.
        prefix: of its tensors' names.
        tensors: of all agents in the file.
        where: the file that is named when something does not fit.

    Raises:
        Damaged: a tensor is missing or of another shape.
        ValueError: a hyperparameter is unknown or outside its limits.
    """
    with naming(where):
        return _individual(spec, values, prefix, tensors, where)


def _individual(
    spec: Spec, values: Mapping[str, Any], prefix: str, tensors: Mapping[str, Tensor], where: str
) -> Individual:
    with naming(f"{where}.genes"):
        genes = spec.network.from_json(values["genes"])
    own = {field.name for field in fields(Individual)} - set(_APART)
    known = {name: value for name, value in values.items() if name in own}
    individual = Individual(**known, genes=genes, slot=values.get(_SLOT, 0))
    limits = spec.algorithm.hyperparameters
    for name, hyperparameter in limits.items():
        if hyperparameter.absent is not None:
            individual.hyperparameters.setdefault(name, hyperparameter.absent)
    if set(individual.hyperparameters) != set(limits):
        raise Damaged(
            f"{where}.hyperparameters are {sorted(individual.hyperparameters)}; those of "
            f"{spec.algorithm.name} are {sorted(limits)}."
        )
    for name, value in individual.hyperparameters.items():
        limits[name].limits.check(f"hyperparameters.{name}", value)
    individual.fitness = [float(value) for value in individual.fitness]
    with naming(f"{where}.counts"):
        individual.counts = {name: float(values["counts"][name]) for name in spec.roles}
    broken, wanted = list[str](), _shapes(spec, genes)
    scales = f"{prefix}{NAME}/"
    unsaid = [
        key for key in tensors if key.startswith(scales) and key[len(scales) :] not in wanted.get(NAME, {})
    ]
    if unsaid:
        raise Damaged(
            f"{where} does not fit its tensors: they have {unsaid[0]}, and normalise is {list(spec.normalise)}."
        )
    for kind, shapes in wanted.items():
        dtype = torch.float64 if kind == NAME else spec.dtype
        state = individual.tensors[kind] = {}
        for key, expected in shapes.items():
            tensor = tensors.get(f"{prefix}{kind}/{key}")
            if tensor is None or tuple(tensor.shape) != expected or tensor.dtype != dtype:
                came = "is missing" if tensor is None else f"is {tensor.dtype} {tuple(tensor.shape)}"
                raise Damaged(
                    f"{where} does not fit its tensors: {kind}/{key} {came}, {expected} is expected."
                )
            state[key] = tensor.to(spec.device)
        if not all(bool(torch.isfinite(value).all()) for value in state.values()):
            broken.append(kind)
    if broken:
        checks.notice(
            f"{where} (id {individual.id}) has values that are not finite in {', '.join(broken)}: it has "
            "diverged, or the file was changed."
        )
    return individual


def _shapes(spec: Spec, genes: Genes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Of the tensors of an agent, by what they belong to and name."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, role in spec.roles.items():
        axes = role.recipe(spec.network).axes(role, genes)
        own = {key: (role.ensemble_size, *(axis.size for axis in one)) for key, one in axes.items()}
        shapes |= dict.fromkeys(spec.kinds(name), own)
    fresh = {key: tuple(rows.shape) for key, rows in spec.normaliser.fresh.items()}
    return shapes | ({NAME: fresh} if fresh else {})


def _algorithm(described: object, given: str | Algorithm | None, key: str) -> Algorithm:
    if given is not None:
        algorithm = algorithm_named(given)
        wanted = described.get("type") if isinstance(described, dict) else described
        if type(algorithm).__name__ != wanted:
            raise ValueError(
                f"{key}: it was saved with algorithm {wanted}, {type(algorithm).__name__} was passed."
            )
        return algorithm
    return _own(described, "algorithm", Algorithm, key)  # type: ignore[type-abstract]


def _network(described: object, given: Network | Sequence[int] | str | None, key: str) -> Network:
    if given is not None:
        return network_for(given, None)  # type: ignore[arg-type]
    return _own(described, "network", Network, key)  # type: ignore[type-abstract]


def _own(described: object, what: str, base: type[Part], key: str) -> Part:
    kind = described.get("type") if isinstance(described, dict) else described
    if kind not in registry.names(what):
        raise ValueError(
            f"{key}: {what} {kind!r} is not evolab's own, and nothing is imported by a name in a file. "
            f"Pass the object: load(folder, {what}={kind}(...))."
        )
    made = from_plain(described, key)
    if not isinstance(made, base):
        raise ValueError(f"{key} is {described!r}, which is no {what}.")
    return made
