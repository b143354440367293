"""Environments for a whole population: `make` gives [P, E] members behind one `step`."""

from __future__ import annotations

from evolab.envs.env import EnvironmentFault, Environments, MemberFault
from evolab.envs.factory import make
from evolab.envs.vector import VectorEnvironments

__all__ = ["EnvironmentFault", "Environments", "MemberFault", "VectorEnvironments", "make"]
