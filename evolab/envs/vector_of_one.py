"""One environment of those that are made as vectors only, as a single Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from torch import Tensor

from evolab.core.composite_actions import together
from evolab.core.trees import map_leaves
from evolab.envs.base import EnvironmentFault, Environments
from evolab.envs.masks import MASK


class Single(gymnasium.Env[Any, Any]):
    """A vector of one environment, stepped as a single one.

    Args:
        envs: [1, 1] environments; closed with this one.
        picture: gives a picture [H, W, 3] of it; None where it draws none.
    """

    def __init__(self, envs: Environments, picture: Callable[[], np.ndarray] | None = None) -> None:
        self._envs, self._picture = envs, picture
        self.observation_space, self.action_space = envs.single_observation_space, envs.single_action_space
        self.metadata = {"render_modes": [] if picture is None else ["rgb_array"]}
        self.render_mode = None if picture is None else "rgb_array"
        self.spec = EnvSpec("Single-v0", max_episode_steps=envs.max_episode_steps)

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        first = self._envs.reset(None if seed is None else np.array([[seed]]))
        return map_leaves(_only, first), _told(self._envs.action_mask)

    def step(self, action: object) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step.

        Raises:
            EnvironmentFault: it failed.
        """
        flat = np.asarray(together(self.action_space, action))
        done = self._envs.step(flat[None, None], autoreset=False)
        if not done.valid[0, 0]:
            raise EnvironmentFault(f"{self._envs.name}: {self._envs.faults[-1].message}")
        found, told = map_leaves(_only, done.next_observation), _told(done.next_action_mask)
        return found, float(done.reward[0, 0]), bool(done.terminated[0, 0]), bool(done.truncated[0, 0]), told

    def render(self) -> Any:
        """A picture of how it is now."""
        return None if self._picture is None else self._picture()

    def close(self) -> None:
        """Close the vector."""
        self._envs.close()


def _only(leaf: np.ndarray | Tensor) -> Any:
    """What the only environment gave; an array also where it lives on a device."""
    own = leaf[0, 0]
    return own.cpu().numpy() if isinstance(own, Tensor) else own


def _told(masks: np.ndarray | Tensor | None) -> dict[str, Any]:
    """The `info` with the mask of the only environment."""
    return {} if masks is None else {MASK: _only(masks)}
