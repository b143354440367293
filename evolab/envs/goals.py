"""What an environment in the form of gymnasium-robotics says of goals that it did not set: `compute_reward` and its kin."""

from __future__ import annotations

import copy
from collections.abc import Callable

import gymnasium
import numpy as np

from evolab.core.goals import DESIRED, has_goals
from evolab.envs.base import EnvironmentFault, Environments
from evolab.envs.guard import one_line
from evolab.networks.base import Network

REWARD, TERMINATED = "compute_reward", "compute_terminated"
"""Methods `(achieved_goal, desired_goal, info)`; the second one is there where goals end episodes."""

PAIRS = 6
"""Goals that are tried before time is spent."""

Judgement = Callable[[np.ndarray, np.ndarray], np.ndarray]


class EnvironmentGoals:
    """The rewards of goals, asked of one environment.

    Its methods are asked for many goals at once where they answer so, as gymnasium-robotics' do, else for one after the
    other. `info` is empty: it is not stored.

    Args:
        name: what messages call the environment.
        env: any of them; it need not be open.
    """

    def __init__(self, name: str, env: gymnasium.Env) -> None:
        self._name, self._env = name, env
        self._reward: Judgement | None = None
        self._terminated: Judgement | None = None

    def check(self) -> None:
        """Try some goals, before time is spent.

        Raises:
            ValueError: the environment cannot say what they earn.
        """
        space = copy.deepcopy(self._env.observation_space[DESIRED])  # type: ignore[index]
        space.seed(0)  # of the copy: an environment may draw its goals from its own
        desired = np.stack([np.asarray(space.sample()) for _ in range(PAIRS)])
        achieved = np.concatenate([desired[:1], desired[:-1]])  # the first goal is reached
        reward = self._answer(REWARD, achieved, desired)
        assert reward is not None
        self._terminated = self._answer(TERMINATED, achieved, desired)
        self._reward = reward

    def judge(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """What steps would have earned; see `core.goals.Goals`.

        Raises:
            ValueError: the environment cannot say it of any goal.
            EnvironmentFault: a reward that is not finite.
        """
        if self._reward is None:
            self.check()
        assert self._reward is not None
        kind = self._env.observation_space[DESIRED].dtype  # type: ignore[index]
        achieved, desired = achieved.astype(kind, copy=False), desired.astype(kind, copy=False)
        reward = self._reward(achieved, desired).astype(np.float32)
        if not np.isfinite(reward).all():
            at = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise EnvironmentFault(
                f"{self._name}: {REWARD} gave {reward[at]} for the achieved goal {achieved[at]} and the desired goal "
                f"{desired[at]}; a finite number is expected."
            )
        return reward, None if self._terminated is None else self._terminated(achieved, desired).astype(bool)

    def _answer(self, method: str, achieved: np.ndarray, desired: np.ndarray) -> Judgement | None:
        """What asks a method for many goals; None where there is none, which rewards need not have."""
        found = self._env.get_wrapper_attr(method) if self._env.has_wrapper_attr(method) else None
        asked = f"{self._name}: {method}(achieved_goal, desired_goal, info)"
        try:
            if found is None:
                raise NotImplementedError("there is none")
            single = np.array([float(found(a, d, {})) for a, d in zip(achieved, desired, strict=True)])
        except NotImplementedError as error:
            if method == TERMINATED:
                return None
            raise ValueError(
                f"{asked} says nothing: {str(error) or 'it is not implemented'}. {CURE}"
            ) from error
        except Exception as error:  # compute_reward is the user's and may raise anything
            raise ValueError(f"{asked} raised {one_line(error)}. {CURE}") from error
        if not np.isfinite(single).all():
            raise ValueError(f"{asked} gave {single[~np.isfinite(single)][0]}. {CURE}")
        try:
            many = np.asarray(found(achieved, desired, {}))
            together = many.shape == single.shape and np.allclose(many.astype(float), single)
        except Exception:  # one that takes no batches is asked goal by goal
            together = False
        if together:
            return lambda achieved, desired: np.asarray(found(achieved, desired, {}))
        return lambda achieved, desired: np.array(
            [float(found(a, d, {})) for a, d in zip(achieved, desired, strict=True)]
        )


CURE = (
    "Hindsight has to know what any achieved goal earns under any desired one: give the environment that method, with "
    "one number for one pair of goals, or leave hindsight at 0."
)


def goals_of(name: str, env: object) -> EnvironmentGoals | None:
    """What an environment, or the first one of a `SyncVectorEnv`, says of goals; None where it has none, or says nothing.

    Args:
        name: what messages call it.
        env: wrapped or not.
    """
    if isinstance(env, gymnasium.vector.VectorEnv):
        several = getattr(env.unwrapped, "envs", None)
        env = several[0] if isinstance(several, (list, tuple)) and several else None
    if not isinstance(env, gymnasium.Env) or not has_goals(env.observation_space):
        return None
    return EnvironmentGoals(name, env) if env.has_wrapper_attr(REWARD) else None


REMEMBERED = (
    "hindsight gives single transitions other goals, and the network remembers the goals that were given: leave "
    "hindsight out, or pass a network that does not remember."
)


def require_goals(envs: Environments, network: Network) -> None:
    """Refuse hindsight in environments that cannot say what goals earn which they did not set, and with a memory.

    Raises:
        ValueError: they have no goals, or do not say what they earn; or the network remembers.
    """
    if network.remembers:
        raise ValueError(REMEMBERED)
    if envs.goals is not None:
        return envs.goals.check()
    name, space = envs.name, envs.single_observation_space
    if has_goals(space):
        raise ValueError(f"hindsight is above 0, and {name} has no {REWARD} that can be asked. {CURE}")
    raise ValueError(
        f"hindsight is above 0, and {name} has no goals: its observations are {space}. A Dict with 'observation', "
        "'achieved_goal' and 'desired_goal' is expected, the two goals of one shape, as gymnasium-robotics has them. "
        "Leave hindsight at 0."
    )
