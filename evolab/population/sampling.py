"""How the agents of a group want their samples drawn, by their hyperparameters, and what each sample counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evolab.core.experience import Batch
from evolab.core.sampling import Lookahead, Sampling, Sequencing
from evolab.data.buffers.replayed_sequences import ReplayedSteps
from evolab.networks.batching.group import AgentGroup
from evolab.population.individual import Individual
from evolab.population.recurrent_state import size
from evolab.population.table import Table


def sampling_of(table: Table, group: AgentGroup) -> Sampling | None:
    """How the samples of a group of a table are drawn; None where all are single transitions, one like another."""

    def largest(name: str, least: float) -> float:
        return max(float(setting.get(name, least)) for setting in group.settings)

    steps, h = int(largest("n_step", 1)), group.hyper
    lookahead = None if steps == 1 else Lookahead(h["n_step"], h["discount"], steps)
    hindsight = h["hindsight"] if largest("hindsight", 0.0) > 0 else None
    priority = h["priority"] if largest("priority", 0.0) > 0 else None
    sequences = None
    if table.network.remembers and table.algorithm.replays:
        sequences = _sequencing(table, table.individuals[group.rows])
    if lookahead is None and hindsight is None and priority is None and sequences is None:
        return None
    importance = None if priority is None else h["importance"]
    return Sampling(lookahead, hindsight, priority, importance, sequences)


def _sequencing(table: Table, agents: Sequence[Individual]) -> Sequencing:
    """What the sequences are like that some agents learn from."""
    network = table.network
    readers = [
        (one.id, one.id if one.parent is None else one.parent, network.memory(one.genes)[1]) for one in agents
    ]
    return Sequencing(network.steps, network.burn_in, size(table), torch.tensor(readers))


def weighed(group: AgentGroup, sample: Batch, reward: Tensor) -> Tensor:
    """[P, B]: what each sample counts in its agent's mean; 1 in all, also where some count more than others.

    Schaul et al. 2016 divide by the largest, so that weights only make steps smaller. Then what is no loss, such as the
    entropy that a temperature follows, would be no mean any more; Adam does not notice the factor.

    Args:
        group: whose samples they are.
        sample: as a buffer gave it.
        reward: of it, in the table's precision and on its device.
    """
    if isinstance(sample, ReplayedSteps):
        return _weighed_steps(group, sample, reward)
    even = group.weight(reward.shape[-1], reward)
    if sample.weight is None:
        return even
    own = torch.where(even > 0, sample.weight.to(even), 0.0)
    return own / own.sum(-1, keepdim=True)


def _weighed_steps(group: AgentGroup, sample: ReplayedSteps, reward: Tensor) -> Tensor:
    """[P, T * N]: the same of sequences, of which steps that only warm up, and those that are repeated, count for nothing.

    An agent has as many sequences as its own batch size has such stretches, one at least.
    """
    agents, steps, count = sample.there.shape
    sizes = torch.tensor([max(1, size // sample.asked) for size in group.sizes], device=reward.device)
    own = torch.arange(count, device=reward.device) < sizes[:, None]  # [P, N]
    counted = (own[:, None] & sample.there.to(reward.device)).to(reward)  # [P, T, N]
    if sample.weight is not None:
        counted = counted * sample.weight.to(reward)[:, None]
    counted = counted / counted.sum((1, 2), keepdim=True)
    weight = reward.new_zeros(agents, reward.shape[1] // count, count)
    weight[:, sample.burn_in : sample.burn_in + steps] = counted
    return weight.flatten(1)
