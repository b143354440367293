"""Environments for a whole population: `make` gives [P, E] members behind one `step`."""

from __future__ import annotations

from evolab.envs.env import EnvironmentFault, Environments, MemberFault
from evolab.envs.factory import make
from evolab.envs.language import LanguageEnvironment, Reply
from evolab.envs.probe import PROBES
from evolab.envs.random_walks import RandomWalks
from evolab.envs.turns import Turn
from evolab.envs.vector import VectorEnvironments
from evolab.envs.word_game import WordGame
from evolab.sources.tokens import TokenDataset, Tokenizer

__all__ = [
    "PROBES",
    "EnvironmentFault",
    "Environments",
    "LanguageEnvironment",
    "MemberFault",
    "RandomWalks",
    "Reply",
    "TokenDataset",
    "Tokenizer",
    "Turn",
    "VectorEnvironments",
    "WordGame",
    "make",
]
