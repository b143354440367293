"""evolab: reinforcement-learning agents that tune themselves, by evolution.

The names below are the whole public surface. They are imported when first used, so that
`import evolab` costs next to nothing beyond `import torch`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolab import envs as envs
    from evolab import panels as panels
    from evolab import presets as presets
    from evolab import testing as testing
    from evolab.agent import Agent as Agent
    from evolab.algorithms.bc import BC as BC
    from evolab.algorithms.cqn import CQN as CQN
    from evolab.algorithms.ddpg import DDPG as DDPG
    from evolab.algorithms.dqn import DQN as DQN
    from evolab.algorithms.ilql import ILQL as ILQL
    from evolab.algorithms.ppo import PPO as PPO
    from evolab.algorithms.sac import SAC as SAC
    from evolab.algorithms.td3 import TD3 as TD3
    from evolab.algorithms.td3_bc import TD3BC as TD3BC
    from evolab.comparison import compare as compare
    from evolab.comparison import runs as runs
    from evolab.evaluation import evaluate as evaluate
    from evolab.experiment import Experiment as Experiment
    from evolab.fqe import FQE as FQE
    from evolab.generation import evolve as evolve
    from evolab.genes import Choice as Choice
    from evolab.genes import Float as Float
    from evolab.genes import Integer as Integer
    from evolab.history import History as History
    from evolab.mutations.mutation import Mutations as Mutations
    from evolab.mutations.reset import reset_dormant as reset_dormant
    from evolab.networks.cnn import CNN as CNN
    from evolab.networks.gpt import GPT as GPT
    from evolab.networks.mlp import MLP as MLP
    from evolab.networks.multi_input import MultiInput as MultiInput
    from evolab.networks.stack import Stack as Stack
    from evolab.population import Population as Population
    from evolab.racing import Racing as Racing
    from evolab.recording import collect as collect
    from evolab.search import search_space as search_space
    from evolab.selections.gap import Gap as Gap
    from evolab.selections.mfpbt import MFPBT as MFPBT
    from evolab.selections.tournament import Tournament as Tournament
    from evolab.selections.truncation import Truncation as Truncation
    from evolab.sources.columns import DatasetError as DatasetError
    from evolab.sources.dataset import Dataset as Dataset
    from evolab.sources.replay import ReplayBuffer as ReplayBuffer
    from evolab.sources.rollout import RolloutBuffer as RolloutBuffer

__version__ = "0.1.0"

_HOMES = {
    "Agent": "agent",
    "BC": "algorithms.bc",
    "CNN": "networks.cnn",
    "CQN": "algorithms.cqn",
    "Choice": "genes",
    "DDPG": "algorithms.ddpg",
    "DQN": "algorithms.dqn",
    "Dataset": "sources.dataset",
    "DatasetError": "sources.columns",
    "Experiment": "experiment",
    "FQE": "fqe",
    "Float": "genes",
    "GPT": "networks.gpt",
    "History": "history",
    "ILQL": "algorithms.ilql",
    "Integer": "genes",
    "MFPBT": "selections.mfpbt",
    "MLP": "networks.mlp",
    "MultiInput": "networks.multi_input",
    "Mutations": "mutations.mutation",
    "PPO": "algorithms.ppo",
    "Population": "population",
    "Racing": "racing",
    "ReplayBuffer": "sources.replay",
    "RolloutBuffer": "sources.rollout",
    "SAC": "algorithms.sac",
    "Stack": "networks.stack",
    "TD3": "algorithms.td3",
    "TD3BC": "algorithms.td3_bc",
    "Tournament": "selections.tournament",
    "Truncation": "selections.truncation",
    "Gap": "selections.gap",
    "collect": "recording",
    "compare": "comparison",
    "evaluate": "evaluation",
    "evolve": "generation",
    "reset_dormant": "mutations.reset",
    "runs": "comparison",
    "search_space": "search",
}

_MODULES = ("envs", "panels", "presets", "testing")

__all__ = [*sorted(_HOMES), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"evolab.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'evolab' has no attribute {name!r}")
    value = getattr(import_module(f"evolab.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
