"""P x E members behind one `step`: true transitions out of whatever resets the members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from evolab.checks import positive_integer
from evolab.envs.actions import as_batch
from evolab.envs.batches import each, merged, not_finite
from evolab.envs.env import EnvironmentFault, Environments, MemberFault
from evolab.envs.loop import Rows
from evolab.sources.source import Transition


class Members(Protocol):
    """N = P x E environments in a row; `Loop`, `Workers` and `Adapter` are three ways to have them.

    Attributes:
        self_reset: True where members start their next episode by themselves.
    """

    self_reset: bool

    def reset(
        self, seeds: list[int] | None, mask: np.ndarray | None = None, rebuild: bool = False
    ) -> tuple[Any, dict[int, tuple[str, str]]]:
        """Start episodes; see `Loop.reset`."""

    def step(self, action: np.ndarray, resting: np.ndarray) -> Rows:
        """Step all but the resting members; see `Loop.step`."""

    def close(self) -> None:
        """Free everything, without ever hanging."""


class VectorEnvironments(Environments):
    """The members of a whole population, one row of [P, E] per agent; made by `evolab.envs.make`.

    A transition never crosses an episode: at its end `next_observation` is the true final
    observation and `reset_observation` the first of the next episode. Rows that are no
    transition (the reset step of NEXT_STEP environments, a fault, a resting member) have
    `valid` False, reward 0 and neither flag set.

    A member that fails has its episode dropped and starts another, with `autoreset` or
    without: that row is invalid, so whoever sums rewards starts that sum again.
    """

    def __init__(
        self,
        members: Members,
        population: int,
        num_envs: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        name: str,
        autoreset: str,
        max_episode_steps: int | None = None,
        seed: int = 0,
        max_faults: int = 10,
        again: Callable[[int], Environments] | None = None,
        render: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    ) -> None:
        """Put [P, E] in front of `members`.

        Args:
            members: population * num_envs members, agent by agent; closed with this object.
            population: P.
            num_envs: E.
            observation_space: of one member.
            action_space: of one member.
            name: what errors call the environment.
            autoreset: "disabled", "next_step" or "same_step", how the members reset; for information.
            max_episode_steps: the environment's own limit.
            seed: for the first `reset` that is given none.
            max_faults: faults in a row, without one valid step of that member, that are survived.
            again: makes the same environments with another E.
            render: makes one single environment that renders.
        """
        self.population, self.num_envs = population, num_envs
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.name, self.autoreset, self.max_episode_steps = name, autoreset, max_episode_steps
        self.faults: list[MemberFault] = []
        self._members, self._again, self._render = members, again, render
        self._seed: int | None = seed
        self._max_faults = max_faults
        self._count = population * num_envs
        self._resting = np.zeros(self._count, dtype=bool)
        self._streak = np.zeros(self._count, dtype=np.int64)  # faults in a row, by member
        self._observation: Any = None
        self._closed = False

    @property
    def resting(self) -> np.ndarray:
        """[P, E], True where a member's episode ended and `autoreset=False` left it at that."""
        return self._resting.reshape(self.population, self.num_envs).copy()

    def reset(self, seed: int | np.ndarray | None = None) -> Any:
        """Start a new episode in every member; see `Environments.reset`."""
        self._open()
        if seed is None:
            seed, self._seed = self._seed, None
        observation, faults = self._members.reset(self._seeds(seed))
        self._record(faults)
        bad = not_finite(observation, self._count)
        for _ in range(self._max_faults):
            if bad is None:
                break
            self._record({int(index): ("nan", "the first observation is not finite") for index in np.flatnonzero(bad)})
            fresh, faults = self._members.reset(None, bad, rebuild=True)
            self._record(faults)
            observation = merged(bad, fresh, observation)
            bad = not_finite(observation, self._count)
        else:
            if bad is not None:
                raise self._fault(int(np.flatnonzero(bad)[0]), "its first observation is not finite")
        self._seed = None
        self._resting[:] = False
        self._streak[:] = 0
        self._observation = observation
        return self._shaped(observation)

    def step(self, action: Any, autoreset: bool = True) -> Transition:
        """Act once in every member; see `Environments.step`."""
        self._open()
        if self._observation is None:
            raise RuntimeError("step came before reset. Call reset() first.")
        batch, nameless = as_batch(self.single_action_space, action, (self.population, self.num_envs))
        rows = self._members.step(batch, self._resting)
        following, faults, skipped = rows.observation, rows.faults, rows.skipped

        if self._resting.any():  # members that reset by themselves went on; nobody looks at them
            following = merged(self._resting, self._observation, following)
            skipped = skipped | self._resting
        broken = not_finite(following, self._count)
        if not np.isfinite(rows.reward).all():
            broken = ~np.isfinite(rows.reward) if broken is None else broken | ~np.isfinite(rows.reward)
        if broken is not None:
            broken &= ~skipped
            for index in np.flatnonzero(broken).tolist():
                faults.setdefault(index, ("nan", f"reward {rows.reward[index]} or its observation is not finite"))
        restart = np.zeros(self._count, dtype=bool)
        if faults:
            failed = np.zeros(self._count, dtype=bool)
            failed[list(faults)] = True
            failed &= ~self._resting
            skipped = skipped | failed
            restart[[index for index, (kind, _) in faults.items() if kind in ("nan", "shape")]] = True
        if skipped.any():
            rows.reward[skipped], rows.terminated[skipped], rows.truncated[skipped] = 0.0, False, False

        ended = rows.terminated | rows.truncated
        onward = following if rows.reset is None else rows.reset
        if restart.any():
            fresh, more = self._members.reset(None, restart, rebuild=True)
            faults = {**more, **faults}
            following, onward = merged(restart, fresh, following), merged(restart, fresh, onward)
        if not autoreset:
            self._resting |= ended
        elif not self._members.self_reset and ended.any():
            fresh, more = self._members.reset(None, ended)
            self._record(more)
            onward = merged(ended, fresh, onward)

        valid = ~skipped
        if nameless is not None:
            valid &= ~nameless
            self._record({int(index): ("action", "the action is not finite") for index in np.flatnonzero(nameless)})
        before, self._observation = self._observation, onward
        transition = Transition(
            observation=self._shaped(before),
            action=batch.reshape(self.population, self.num_envs, *batch.shape[1:]),
            reward=self._shaped(rows.reward),
            next_observation=self._shaped(following),
            terminated=self._shaped(rows.terminated),
            truncated=self._shaped(rows.truncated),
            reset_observation=self._shaped(onward),
            valid=self._shaped(valid),
        )
        self._count_faults(faults, valid)
        return transition

    def evaluator(self, episodes: int) -> Environments:
        """Another set of the same environments with `episodes` members per agent."""
        episodes = positive_integer("episodes", episodes)
        if self._again is None:
            raise ValueError(
                f"{self.name} was given as a made vector environment, which cannot be made again. "
                "Give its id, or a callable that makes one environment."
            )
        return self._again(episodes)

    def render_env(self) -> gymnasium.Env[Any, Any]:
        """One single environment of the same kind with `render_mode="rgb_array"`."""
        if self._render is None:
            raise ValueError(f"{self.name} was given as a made vector environment. Give its id or a callable to render.")
        return self._render()

    def close(self) -> None:
        """Free what the members hold; never hangs, and may be called twice."""
        if not self._closed:
            self._closed = True
            self._members.close()

    def _open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self.name} is closed. Make it again with evolab.envs.make.")

    def _seeds(self, seed: int | np.ndarray | None) -> list[int] | None:
        if seed is None:
            return None
        given = np.asarray(seed)
        if given.dtype.kind not in "iu":
            raise TypeError(f"seed is {seed!r}; expected an int or an int array (P, E).")
        if given.ndim == 0:
            spread = np.random.SeedSequence(int(given)).generate_state(self._count) >> 1  # 31 bits: some want int32
            return [int(one) for one in spread]
        if given.shape != (self.population, self.num_envs):
            raise ValueError(f"seed has shape {given.shape}; expected (P, E) = {(self.population, self.num_envs)}.")
        return [int(one) for one in given.reshape(-1)]

    def _shaped(self, batch: Any) -> Any:
        return each(lambda leaf: leaf.reshape(self.population, self.num_envs, *leaf.shape[1:]), batch)

    def _record(self, faults: dict[int, tuple[str, str]]) -> None:
        for index, (kind, message) in faults.items():
            self.faults.append(MemberFault(divmod(index, self.num_envs), kind, message))

    def _count_faults(self, faults: dict[int, tuple[str, str]], valid: np.ndarray) -> None:
        self._streak[valid] = 0
        if not faults:
            return
        self._record(faults)
        for index, (_, message) in faults.items():
            self._streak[index] += 1
            if self._streak[index] >= self._max_faults:
                raise self._fault(index, message)

    def _fault(self, index: int, message: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"{self.name}: member {divmod(index, self.num_envs)} failed {self._max_faults} times in a row: {message}"
        )
