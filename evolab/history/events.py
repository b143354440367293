"""What a run tells about itself: frozen records that training yields and everything else reads.

`training.train` is a generator of `Progress`, `Generation` and `Finished`. History,
trackers, panels and checkpoints are built from these records alone, so none of
them ever touches a tensor that is being trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, TypeAlias

from evolab.core.layers import DiagramLayer, in_words
from evolab.history.display import change, count, html_table, number, plain_table, said_once, ticked

SHOWN = 4
"""Hyperparameters in the table of a generation, which has to fit a page."""

BY_HAND = "agents"
"""Where `Generation.changes` has the values of single agents that were set: id -> name -> [old, new]."""


@dataclass(frozen=True)
class Progress:
    """How far the current generation is; sent several times a second at most.

    Attributes:
        phase: "fill", "train" or "evaluate".
        generation: the generation under way, counted from 1 (0 while filling, and where there are none).
        done: finished part of this phase, in the unit of `total`.
        total: environment steps of each agent, updates of each agent (offline) or episodes.
        total_steps: training steps of all agents so far.
        losses: the newest mean loss over the agents, by name.
    """

    phase: str
    generation: int
    done: int
    total: int
    total_steps: int
    losses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """One agent at the end of one generation: its fitness and what it was when it earned it.

    Attributes:
        generation: counted from 1.
        agent: id, unique within the run and never used again.
        parent: id of the parent; None for the first population.
        fitness: mean undiscounted return; NaN where the agent diverged.
        episodes: whole episodes behind the figure.
        length: mean length of those episodes, in environment steps.
        steps: environment steps that this agent's line has trained on.
        total_steps: training steps of the whole population.
        updates: gradient updates of this agent's line.
        hyperparameters: value by name.
        hidden: widths of the hidden layers (or the network's own summary of its architecture).
        activation: name of the activation of each hidden layer.
        network_size: number of trainable parameters of all its networks.
        is_elite: True if it survives unchanged.
        extra: other measures of the same agent, such as an FQE estimate beside the return.
        genes: the whole architecture as plain values, where `hidden` and `activation` do not say it all.
        layers: of its networks, where these are more than fully connected layers of the sizes in `hidden`.
        losses: its own mean losses over the generation, by name.
        value: discounted return that its critic expects of an episode, at the beginning of it; NaN where it has none.
        discounted: mean discounted return of its training episodes that came to an end, of the greedy ones where
            some are greedy; NaN where none did.
    """

    generation: int
    agent: int
    parent: int | None
    fitness: float
    episodes: int
    length: float
    steps: int
    total_steps: int
    updates: int
    hyperparameters: Mapping[str, float]
    hidden: tuple[int, ...]
    activation: tuple[str, ...]
    network_size: int
    is_elite: bool = False
    extra: Mapping[str, float] = field(default_factory=dict)
    genes: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[DiagramLayer, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    value: float = math.nan
    discounted: float = math.nan

    @property
    def architecture(self) -> str:
        """Its layers in words, without activations."""
        return in_words(self.layers) if self.layers else "x".join(map(str, self.hidden))


@dataclass(frozen=True)
class Birth:
    """One agent of the next population: whose child it is and what was changed in it.

    Attributes:
        generation: the generation at whose end it was born.
        agent: id of the newborn (an elite keeps its own id and has kind "elite").
        parent: id of the parent.
        kind: "elite", "none", "architecture", "parameters", "activation" or
            "hyperparameters" (or the name of a mutation of the user's own).
        detail: what changed, in words: "hidden 64x64 -> 64x96", "lr_actor 1e-3 -> 1.2e-3".
        change: largest absolute change of the policy's output on probe observations; None
            where nothing about the function was touched.
    """

    generation: int
    agent: int
    parent: int
    kind: str
    detail: str
    change: float | None = None


@dataclass(frozen=True)
class Fault:
    """Something that went wrong in one environment or agent and was survived."""

    generation: int
    agent: int | None
    kind: str
    detail: str


@dataclass(frozen=True)
class Generation:
    """One finished generation: who earned what, who survived, who was born.

    Attributes:
        number: counted from 1.
        total_steps: training steps of all agents so far, warm-up included.
        evaluation_steps: environment steps spent on evaluation so far, counted apart.
        seconds: wall time of this generation, by phase ("train", "evaluate", "evolve").
        evaluations: one record per agent, best first.
        births: the next population, one record per agent.
        faults: what went wrong and was survived.
        losses: mean losses over this generation, by name.
        mutation_weights: the weights by kind that were in force.
        confirmed: mean return of the best agent over fresh episodes, where it was confirmed.
        changes: options of the experiment that were set since the generation before, as plain values.
    """

    number: int
    total_steps: int
    evaluation_steps: int
    seconds: Mapping[str, float]
    evaluations: tuple[Evaluation, ...]
    births: tuple[Birth, ...]
    faults: tuple[Fault, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    mutation_weights: Mapping[str, float] = field(default_factory=dict)
    confirmed: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_hand(self) -> tuple[Birth, ...]:
        """The values of single agents that were set before this generation, as mutations of kind "by hand"."""
        return tuple(
            Birth(
                self.number - 1,
                int(agent),
                int(agent),
                "by hand",
                ", ".join(f"{name} {old:.4g} -> {new:.4g}" for name, (old, new) in values.items()),
            )
            for agent, values in self.changes.get(BY_HAND, {}).items()
        )

    @property
    def best(self) -> Evaluation:
        """The evaluation of the fittest agent."""
        return self.evaluations[0]

    @property
    def fitness(self) -> float:
        """Fitness of the best agent."""
        return self.best.fitness

    @property
    def all_steps(self) -> int:
        """Environment steps of all agents so far, training and evaluation; updates where a run counts these."""
        acted = any(e.steps for e in self.evaluations)
        return self.total_steps + (self.evaluation_steps if acted else 0)

    @property
    def steps_told(self) -> str:
        """Environment steps so far, training and evaluation, in words."""
        share = f" ({count(self.evaluation_steps)} of evaluation)" if self.evaluation_steps else ""
        return f"{count(self.all_steps)} steps{share}"

    def show(self, most: int | None = None) -> tuple[str, str]:
        """The generation in words: fitness best first, who survived, who mutated how.

        Args:
            most: so many of the best agents; None for all.

        Returns:
            Plain text and HTML.
        """
        children: dict[int, list[Birth]] = {}
        for birth in self.births:
            children.setdefault(birth.parent, []).append(birth)
        heirs = {
            e.agent: ", ".join(_heir(birth, e.agent) for birth in children.get(e.agent, []))
            for e in self.evaluations
        }
        evolved = self._evolved()
        sizes = "layers" if any(e.layers for e in self.evaluations) else "hidden"
        heads = ("agent", "parent", "fitness", "episodes", *evolved, "network size", sizes, "survives as")
        table = [
            (
                str(e.agent),
                "" if e.parent is None else str(e.parent),
                _earned(e.fitness),
                str(e.episodes),
                *(number(e.hyperparameters.get(name)) for name in evolved),
                count(e.network_size),
                e.architecture,
                heirs[e.agent] or "not selected",
            )
            for e in self.evaluations
        ]
        names, rows, shared = said_once(heads, table, ("episodes", "network size", sizes))
        caption = (
            f"Generation {self.number}: best {_earned(self.fitness)} (agent {self.best.agent}), "
            f"{self.steps_told}"
        )
        if self.confirmed is not None:
            caption += f", confirmed {ticked(self.confirmed)}"
        if self.changes:
            hands = [f"{birth.detail} of agent {birth.agent}" for birth in self.by_hand]
            settings = [name for name in self.changes if name != BY_HAND]
            caption += f", changed: {', '.join(settings + hands)}"
        archived = [b for b in self.births if b.parent not in heirs]
        if archived:
            caption += "; out of the archive " + ", ".join(_heir(birth, birth.parent) for birth in archived)
        faults = [
            f"{fault.kind}{'' if fault.agent is None else f' in agent {fault.agent}'}: {fault.detail}"
            for fault in self.faults
        ]
        left = (sizes, "survives as")
        below = [*([shared] if shared else []), *(f"fault: {line}" for line in faults)]
        text = "\n".join([caption, plain_table(names, rows[:most], left), *below])
        html = html_table(names, rows[:most], left, caption, strong=0) + (
            f"<div>{escape(shared)}</div>" if shared else ""
        )
        return text, html + "".join(f"<div>&#9888; {escape(line)}</div>" for line in faults)

    def _evolved(self) -> list[str]:
        """The hyperparameters by which agents differ, learning rates and batch sizes first; `SHOWN` at most."""
        values = [e.hyperparameters for e in self.evaluations]
        names = [n for n in (values[0] if values else ()) if len({one.get(n) for one in values}) > 1]
        return sorted(names, key=lambda name: (not name.startswith("lr"), name != "batch_size"))[:SHOWN]

    def __repr__(self) -> str:
        return self.show()[0]

    def _repr_html_(self) -> str:
        return self.show()[1]


def _earned(fitness: float) -> str:
    return number(fitness) if math.isfinite(fitness) else "diverged"


def _heir(birth: Birth, parent: int) -> str:
    if birth.agent == parent:
        return f"{birth.agent} ({'elite' if birth.kind == 'elite' else 'survives'})"
    detail = change(birth.detail) or birth.kind
    return f"{birth.agent} ({detail})"


@dataclass(frozen=True)
class Finished:
    """The run reached what it was asked for: `reason` is "target", "generations", "max_steps" or "minutes"."""

    reason: str
    generation: int
    total_steps: int
    fitness: float


Event: TypeAlias = "Progress | Generation | Finished"
