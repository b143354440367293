"""Gymnasium's batched CartPole in torch: an environment that lives on a device, of no class of Gymnasium's.

The same equations in the same precision, and the same first states: what it gives can be compared step by step.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import gymnasium
import torch
from gymnasium.utils import seeding

X, THETA = 2.4, 12 * 2 * math.pi / 360
MODES = {mode.name.lower(): mode for mode in gymnasium.vector.AutoresetMode}
REFERENCE = gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="vector_entry_point")


class Array:
    """An array of another library, as far as evolab looks: it shares its memory, and takes others' in."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()

    def __array_namespace__(self):
        return SimpleNamespace(from_dlpack=lambda other: Array(torch.from_dlpack(other)))


class TorchCartPole:
    """N poles.

    Args:
        num_envs: N.
        mode: "next_step", "same_step" or "disabled".
        longest: steps of an episode.
        device: where they are.
        arrays: give and take `Array`s in the place of tensors.
        overwrites: write every observation over the one before.
    """

    def __init__(self, num_envs, mode="next_step", longest=500, device="cpu", arrays=False, overwrites=False):
        self.num_envs, self.mode, self.max_episode_steps = num_envs, mode, longest
        self.metadata = {"autoreset_mode": MODES[mode]}
        self.device, self.arrays = torch.device(device), arrays
        self.single_observation_space = REFERENCE.single_observation_space
        self.single_action_space = REFERENCE.single_action_space
        self.memory = torch.zeros(num_envs, 4, device=self.device) if overwrites else None
        self.given, self.taken = {}, None
        self.random = None

    def _begun(self, which):
        """[4, n], first states of these."""
        drawn = self.random.uniform(-0.05, 0.05, size=(4, int(which.sum())))
        return torch.from_numpy(drawn).to(self.device)

    def _told(self, **values):
        self.given = values
        return {name: Array(value) if self.arrays else value for name, value in values.items()}

    def _seen(self, state):
        seen = state.t().to(torch.float32).contiguous()
        return seen if self.memory is None else self.memory.copy_(seen)

    def reset(self, *, seed=None, options=None):
        if seed is not None or self.random is None:
            self.random, _ = seeding.np_random(seed)
        chosen = (options or {}).get("reset_mask")
        if chosen is None:
            chosen = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
            self.state = torch.zeros(4, self.num_envs, dtype=torch.float64, device=self.device)
            self.steps = torch.zeros(self.num_envs, dtype=torch.int32, device=self.device)
            self.over = torch.zeros_like(chosen)
        self.state = self.state.clone()
        self.state[:, chosen] = self._begun(chosen)
        self.steps[chosen], self.over[chosen] = 0, False
        return self._told(observation=self._seen(self.state))["observation"], {}

    def step(self, action):
        action = self.taken = action.tensor if isinstance(action, Array) else action
        assert action.device == self.device
        assert action.shape == (self.num_envs,)
        x, speed, theta, turning = self.state
        force = torch.sign(action - 0.5) * 10.0
        cosine, sine = torch.cos(theta), torch.sin(theta)
        pushed = (force + 0.05 * torch.square(turning) * sine) / 1.1
        bent = (9.8 * sine - cosine * pushed) / (0.5 * (4.0 / 3.0 - 0.1 * torch.square(cosine) / 1.1))
        driven = pushed - 0.05 * bent * cosine / 1.1
        self.state = torch.stack(
            [x + 0.02 * speed, speed + 0.02 * driven, theta + 0.02 * turning, turning + 0.02 * bent]
        )
        terminated = (self.state[0].abs() > X) | (self.state[2].abs() > THETA)
        self.steps = self.steps + 1
        truncated = self.steps >= self.max_episode_steps
        reward = torch.ones(self.num_envs, device=self.device)
        info = {}
        if self.mode == "next_step":
            self._again(self.over)
            reward[self.over] = 0.0
            terminated, truncated = terminated & ~self.over, truncated & ~self.over
        self.over = terminated | truncated
        if self.mode == "same_step" and bool(self.over.any()):
            info["final_obs"] = self.state.t().to(torch.float32)
            info["final_info"] = {"height": self.state[2].abs().to(torch.float32)}
            self._again(self.over)
        told = self._told(
            observation=self._seen(self.state), reward=reward, terminated=terminated, truncated=truncated
        )
        return (*told.values(), info)

    def _again(self, which):
        self.state[:, which] = self._begun(which)
        self.steps[which] = 0
