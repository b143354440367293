"""Probe environments: so small that the right values are known, so that a wrong learner is found out.

Each isolates one thing that can be wrong. A learner that fails on `ConstantReward` has a wrong
loss or optimiser; on `ObservationReward` a wrong path from observation to value; on
`TwoStepDiscount` a wrong target; on `ActionReward` a wrong policy update; on
`ObservationActionReward` a wrong pairing of observations with actions; on `RememberedCue` a memory
that is lost, or not learned from.

A state is one number in [-1, 1]. It is shown as "vector", an array of it; as "image", a picture
of that brightness; or as "dict", both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from evolab.core.checks import unknown
from evolab.core.trees import Tree

SIDE = 16  # pixels
BEST = 0.5  # where the continuous rewards are largest, away from the middle and from the bounds

Exact = Callable[[float, "float | None", float, bool], float]


class ProbeEnv(gymnasium.Env):
    """The base of the probes: a state, an action, a known reward, `length` steps.

    Discrete actions are 0 and 1; continuous ones are [a] with a in [-1, 1].

    Attributes:
        length: steps of an episode, which always ends by termination.
    """

    length = 1

    def __init__(self, actions: str = "discrete", observations: str = "vector") -> None:
        """Choose the spaces.

        Args:
            actions: "discrete" or "continuous".
            observations: "vector", "image" or "dict".

        Raises:
            ValueError: for other words.
        """
        if actions not in ("discrete", "continuous"):
            raise unknown("kind of actions", actions, ("discrete", "continuous"))
        if observations not in ("vector", "image", "dict"):
            raise unknown("kind of observations", observations, ("vector", "image", "dict"))
        self.observations = observations
        vector = spaces.Box(-1.0, 1.0, (1,), np.float32)
        image = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        both = spaces.Dict({"image": image, "vector": vector})
        kinds: dict[str, spaces.Space] = {"vector": vector, "image": image, "dict": both}
        self.observation_space = kinds[observations]
        self.action_space = (
            spaces.Discrete(2) if actions == "discrete" else spaces.Box(-1.0, 1.0, (1,), np.float32)
        )
        self.state = 0.0
        self.time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Tree, dict[str, Any]]:
        """Start in the first state."""
        super().reset(seed=seed)
        self.time, self.state = 0, self.first()
        return show(self.state, self.observations), {}

    def step(self, action: int | np.ndarray) -> tuple[Tree, float, bool, bool, dict[str, Any]]:
        """Earn this step's reward."""
        chosen = float(np.asarray(action).reshape(-1)[0])
        reward = self.reward(chosen)
        self.time += 1
        self.state = self.following()
        return show(self.state, self.observations), reward, self.time >= self.length, False, {}

    def first(self) -> float:
        """The first state; may draw from `np_random`."""
        return 0.0

    def following(self) -> float:
        """The state after a step."""
        return self.state

    def reward(self, action: float) -> float:
        """What `action` earns in this state."""
        raise NotImplementedError

    @property
    def continuous(self) -> bool:
        """True where actions are a range."""
        return isinstance(self.action_space, spaces.Box)


class ConstantReward(ProbeEnv):
    """One step, state 0, reward 1: V(0) = Q(0, a) = 1 for every action."""

    def reward(self, action: float) -> float:
        """Always 1."""
        return 1.0


class ObservationReward(ProbeEnv):
    """One step, state s = -1 or 1 at random, reward s: V(s) = Q(s, a) = s for every action."""

    def first(self) -> float:
        """-1 or 1, with equal chance."""
        return sign(self.np_random)

    def reward(self, action: float) -> float:
        """The state."""
        return self.state


class TwoStepDiscount(ProbeEnv):
    """Two steps, state 0 then 1, reward 0 then 1: V(0) = Q(0, a) = discount, V(1) = Q(1, a) = 1."""

    length = 2

    def following(self) -> float:
        """Always 1 after the first step."""
        return 1.0

    def reward(self, action: float) -> float:
        """Nothing at first, 1 at last."""
        return float(self.time == 1)


