"""Environments for a whole population: `make` gives [P, E] of them behind one `step`."""

from __future__ import annotations

from evolab.data.datasets.tokenizer import Tokenizer
from evolab.data.datasets.tokens import TokenDataset
from evolab.envs.base import EnvironmentFault, Environments, StepFault
from evolab.envs.factory import VectorMaker, make
from evolab.envs.frame_stack import FrameStack
from evolab.envs.language.environment import LanguageEnvironment
from evolab.envs.language.random_walks import RandomWalks
from evolab.envs.language.turns import Reply, Turn
from evolab.envs.language.word_game import WordGame
from evolab.envs.probes import PROBES
from evolab.envs.vector import VectorEnvironments

__all__ = [
    "PROBES",
    "EnvironmentFault",
    "Environments",
    "FrameStack",
    "LanguageEnvironment",
    "RandomWalks",
    "Reply",
    "StepFault",
    "TokenDataset",
    "Tokenizer",
    "Turn",
    "VectorEnvironments",
    "VectorMaker",
    "WordGame",
    "make",
]
