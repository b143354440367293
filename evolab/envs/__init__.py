"""Environments for a whole population: `make` gives [P, E] members behind one `step`."""

from __future__ import annotations

from evolab.envs.env import EnvironmentFault, Environments, MemberFault
from evolab.envs.factory import make
from evolab.envs.probe import PROBES
from evolab.envs.vector import VectorEnvironments

__all__ = ["PROBES", "EnvironmentFault", "Environments", "MemberFault", "VectorEnvironments", "make"]
