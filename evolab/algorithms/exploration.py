"""Noise that actions explore with, and how long it lasts.

White noise averages out: a car that has to swing up hardly moves when every step pushes it another way. Noise that
stays the same for some steps leads to states that are many steps away. How long is best depends on the environment,
so it is a hyperparameter: agents of a population may differ in it, and all learn from what one of them has found.
Where an episode ends it begins anew: see `population.acting`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evolab.algorithms.hyperparameters import Hyperparameter
from evolab.core.ranges import Float
from evolab.networks.batching.group import AgentGroup

LASTING = Float(1.0, 1000.0)
"""Limits of `persistence`, in steps."""


def noise_persistence(search: Float | None) -> Hyperparameter:
    """The hyperparameter `persistence` of algorithms that explore by Gaussian noise."""
    return Hyperparameter(
        1.0,
        LASTING,
        search,
        "steps over which exploration noise is correlated; 1 for white noise",
        absent=1.0,
    )


def persists(agents: AgentGroup) -> bool:
    """True where exploration of any agent in the group outlasts a step; known without asking the device."""
    return any(setting.get("persistence", 1) > 1 for setting in agents.settings)


def gaussian(like: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of standard deviation `scale` [P, 1 or E, 1], in the shape of `like` [P, E, A]."""
    return _standard(like, generator) * scale


def unit_noise(agents: AgentGroup, like: Tensor, state: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of unit variance in the shape of `like`, with inertia where an agent's `persistence` asks for it.

    It is autoregressive of first order, with correlation `rho = 1 - 1 / persistence` from step to step, so that
    its correlations over all later steps sum up to `persistence`. Its variance is 1 from the first step on,
    and with a `persistence` of 1 it is white. The same numbers are drawn either way.

    Args:
        agents: of a group, with the hyperparameter `persistence`.
        like: [P, E, A].
        state: [P, E, A], the noise of the step before, which is moved in place; 0 where none was.
        generator: of the noise.

    Source: Eberhard et al. 2023, Pink Noise Is All You Need, for noise with inertia, in stochastic policies too;
    Wawrzynski 2015, Control policy with autocorrelated noise, for this kind of it.
    """
    drawn = _standard(like, generator)
    if not persists(agents):
        return drawn
    rho = (1 - 1 / agents.hyper["persistence"])[:, None, None]  # [P, 1, 1]
    moved = rho * state + (1 - rho.square()).sqrt() * drawn
    return state.copy_(torch.where(state == 0, drawn, moved)).clone()  # a start has no step before


def _standard(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(like.shape, generator=generator, device=generator.device, dtype=like.dtype)
    return drawn.to(like.device)


def ornstein_uhlenbeck(
    state: Tensor, scale: Tensor, theta: float, dt: float, generator: torch.Generator
) -> Tensor:
    """Noise with inertia: one step of `state` [P, E, A], which is moved in place.

    The stationary standard deviation is scale / sqrt(2 theta), reached after about
    1 / (theta dt) steps.

    Args:
        state: [P, E, A], where the process stands.
        scale: [P, 1 or E, 1], its volatility.
        theta: pull towards zero per unit of time.
        dt: length of a step.
        generator: of the noise.

    Source: Uhlenbeck and Ornstein 1930; Lillicrap et al. 2016, section 7.
    """
    state.mul_(1 - theta * dt).add_(gaussian(state, scale * dt**0.5, generator))
    return state
