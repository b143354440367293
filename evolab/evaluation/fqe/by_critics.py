"""Fitness by ensembles of critics: what they take of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from gymnasium import Space

from evolab.core.machine_memory import Need
from evolab.evaluation.fitness import Fitness
from evolab.networks.observations import features


class ByCritics(Fitness):
    """A fitness that ensembles of critics tell, one ensemble for each agent.

    Attributes:
        members: M, critics of an agent.
        hidden: widths of a critic's hidden layers.
    """

    members: int
    hidden: tuple[int, ...]

    def needs(self, agents: int, observation_space: Space) -> Sequence[Need]:
        """The critics: themselves, their targets and two moments, 4 bytes a number; see `Fitness.needs`."""
        widths = (features(observation_space), *self.hidden, 1)
        each = sum((before + 1) * after for before, after in pairwise(widths))
        of = f"members={self.members:,} of {agents:,} agents, {each:,} parameters each"
        return [Need("critics", 16 * each * self.members * agents, of, "members or hidden of FQE")]