class ActionReward(ProbeEnv):
    """One step, state 0, the action decides; the best policy earns V(0) = 1.

    Discrete: Q(0, 0) = -1, Q(0, 1) = 1. Continuous: Q(0, a) = 1 - (a - 0.5)^2, best at a = 0.5.
    """

    def reward(self, action: float) -> float:
        """See the class."""
        return rewarded(1.0, action, self.continuous)


class ObservationActionReward(ProbeEnv):
    """One step, state s = -1 or 1 at random, the right action depends on it; at best V(s) = 1.

    Discrete: Q(s, a) = 1 where a is 1 for s = 1 and 0 for s = -1, else -1. Continuous:
    Q(s, a) = 1 - (a - 0.5 s)^2, best at a = 0.5 s.
    """

    def first(self) -> float:
        """-1 or 1, with equal chance."""
        return sign(self.np_random)

    def reward(self, action: float) -> float:
        """See the class."""
        return rewarded(self.state, action, self.continuous)


class RememberedCue(ProbeEnv):
    """A cue s = -1 or 1 at random is shown at the first step alone, and asked for at the last: state 0 in between.

    The last action earns 1 (or less, as in `ObservationActionReward`) where it says the cue, all others nothing. With two
    actions an agent that does not remember earns 0 in the mean, whatever it does; one that does earns 1.
    """

    def __init__(self, actions: str = "discrete", observations: str = "vector", length: int = 6) -> None:
        """Choose the spaces; see `ProbeEnv`. `length` are the steps of an episode."""
        super().__init__(actions, observations)
        self.length, self.cue = length, 0.0

    def first(self) -> float:
        """-1 or 1, with equal chance."""
        self.cue = sign(self.np_random)
        return self.cue

    def following(self) -> float:
        """Always 0 after the first step."""
        return 0.0

    def reward(self, action: float) -> float:
        """See the class."""
        return rewarded(self.cue, action, self.continuous) if self.time == self.length - 1 else 0.0


def sign(generator: np.random.Generator) -> float:
    """-1 or 1, with equal chance."""
    return float(2 * generator.integers(2) - 1)


def rewarded(state: float, action: float, continuous: bool) -> float:
    """What an action earns where the state says which one is right."""
    if continuous:
        return 1.0 - (action - BEST * state) ** 2
    return 1.0 if (action > 0) == (state > 0) else -1.0


def show(state: float, observations: str) -> Tree:
    """A state as an observation of the kind "vector", "image" or "dict"."""
    vector = np.array([state], dtype=np.float32)
    if observations == "vector":
        return vector
    image = np.full((SIDE, SIDE, 3), round((state + 1.0) * 127.5), dtype=np.uint8)
    return image if observations == "image" else {"image": image, "vector": vector}


def _best(state: float, action: float | None, continuous: bool) -> float:
    """What an action earns; 1 where none is given, since the best one does."""
    return 1.0 if action is None else rewarded(state, action, continuous)


PROBES: dict[str, tuple[type[ProbeEnv], Exact]] = {
    "ConstantReward": (ConstantReward, lambda state, action, discount, continuous: 1.0),
    "ObservationReward": (ObservationReward, lambda state, action, discount, continuous: state),
    "TwoStepDiscount": (
        TwoStepDiscount,
        lambda state, action, discount, continuous: discount ** (state != 1.0),
    ),
    "ActionReward": (
        ActionReward,
        lambda state, action, discount, continuous: _best(1.0, action, continuous),
    ),
    "ObservationActionReward": (
        ObservationActionReward,
        lambda state, action, discount, continuous: _best(state, action, continuous),
    ),
}
"""Each probe, and its values: (state, action, discount, continuous) to Q(state, action), or to V(state) for None."""
