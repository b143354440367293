"""Truncation: the worst agents become children of the best, and all others go on unchanged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolab.core import checks
from evolab.core.readonly import frozen_options
from evolab.evolution.selection.base import CALLS, CHANGED, Selected, Selection, ranking, replaced


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class Truncation(Selection):
    """The bottom `fraction` is replaced by children of the top `fraction`, drawn uniformly from it.

    Gentler than a tournament: an agent that is neither at the top nor at the bottom keeps learning as it
    is, so less experience is thrown away. One agent at least is replaced (in a population of two or
    more), and so is every agent that diverged.

    Attributes:
        fraction: share of the population that is replaced, in (0, 0.5].
        inherit: chance that a child takes its parent's hyperparameters along with its weights; otherwise
            it takes those of the agent that it replaces. Early fitness favours settings that learn fast at
            first; with a lower chance other settings are tried again from the winner's weights.
        window, by, warmup, interval: see `Selection`.

    Source: Jaderberg et al. 2017, Population Based Training of Neural Networks, section 4.1.1.
    """

    fraction: float = 0.25
    inherit: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.probability("inherit", self.inherit)
        if checks.finite("fraction", self.fraction, low=0.0, high=0.5) == 0.0:
            raise ValueError(
                "fraction is 0.0; expected a share in (0, 0.5]. With 0 no agent is ever replaced."
            )

    def choose(self, fitness: np.ndarray, generator: np.random.Generator, generation: int) -> Selected:
        """The survivors in their own slots, the replaced ones as children of the best."""
        ranked = ranking(fitness)
        population = len(ranked)
        share = min(max(1, int(self.fraction * population)), population // 2)
        bottom = set(ranked[population - share :].tolist()) | set(
            np.flatnonzero(np.isneginf(fitness)).tolist()
        )
        top = [row for row in ranked[: max(1, share)].tolist() if np.isfinite(fitness[row])]
        return replaced(bottom, top, fitness, self.inherit, generator)
