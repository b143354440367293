"""P x E environments on a device behind one `step`: true transitions whose observations, rewards and ends are tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from evolab.core.experience import Transition
from evolab.core.trees import Tree, map_leaves
from evolab.envs.backend import Failure, Faults
from evolab.envs.base import EnvironmentFault
from evolab.envs.device_adapter import DeviceAdapter
from evolab.envs.masks import MASK
from evolab.envs.tensors import ActionTensors, chosen, finite_tensors, rows_not_finite
from evolab.envs.vector import VectorEnvironments


class DeviceEnvironments(VectorEnvironments):
    """The environments of a whole population where they are stepped on a device; made by `evolab.envs.make`.

    As `VectorEnvironments`, with tensors [P, E, ...] in the place of arrays: what an environment gives is what the
    population acts on and the buffer stores. Whether anything ended or broke is asked once a step, for which the device
    is waited for.
    """

    _actions: ActionTensors | None = None
    _rests: Tensor
    _lost: Tensor

    @property
    def _adapter(self) -> DeviceAdapter:
        assert isinstance(self._backend, DeviceAdapter)
        return self._backend

    @property
    def resting(self) -> np.ndarray:
        """[P, E], True where an environment's episode ended and `autoreset=False` left it at that."""
        return self._rests.cpu().numpy().reshape(self.population, self.num_envs)

    def reset(self, seed: int | np.ndarray | None = None) -> Any:
        """Start a new episode in every environment, by one seed for all; see `Environments.reset`."""
        self._open()
        if seed is None:
            seed, self._seed = self._seed, None
        observation, _ = self._adapter.reset(self._seeds(seed))
        self._seed = None
        device = self._adapter.reader.device
        assert device is not None
        broken = rows_not_finite(observation, torch.zeros(self._count, device=device))
        if bool(broken.any()):
            raise EnvironmentFault(
                f"{self.name}: the first observation of environment {int(broken.int().argmax())} is not finite."
            )
        if self._actions is None:
            lead = self.population, self.num_envs
            self._actions = ActionTensors(self.single_action_space, lead, device)
        self._rests = torch.zeros(self._count, dtype=torch.bool, device=device)
        self._lost = torch.zeros_like(self._rests)
        self._streak[:] = 0
        self._observation, self._told = observation, self._led(observation)
        self.action_mask = self._led_mask(self._adapter.masks)
        return self._told

    def step(self, action: ArrayLike | Tensor, autoreset: bool = True) -> Transition:
        """Act once in every environment; see `Environments.step`."""
        self._open()
        if self._observation is None or self._actions is None:
            raise RuntimeError("step came before reset. Call reset() first.")
        batch, undefined = self._actions.batch(action)
        rows = self._adapter.step(batch, self._rests)
        following, onward = rows.observation, rows.observation if rows.reset is None else rows.reset
        reward, terminated, truncated, skipped = rows.reward, rows.terminated, rows.truncated, rows.skipped
        over = terminated | truncated
        broken = rows_not_finite(following, reward)
        forbidding = self._adapter.forbidding
        if forbidding is not None:
            broken = broken | forbidding
        if rows.reset is not None:
            broken = broken | rows_not_finite(onward, reward)
        unsound = broken if undefined is None else broken | undefined
        usual = not bool((over | unsound | skipped | self._rests | self._lost).any())  # asked once
        faults: Faults = {}
        valid = ~skipped
        if not usual:
            before = self._observation
            following, onward, skipped, faults = self._mended(following, onward, skipped, broken)
            following = chosen(self._rests, before, following)
            skipped = skipped | self._rests
            reward = torch.where(skipped, 0.0, reward)
            terminated, truncated = terminated & ~skipped, truncated & ~skipped
            ended = terminated | truncated
            onward = following if rows.reset is None else onward
            if rows.reset is not None:  # a resting environment repeats its last observation
                onward = chosen(self._rests if autoreset else self._rests | ended, following, onward)
            elif autoreset and self._adapter.partial and bool(ended.any()):
                onward = chosen(ended, self._adapter.reset(None, ended)[0], following)
            self._lost = self._lost & ~over
            if not autoreset:
                self._rests = self._rests | ended
            valid = ~skipped
        told, self._observation = self._told, onward
        self._told = self._led(onward)
        permitted, self.action_mask = self.action_mask, self._led_mask(self._adapter.masks)
        metrics = {} if usual else self._adapter.told(terminated | truncated)
        if undefined is not None and not usual:
            valid = valid & ~undefined
            senders = undefined.nonzero().flatten().tolist()
            self._record({index: Failure("action", "the action is not finite") for index in senders})
        transition = Transition(
            observation=told,
            action=self._led(batch),
            reward=self._led(reward),
            next_observation=self._told if following is onward else self._led(following),
            terminated=self._led(terminated),
            truncated=self._led(truncated),
            reset_observation=self._told,
            valid=self._led(valid),
            metrics={divmod(index, self.num_envs): one for index, one in metrics.items()},
            action_mask=permitted,
            next_action_mask=self._led_mask(rows.masks),
        )
        if not usual:
            self._policy.note(bool(valid.any()))
            self._count_faults(faults, valid.cpu().numpy())
        return transition

    def _mended(
        self, following: Tree, onward: Tree, skipped: Tensor, broken: Tensor
    ) -> tuple[Any, Any, Tensor, Faults]:
        """Finite observations, which rows are no transition, and what went wrong.

        An environment that can't be reset by itself is left alone until its episode is over.
        """
        new = broken & ~self._rests & ~self._lost
        faults = {
            index: Failure("nan", "an observation or a reward is not finite")
            for index in new.nonzero().flatten().tolist()
        }
        forbidding = self._adapter.forbidding
        if faults and forbidding is not None:
            nothing = (new & forbidding).nonzero().flatten().tolist()
            faults |= {index: Failure("shape", f"{MASK} forbids every action") for index in nothing}
        following, onward = finite_tensors(following), finite_tensors(onward)
        if faults and self._adapter.partial:
            fresh, _ = self._adapter.reset(None, new)
            following, onward = chosen(new, fresh, following), chosen(new, fresh, onward)
        elif faults:
            self._lost = self._lost | new
        return following, onward, skipped | broken | self._lost, faults

    def _led(self, batch: Tree) -> Any:
        """[N, ...] leaves as [P, E, ...], in the same memory."""
        lead = self.population, self.num_envs
        return map_leaves(lambda leaf: leaf.view(*lead, *leaf.shape[1:]), batch)

    def _led_mask(self, masks: Tensor | None) -> Any:
        return None if masks is None else self._led(masks)
