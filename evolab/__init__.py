"""evolab: reinforcement-learning agents that tune themselves, by evolution.

The names below are the whole public surface. They are imported when first used, so that
`import evolab` costs next to nothing beyond `import torch`.
"""

from __future__ import annotations

from importlib import import_module

from evolab.core.registry import PARTS
from evolab.core.version import VERSION

TYPE_CHECKING = False  # importing `typing` is half of what `import evolab` would cost
if TYPE_CHECKING:
    from typing import Any

    from evolab import envs as envs
    from evolab import testing as testing
    from evolab.algorithms.bc import BC as BC
    from evolab.algorithms.bcq import BCQ as BCQ
    from evolab.algorithms.cqn import CQN as CQN
    from evolab.algorithms.ddpg import DDPG as DDPG
    from evolab.algorithms.default_ranges import search_space as search_space
    from evolab.algorithms.dqn import DQN as DQN
    from evolab.algorithms.ilql import ILQL as ILQL
    from evolab.algorithms.iql import IQL as IQL
    from evolab.algorithms.ppo import PPO as PPO
    from evolab.algorithms.qr_dqn import QRDQN as QRDQN
    from evolab.algorithms.sac import SAC as SAC
    from evolab.algorithms.td3 import TD3 as TD3
    from evolab.algorithms.td3_bc import TD3BC as TD3BC
    from evolab.algorithms.tqc import TQC as TQC
    from evolab.core.ranges import Choice as Choice
    from evolab.core.ranges import Float as Float
    from evolab.core.ranges import Integer as Integer
    from evolab.data.buffers.replay import ReplayBuffer as ReplayBuffer
    from evolab.data.buffers.rollout import RolloutBuffer as RolloutBuffer
    from evolab.data.datasets.columns import DatasetError as DatasetError
    from evolab.data.datasets.dataset import Dataset as Dataset
    from evolab.envs.recording import collect as collect
    from evolab.evaluation.evaluator import evaluate as evaluate
    from evolab.evaluation.fqe.fqe import FQE as FQE
    from evolab.evolution.evolve import evolve as evolve
    from evolab.evolution.mutation.mutations import Mutations as Mutations
    from evolab.evolution.mutation.reset import reset_dormant as reset_dormant
    from evolab.evolution.selection.gap import Gap as Gap
    from evolab.evolution.selection.mfpbt import MFPBT as MFPBT
    from evolab.evolution.selection.tournament import Tournament as Tournament
    from evolab.evolution.selection.truncation import Truncation as Truncation
    from evolab.experiment.experiment import Experiment as Experiment
    from evolab.experiment.load_path import load as load
    from evolab.experiment.sweeps.beginning import sweep as sweep
    from evolab.history.history import History as History
    from evolab.networks.cnn.cnn import CNN as CNN
    from evolab.networks.custom import Stack as Stack
    from evolab.networks.gpt.gpt import GPT as GPT
    from evolab.networks.mlp.mlp import MLP as MLP
    from evolab.networks.multi_input import MultiInput as MultiInput
    from evolab.population.agent import Agent as Agent
    from evolab.population.population import Population as Population
    from evolab.reporting import panels as panels
    from evolab.reporting.comparison.dashboard import dashboard as dashboard
    from evolab.reporting.comparison.figure import compare as compare
    from evolab.reporting.comparison.listing import runs as runs

__version__ = VERSION

_NAMES = {
    "Agent": "population.agent",
    "Dataset": "data.datasets.dataset",
    "DatasetError": "data.datasets.columns",
    "Experiment": "experiment.experiment",
    "History": "history.history",
    "Population": "population.population",
    "Stack": "networks.custom",
    "collect": "envs.recording",
    "compare": "reporting.comparison.figure",
    "dashboard": "reporting.comparison.dashboard",
    "evaluate": "evaluation.evaluator",
    "evolve": "evolution.evolve",
    "load": "experiment.load_path",
    "runs": "reporting.comparison.listing",
    "search_space": "algorithms.default_ranges",
    "sweep": "experiment.sweeps.beginning",
}
"""Public names that are no parts of the registry, and their modules."""

_ROOMS = {
    "envs": "envs",
    "panels": "reporting.panels",
    "testing": "testing",
}

_APART = ("environment", "tracker")
"""Kinds of part whose public home is another name, such as `ev.envs.WordGame`."""

_PARTS = {
    name: module.removeprefix("evolab.")
    for kind, parts in PARTS.items()
    if kind not in _APART
    for name, module in parts.items()
}

__all__ = sorted({**_NAMES, **_PARTS, **_ROOMS})


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"evolab.{_ROOMS[name]}")
    module = _NAMES.get(name) or _PARTS.get(name)
    if module is None:
        raise AttributeError(f"module 'evolab' has no attribute {name!r}")
    value = getattr(import_module(f"evolab.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
