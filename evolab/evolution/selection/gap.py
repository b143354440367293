"""Gap: agents that are clearly worse become children of clearly better ones; near equals are left alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolab.core import checks
from evolab.core.readonly import frozen_options
from evolab.evolution.selection.base import CALLS, CHANGED, Selected, Selection, ranking, replaced


@frozen_options(CHANGED, CALLS)
@dataclass(frozen=True)
class Gap(Selection):
    """Splits the ranking at its widest gap; those below become children of those above.

    A tournament or a truncation replaces agents every generation, also where fitness differs by
    no more than luck, and each time something that was learned is lost. Here an agent is replaced only
    where the widest difference between neighbours in the ranking is at least `width` of the range
    from best to worst: an agent that has found what the others have not, or one that learns nothing.

    Attributes:
        width: least share of the range that the widest gap must be, in (0, 1]. Four agents of evenly
            random fitness show a gap of 0.5 in 75 of 100 generations, one of 0.87 in 5; with two
            agents the gap is the whole range.
        least: least width of the widest gap, in units of return; smaller ones count as luck, however close
            together the others lie.
        most: largest share of the population that is replaced at once, the worst first, in (0, 1).
            Agents that diverged are replaced beyond it.
        inherit: as in `Truncation`: chance that a child takes its parent's hyperparameters as well.
        restless: chance that the worst agent is replaced although there is no such gap, so that agents
            that have all stopped improving try something else.
        window, by, warmup, interval: see `Selection`.

    Source: the split of single-linkage clustering into two clusters, in one dimension.
    """

    width: float = 0.5
    least: float = 0.0
    most: float = 0.5
    inherit: float = 1.0
    restless: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if checks.finite("width", self.width, low=0.0, high=1.0) == 0.0:
            raise ValueError("width is 0.0; expected a share in (0, 1]. With 0 an agent is always replaced.")
        checks.probability("inherit", self.inherit)
        checks.probability("restless", self.restless)
        checks.finite("least", self.least, low=0.0)
        if checks.finite("most", self.most, low=0.0, high=1.0) in (0.0, 1.0):
            raise ValueError(f"most is {self.most}; expected a share in (0, 1): one agent must stay.")

    def choose(self, fitness: np.ndarray, generator: np.random.Generator, generation: int) -> Selected:
        """The survivors in their own slots, the replaced ones as children of those above the gap."""
        ranked = ranking(fitness)
        population, finite = len(ranked), int(np.isfinite(fitness).sum())
        heights = fitness[ranked[:finite]]
        gaps = heights[:-1] - heights[1:]
        above = finite
        if gaps.any() and gaps.max() >= max(self.width * (heights[0] - heights[-1]), self.least):
            above = int(gaps.argmax()) + 1
        share = max(1, int(self.most * population))
        bottom = set(ranked[max(above, finite - share) : finite].tolist()) | set(ranked[finite:].tolist())
        if self.restless and not bottom and finite > 1 and generator.random() < self.restless:
            above = finite - 1
            bottom = {int(ranked[above])}
        top = ranked[:above].tolist()
        return replaced(bottom, top, fitness, self.inherit, generator)
