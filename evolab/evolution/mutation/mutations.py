"""The contract of a mutation, and the draw of one kind per newborn.

A mutation is a function of (individual, context, generator). It changes the genes and the unpadded
tensors of one agent and says in words what it did, or gives None where it cannot apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from evolab.core import checks, registry
from evolab.core.ranges import Range
from evolab.core.readonly import ReadOnly, frozen_options
from evolab.evolution.mutation.activation import change_activation
from evolab.evolution.mutation.context import Context
from evolab.evolution.mutation.depth import change_layers
from evolab.evolution.mutation.hyperparameters import change_hyperparameter
from evolab.evolution.mutation.parameters import change_parameters
from evolab.evolution.mutation.width import change_units
from evolab.networks.base import Network, Role
from evolab.population.individual import Individual

Mutation = Callable[[Individual, Context, np.random.Generator], str | None]

KINDS = ("none", "architecture", "parameters", "activation", "hyperparameters")


@frozen_options(
    "exp.mutations = dataclasses.replace(exp.mutations, {name}={value})",
    "ev.Experiment(env, mutations={made})",
)
@dataclass(frozen=True)
class Mutations:
    """How often each kind of mutation changes a child; exactly one kind per child.

    Args:
        none: weight of no change.
        architecture: weight of a change of layers or units, the same in all its networks.
        parameters: weight of noise on the policy's weights.
        activation: weight of another activation of the hidden layers.
        hyperparameters: weight of one hyperparameter stepped up or down.
        new_layer: share of architecture mutations that add or remove a layer, not units.
        sd: scale of the noise on weights, relative to each weight.
        resample: share of hyperparameter mutations that draw the value anew from its range: steps
            alone are slow where the first draws were bad and the range is wide.
        together: a hyperparameter mutation changes all hyperparameters that evolve, not one of them.
        extra: further mutations by name: a weight for one that the registry knows, such as "reset_dormant";
            (weight, function) for one of your own.

    Raises:
        ValueError: a negative weight, all of them zero, or a kind of one's own under a known name.
        TypeError: a weight that is no number, or a kind of one's own that is neither a weight nor (weight, function).

    >>> Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=1).weights["none"]
    0.5
    """

    none: float = 0.4
    architecture: float = 0.2
    parameters: float = 0.2
    activation: float = 0.2
    hyperparameters: float = 0.2
    new_layer: float = 0.2
    sd: float = 0.1
    resample: float = 0.0
    together: bool = False
    extra: Mapping[str, float | tuple[float, Mutation]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in KINDS:
            checks.finite(f"Mutations: {kind}", getattr(self, kind), low=0.0)
        if not isinstance(self.extra, Mapping):
            raise TypeError(f"Mutations: extra is {self.extra!r}; a dict of weights by name is expected.")
        for name, given in self.extra.items():
            if name in KINDS:
                raise ValueError(
                    f"Mutations: extra has the name of a known kind, {name!r}. Choose another one."
                )
            own = isinstance(given, tuple) and len(given) == 2 and callable(given[1])
            if not own and (isinstance(given, bool) or not isinstance(given, (int, float))):
                raise TypeError(f"Mutations: extra[{name!r}] is {given!r}; (weight, function) is expected.")
            weight, _ = self._extra(name)  # a bare weight: the registry must know the name
            checks.finite(f"Mutations: {name}", weight, low=0.0)
        advice = "exp.mutations = ev.Mutations(extra={...}) takes others from the next generation on."
        object.__setattr__(self, "extra", ReadOnly(self.extra, "further mutations", advice))
        checks.probability("Mutations: new_layer", self.new_layer)
        checks.finite("Mutations: sd", self.sd, low=0.0)
        checks.probability("Mutations: resample", self.resample)
        if sum(self._raw().values()) == 0:
            raise ValueError(
                "Mutations: all weights are 0; at least one must be positive, none=1 for no mutation."
            )

    def _raw(self) -> dict[str, float]:
        raw = {kind: float(getattr(self, kind)) for kind in KINDS}
        return raw | self.extra_weights

    @property
    def extra_weights(self) -> dict[str, float]:
        """Weights of the further mutations by name."""
        return {name: float(self._extra(name)[0]) for name in self.extra}

    def reweighted(self, name: str, weight: float) -> Mutations:
        """These mutations with another weight for one of the further ones."""
        given = self.extra[name]
        changed = (weight, given[1]) if isinstance(given, tuple) else weight
        return replace(self, extra={**self.extra, name: changed})

    def _extra(self, name: str) -> tuple[float, Mutation]:
        given = self.extra[name]
        return given if isinstance(given, tuple) else (given, registry.part("mutation", name))

    @property
    def own(self) -> bool:
        """True where functions of the user's own are among them, which a file cannot bring back."""
        return any(isinstance(given, tuple) for given in self.extra.values())

    @property
    def weights(self) -> dict[str, float]:
        """Probability of each kind; they sum to 1."""
        raw = self._raw()
        total = sum(raw.values())
        return {kind: weight / total for kind, weight in raw.items()}

    def mutate(
        self,
        individual: Individual,
        network: Network,
        roles: Mapping[str, Role],
        search_space: Mapping[str, Range],
        generator: np.random.Generator,
    ) -> tuple[str, str]:
        """Change one newborn in place.

        Args:
            individual: unpadded; its tensors are replaced, never written to.
            network: that its genes belong to.
            roles: its networks by name, the policy first.
            search_space: ranges of the hyperparameters that evolve.
            generator: of every draw.

        Returns:
            the kind that happened and what changed, in words.
        """
        weights = self.weights
        kind = str(generator.choice(list(weights), p=list(weights.values())))
        torch_generator = torch.Generator().manual_seed(int(generator.integers(2**62)))
        context = Context(
            network, dict(roles), dict(search_space), self.sd, torch_generator, self.resample, self.together
        )
        detail = self._function(kind, generator)(individual, context, generator)
        return (kind, detail) if detail is not None else ("none", "")

    def _function(self, kind: str, generator: np.random.Generator) -> Mutation:
        if kind in self.extra:
            return self._extra(kind)[1]
        if kind == "architecture":
            return change_layers if generator.random() < self.new_layer else change_units
        return {
            "none": lambda individual, context, generator: None,
            "parameters": change_parameters,
            "activation": change_activation,
            "hyperparameters": change_hyperparameter,
        }[kind]
