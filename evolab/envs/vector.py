"""P x E environments behind one `step`: true transitions out of whatever resets them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.checks import positive_integer
from evolab.core.experience import Transition
from evolab.core.flags import all_of, any_of
from evolab.core.goals import Goals
from evolab.core.trees import Tree, map_leaves
from evolab.envs.actions import as_batch
from evolab.envs.backend import Failure, Faults, StepRows, VectorBackend
from evolab.envs.base import EnvironmentFault, Environments, StepFault
from evolab.envs.batches import merged, not_finite
from evolab.envs.faults import FaultPolicy
from evolab.envs.vector_of_one import Single

KEPT = 1_000  # faults that were not taken


class VectorEnvironments(Environments):
    """The environments of a whole population, one row of [P, E] per agent; made by `evolab.envs.make`.

    A transition never crosses an episode: at its end `next_observation` is the true final
    observation and `reset_observation` the first of the next episode. StepRows that are no
    transition (the reset step of NEXT_STEP environments, a fault, a resting environment) have
    `valid` False, reward 0 and neither flag set.

    An environment that fails has its episode dropped and starts another, with `autoreset` or
    without: that row is invalid, so a sum of rewards starts again there.
    """

    def __init__(
        self,
        backend: VectorBackend,
        population: int,
        num_envs: int,
        action_space: spaces.Space,
        *,
        name: str,
        max_episode_steps: int | None = None,
        seed: int = 0,
        max_faults: int = 10,
        again: Callable[[int, int], VectorEnvironments] | None = None,
        render: Callable[[], gymnasium.Env] | None = None,
        on_fault: str | FaultPolicy | None = None,
        goals: Goals | None = None,
    ) -> None:
        """Put [P, E] in front of `backend`.

        Args:
            backend: population * num_envs environments, agent by agent; closed with this object.
            population: P.
            num_envs: E.
            action_space: of one environment.
            name: what errors call the environment.
            max_episode_steps: the environment's own limit.
            seed: for the first `reset` that is given none.
            max_faults: faults in a row, without one valid step of that environment, that are survived.
            again: makes the same environments with another E and another P.
            render: makes one single environment that renders.
            on_fault: whether failures are survived; see `FaultPolicy`.
            goals: what it says of other goals than its own; None where it says nothing.
        """
        self.population, self.num_envs = population, num_envs
        self.single_observation_space, self.single_action_space = backend.space, action_space
        self.name, self.max_episode_steps, self.goals = name, max_episode_steps, goals
        self.faults: list[StepFault] = []
        self._backend, self._again, self._render = backend, again, render
        self._seed: int | None = seed
        self._max_faults, self._policy = max_faults, FaultPolicy.of(on_fault)
        self._count = population * num_envs
        self._resting = np.zeros(self._count, dtype=bool)
        self._streak = np.zeros(self._count, dtype=np.int64)  # faults in a row, by environment
        self._observation: Any = None  # [N, ...], what is acted on next
        self._told: Any = None  # the same, [P, E, ...]
        self._closed = False

    @property
    def autoreset(self) -> str:
        """How the backend begins the next episode: "disabled", "next_step" or "same_step"."""
        return self._backend.mode.name.lower()

    @property
    def resting(self) -> np.ndarray:
        """[P, E], True where an environment's episode ended and `autoreset=False` left it at that."""
        return self._resting.reshape(self.population, self.num_envs).copy()

    def reset(self, seed: int | np.ndarray | None = None) -> Any:
        """Start a new episode in every environment; see `Environments.reset`."""
        self._open()
        if seed is None:
            seed, self._seed = self._seed, None
        observation = self._begin(self._seeds(seed))
        self._seed = None
        self._resting[:] = False
        self._streak[:] = 0
        self._observation, self._told = observation, self._shaped(observation)
        self.action_mask = self._shaped_mask(self._backend.masks)
        return self._told

    def step(self, action: ArrayLike | Tensor, autoreset: bool = True) -> Transition:
        """Act once in every environment; see `Environments.step`."""
        self._open()
        if self._observation is None:
            raise RuntimeError("step came before reset. Call reset() first.")
        batch, undefined = as_batch(self.single_action_space, action, (self.population, self.num_envs))
        rows = self._backend.step(batch, self._resting)
        following, faults, skipped = rows.observation, rows.faults, rows.skipped

        if any_of(self._resting):  # environments that reset by themselves, or must not rest, went on unseen
            faults = {index: one for index, one in faults.items() if self._heard(index, one)}
            following = merged(self._resting, self._observation, following)
            skipped |= self._resting
        for index in self._broken(following, rows.reward):
            seen = np.isfinite(rows.reward[index])
            message = "an observation that is not finite" if seen else f"reward {rows.reward[index]}"
            faults.setdefault(index, Failure("nan", message))
        restart = np.zeros(self._count, dtype=bool)
        for index, failure in faults.items():
            if index >= 0 and not self._resting[index]:
                skipped[index] = True
                restart[index] = failure.kind in ("nan", "shape")
        if any_of(skipped):
            self._blank(rows, skipped)
        self._policy.note(not all_of(skipped))

        ended = rows.terminated | rows.truncated
        onward = following if rows.reset is None else self._sound(rows.reset)
        if any_of(restart):
            fresh = self._begin(None, restart, rebuild=True)
            following, onward = merged(restart, fresh, following), merged(restart, fresh, onward)
        if rows.reset is not None:  # a resting environment repeats its last observation
            onward = merged(self._resting if autoreset else self._resting | ended, following, onward)
        if autoreset and not self._backend.self_reset and any_of(ended):
            onward = merged(ended, self._begin(None, ended), onward)
        if not autoreset:
            self._resting |= ended

        valid = ~skipped
        if undefined is not None:
            valid &= ~undefined
            senders = np.flatnonzero(undefined).tolist()
            self._record({index: Failure("action", "the action is not finite") for index in senders})
        before, self._observation = self._told, onward
        self._told = self._shaped(onward)
        permitted, self.action_mask = self.action_mask, self._shaped_mask(self._backend.masks)
        transition = Transition(
            observation=before,
            action=batch.reshape(self.population, self.num_envs, *batch.shape[1:]),
            reward=self._shaped(rows.reward),
            next_observation=self._told if following is onward else self._shaped(following),
            terminated=self._shaped(rows.terminated),
            truncated=self._shaped(rows.truncated),
            reset_observation=self._told,
            valid=self._shaped(valid),
            metrics={divmod(i, self.num_envs): one for i, one in rows.metrics.items() if valid[i]},
            action_mask=permitted,
            next_action_mask=self._shaped_mask(rows.masks),
            goals=self.goals,
        )
        self._count_faults(faults, valid)
        return transition

    def evaluator(self, episodes: int, population: int | None = None) -> Environments:
        """Another set of the same environments; see `Environments.evaluator`."""
        episodes = positive_integer("episodes", episodes)
        if self._again is None:
            raise ValueError(
                f"{self.name} was given as a made vector environment, which cannot be made again. "
                "Give its id, or a callable that makes one environment."
            )
        return self._again(episodes, self.population if population is None else population)

    def render_env(self) -> gymnasium.Env:
        """One single environment of the same kind, with `render_mode="rgb_array"` where it can be drawn."""
        if self._render is not None:
            return self._render()
        if self._again is None:
            raise ValueError(
                f"{self.name} was given as a made vector environment. Give an id or a callable to render."
            )
        return self._again(1, 1).as_single()

    def as_single(self) -> gymnasium.Env:
        """These environments, of which there is one, as a single one that renders where they were made to."""
        self.reset()
        drawn = None
        with suppress(Exception):  # without a screen, or without what it draws with: then it plays unseen
            drawn = self._backend.picture()
        return Single(self, None if drawn is None else self._backend.picture)  # type: ignore[arg-type]

    def close(self) -> None:
        """Free what the environments hold; never hangs, and may be called twice."""
        if not self._closed:
            self._closed = True
            self._backend.close()

    def _open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self.name} is closed. Make it again with evolab.envs.make.")

    def _begin(self, seeds: list[int] | None, mask: np.ndarray | None = None, rebuild: bool = False) -> Any:
        """Start episodes until their first observations are finite; rows outside `mask` mean nothing."""
        observation, faults = self._backend.reset(seeds, mask, rebuild)
        self._record(faults)
        for _ in range(self._max_faults):
            bad = not_finite(observation, self._count)
            if bad is not None and mask is not None:
                bad &= mask
            if bad is None or not bad.any():
                return observation
            broken = np.flatnonzero(bad).tolist()
            self._record({index: Failure("nan", "the first observation is not finite") for index in broken})
            fresh, faults = self._backend.reset(None, bad, rebuild=True)
            self._record(faults)
            observation = merged(bad, fresh, observation)
        raise self._fault(broken[0], "its first observation is not finite")

    def _heard(self, index: int, fault: Failure) -> bool:
        """False for what happens in an episode of an environment that rests, which nobody plays."""
        return index < 0 or not self._resting[index] or fault.kind in ("hang", "crash")

    def _blank(self, rows: StepRows, skipped: np.ndarray) -> None:
        """Nothing was earned and nothing ended in rows that are no transition."""
        rows.reward[skipped], rows.terminated[skipped], rows.truncated[skipped] = 0.0, False, False

    def _broken(self, observation: Tree, reward: np.ndarray) -> list[int]:
        """Which environments that do not rest gave a NaN or an infinite value."""
        finite, rows = np.isfinite(reward), not_finite(observation, self._count)
        if rows is None and all_of(finite):
            return []
        bad = ~finite if rows is None else ~finite | rows
        return np.flatnonzero(bad & ~self._resting).tolist()

    def _sound(self, observation: Tree) -> Any:
        """First observations of environments that reset by themselves, begun again where not finite."""
        bad = not_finite(observation, self._count)
        if bad is None or not (bad & ~self._resting).any():
            return observation
        return merged(bad, self._begin(None, bad, rebuild=True), observation)

    def _seeds(self, seed: int | np.ndarray | None) -> list[int] | None:
        if seed is None:
            return None
        given = np.asarray(seed)
        if given.dtype.kind not in "iu":
            raise TypeError(f"seed is {seed!r}; expected an int or an int array (P, E).")
        if given.ndim == 0:
            # 31 bits: some environments want an int32.
            spread = np.random.SeedSequence(int(given)).generate_state(self._count) >> 1
            return [int(one) for one in spread]
        if given.shape != (self.population, self.num_envs):
            raise ValueError(f"seed has shape {given.shape}; expected {self.population, self.num_envs}.")
        return [int(one) for one in given.reshape(-1)]

    def _shaped(self, batch: Tree) -> Any:
        lead = self.population, self.num_envs
        if isinstance(batch, np.ndarray):
            return batch.reshape(lead + batch.shape[1:])
        return map_leaves(lambda leaf: leaf.reshape(lead + leaf.shape[1:]), batch)

    def _shaped_mask(self, masks: np.ndarray | None) -> np.ndarray | None:
        return None if masks is None else self._shaped(masks)

    def _record(self, faults: Faults) -> None:
        for index, failure in faults.items():
            where = divmod(index, self.num_envs) if index >= 0 else None
            self.faults.append(StepFault(where, *failure))
            self._policy.meet(self.name, self.faults[-1])
        del self.faults[:-KEPT]

    def _count_faults(self, faults: Faults, valid: np.ndarray) -> None:
        self._streak[valid] = 0
        if not faults:
            return
        self._record(faults)
        for index, failure in faults.items():
            self._streak[index] += 1  # -1, an environment that cannot be told, counts with the last one
            if self._streak[index] >= self._max_faults:
                raise self._fault(index, f"{failure.message}\n{failure.detail}".rstrip())

    def _fault(self, index: int, message: str) -> EnvironmentFault:
        which = f"environment {divmod(index, self.num_envs)}" if index >= 0 else "an environment"
        return EnvironmentFault(f"{self.name}: {which} failed {self._max_faults} times in a row: {message}")
