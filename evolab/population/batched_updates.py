"""Updates that wait to be made together, and the losses of those that were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evolab.core.experience import Batch
from evolab.data.buffers.rollout import RolloutSteps
from evolab.networks.batching import whole_updates as whole
from evolab.networks.batching.group import AgentGroup
from evolab.networks.batching.whole_rollouts import WholeRollouts, orders
from evolab.population.table import Table

Losses = Mapping[str, Tensor]


class Waiting:
    """Updates of several groups that one call of the kernels will make, so that all agents share the threads.

    Args:
        table: of the agents.
        found: gets their losses.
    """

    def __init__(self, table: Table, found: Collected) -> None:
        self._table, self._found = table, found
        algorithm = table.algorithm
        on_cpu = table.device.type == "cpu" and "whole" in vars(type(algorithm))
        self._rule = algorithm.whole() if on_cpu else None
        self._jobs: list[tuple[AgentGroup, whole.KernelJob]] = []

    def take(self, group: AgentGroup, batch: object, noise: Any) -> bool:
        """Note updates of a group, whose noise is drawn where none is given; False where kernels can't make them.

        Args:
            group: whose updates they are; those that it noted before are made now.
            batch: as the algorithm sees it, of one update or of several.
            noise: of one update.
        """
        if self._rule is None or not isinstance(batch, Batch):
            return False
        if any(other is group for other, _ in self._jobs):
            self.make()
        job = self._job(group, group.whole(self._rule), batch, noise)
        if job is None:
            return False
        self._jobs.append((group, job))
        group.pace.count(job.updates)
        for individual in self._table.individuals[group.rows]:
            individual.learned(job.updates)
        return True

    def _job(
        self, group: AgentGroup, updates: object, batch: Batch, noise: Tensor | None
    ) -> whole.KernelJob | None:
        """These updates, told to the kernels; None where they do not know them."""
        if isinstance(updates, whole.WholeUpdates) and updates.takes(batch):
            several = batch if batch.reward.dim() == 3 else batch.as_several()
            together = self._noise(group, several) if noise is None else noise.unsqueeze(0)
            return updates.job(several, together, group.updates, group.policy_delay, group.sizes)
        if isinstance(updates, WholeRollouts) and isinstance(batch, RolloutSteps) and updates.takes(batch):
            epochs, size = int(group.settings[0]["epochs"]), int(group.settings[0]["batch_size"])
            agents, length = batch.reward.shape
            order = orders(epochs, agents, length, self._table.generator)
            told = batch.ended, batch.valid, batch.num_envs
            return updates.job(batch, *told, order, -(-length // size))
        return None

    def _noise(self, group: AgentGroup, batch: Batch) -> Tensor | None:
        """Of each of these updates, drawn as if one followed the other; only shapes count, which are the same for all."""
        algorithm, generator, one = self._table.algorithm, self._table.generator, next(batch.apart())
        drawn = [algorithm.draw(group, one, generator) for _ in range(len(batch.reward))]
        noise = [one for one in drawn if one is not None]
        return torch.stack(noise) if noise else None

    def make(self) -> None:
        """Make what waits."""
        if not self._jobs:
            return
        jobs, self._jobs = self._jobs, []
        whole.make([job for _, job in jobs])
        for group, job in jobs:
            for name, losses in job.losses().items():
                self._found.extend(group, name, losses)


class Collected:
    """The losses of several updates of several groups."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._losses: dict[str, dict[int, list[Tensor]]] = {}  # by name and first row

    def add(self, group: AgentGroup, losses: Losses) -> None:
        """Note the losses of one update, [P] each of the group."""
        for name, loss in losses.items():
            self.extend(group, name, [loss])

    def extend(self, group: AgentGroup, name: str, losses: Sequence[Tensor]) -> None:
        """Note the losses of some updates by one name, [P] each of the group."""
        if losses:
            self._losses.setdefault(name, {}).setdefault(group.start, []).extend(losses)

    def means(self) -> dict[str, Tensor]:
        """[P] by name; NaN where an agent made no update."""
        merged: dict[str, Tensor] = {}
        for name, groups in self._losses.items():
            means = merged[name] = self._table.spec.like.new_full((self._table.size,), float("nan"))
            for start, losses in groups.items():
                means[start : start + len(losses[0])] = torch.stack(losses).mean(0)
        return merged
