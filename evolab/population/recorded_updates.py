"""Updates recorded once as a CUDA graph, and replayed: where a rule says that it may be, on data that lie on the device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

from torch import Tensor

from evolab.data.buffers.base import AT_ONCE, Buffer
from evolab.networks.batching import cuda_graphs as graphs
from evolab.networks.batching.group import AgentGroup
from evolab.population.sampling import sampling_of
from evolab.population.table import Table

LONGEST = 8
"""Longest period of delays whose updates are recorded, each phase of it apart."""


class RecordedUpdates:
    """The recordings of a table's updates.

    Args:
        table: of the agents.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._failed = False  # once an update could not be recorded

    def possible(self, source: Buffer, group: AgentGroup) -> bool:
        """True where updates of a group from this source can be recorded."""
        if self._failed or not graphs.possible(self.table.device):
            return False
        said = bool(vars(type(self.table.algorithm)).get("recordable"))  # not of a class that it derives from
        how = sampling_of(self.table, group)
        if how is not None and not how.recordable:
            return False
        return said and source.recordable and source.device == self.table.device

    def make(
        self, group: AgentGroup, source: Buffer, due: int, work: Callable[[int], dict[str, Tensor]]
    ) -> Iterator[dict[str, Tensor]]:
        """So many updates of a group, some at a time as one recording.

        Args:
            group: that owes them.
            source: of the batches.
            due: how many.
            work: makes a number of updates; gives their losses by name, stacked.
        """
        table = self.table
        source.tell_device()
        delays = [name for name in table.algorithm.update_timing if name != "learn_step"]
        period = math.lcm(*(max(1, int(group.settings[0].get(name, 1))) for name in delays))
        for done in range(0, due, AT_ONCE):
            count, before = min(AT_ONCE, due - done), group.updates

            def again(count: int = count, before: int = before) -> dict[str, Tensor]:
                group.pace.go_on_from(before)
                return work(count)

            try:
                if period > LONGEST:
                    losses = again()
                else:
                    how = sampling_of(table, group)
                    most = 1 if how is None or how.lookahead is None else how.lookahead.most
                    key = count, before % period, most, source.recording_key()
                    losses = group.recordings.run(key, again, table.generator, group.forget)
            except graphs.Unrecordable as problem:
                warnings.warn(str(problem), stacklevel=5)
                self._failed = True
                table.renew_generator(group.start, "unrecorded")
                losses = again()
            group.pace.go_on_from(before + count)
            yield losses
