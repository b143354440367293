"""evolab's own arms of `hpo.py`. `as_it_comes` is the only place where anything is said to evolab."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import torch
from hpo_referee import Referee
from hpo_tasks import Task

import evolab as ev

VERSIONS = {"evolab": ev.__version__, "torch": torch.__version__, "gymnasium": gymnasium.__version__}

ARMS: dict[str, dict[str, Any]] = {
    "evolab": {},
    "no-mutation": {
        "mutations": ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0)
    },
    "no-evolution": {"evolving": False},
    # The same agents, each with data of its own: trials that know nothing of each other, side by side.
    "random": {"evolving": False, "buffer": ev.ReplayBuffer(shared=False)},
}
"""What tells an arm from evolab as it comes."""


def as_it_comes(task: Task, seed: int, **told: Any) -> ev.Experiment:
    """An experiment with everything at its default. It does not know the target: the referee does."""
    return ev.Experiment(task.name, seed=seed, **told)


def run(arm: str, task: Task, seed: int, referee: Referee) -> None:
    """Evolve until the run is over; after each generation the elite is offered."""
    exp, known = as_it_comes(task, seed, **ARMS[arm]), None
    referee.said = {name: repr(value) for name, value in ARMS[arm].items()}
    while True:
        exp.step()
        # Its own count, to be compared with the meter's.
        referee.said |= {"training_steps": exp.total_steps, "evaluation_steps": exp.evaluation_steps}
        referee.said["counted_steps"] = referee.meter.steps
        elite = exp.elite
        if known != (known := (elite.id, elite.individual().updates)):
            referee.offer(lambda agent=elite: partial(agent.act, explore=False), elite.fitness)
