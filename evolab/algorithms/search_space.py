"""An algorithm by its name, its starting values and the ranges in which they evolve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolab.algorithms.base import Algorithm
from evolab.core import checks, registry
from evolab.core.ranges import Choice, Float, Integer, Range

OTHER_NAMES = {
    "gamma": "discount",
    "lr": "lr_actor and lr_critic",
    "learning_rate": "lr, or lr_actor and lr_critic",
    "lr_actor": "lr",
    "lr_critic": "lr",
    "epsilon": "epsilon_start",
    "exploration_fraction": "epsilon_steps",
    "policy_freq": "policy_delay",
    "train_freq": "learn_step",
    "polyak": "tau",
    "ent_coef": "entropy_coefficient in PPO, entropy_per_action in SAC and TQC, which learn the coefficient",
    "vf_coef": "value_coefficient",
    "clip_range": "clip",
    "n_epochs": "epochs",
    "buffer_size": "buffer, an option of Experiment",
    "n_steps": "n_step, the steps of a return; or horizon, of buffer=ev.RolloutBuffer(horizon)",
    "top_quantiles_to_drop_per_net": "dropped, a share of all quantiles",
    "n_quantiles": "quantiles, an option of ev.QRDQN and ev.TQC",
    "n_critics": "critics, an option of ev.TQC",
    "n_sampled_goal": "hindsight, a share of all samples: 0.8 for 4 of 5",
    "prioritized_replay": "priority, an exponent: 0.6",
    "prioritized_replay_alpha": "priority",
    "prioritized_replay_beta": "importance",
    "action_flexibility": "threshold",
    "BCQ_threshold": "threshold",
    "noisy_std": "weight_noise, a factor of what its authors start with, with ev.DQN(noisy=True)",
    "noise_std": "weight_noise, a factor of what its authors start with, with ev.DQN(noisy=True)",
    "weight_temp": "advantage_weight",
    "n_envs": "num_envs, an option of Experiment",
    "net_arch": "network, an option of Experiment",
}
"""What other libraries, or other algorithms, call a hyperparameter, and what it is called here."""


def algorithm_named(algorithm: object) -> Algorithm:
    """The algorithm that a name, a class or an object stands for.

    Raises:
        ValueError: no such algorithm.
        TypeError: neither a name nor an algorithm.
    """
    return registry.resolve("algorithm", algorithm, Algorithm)  # type: ignore[type-abstract]


def search_space_of(
    algorithm: Algorithm,
    hyperparameters: Mapping[str, object] | None,
    search_space: Mapping[str, Range] | None,
) -> tuple[dict[str, Any], dict[str, Range]]:
    """Starting values of all hyperparameters, and the ranges of those that evolve.

    Raises:
        ValueError: an unknown name, a value outside its range, a range outside its limits.
        TypeError: a value of the wrong type, or something that is no range.
    """
    for option, told in (("hyperparameters", hyperparameters), ("search_space", search_space)):
        if not (told is None or isinstance(told, Mapping)):
            raise TypeError(f"{option} is {told!r}; a dict by name is expected.")
    known = algorithm.hyperparameters
    given = dict(hyperparameters or {})
    for name in [*given, *(search_space or {})]:
        if name not in known:
            if name in OTHER_NAMES:  # the nearest spelling would be another thing
                raise ValueError(
                    f"Unknown hyperparameter of {algorithm.name} {name!r}: evolab calls it {OTHER_NAMES[name]}. "
                    f"Known: {', '.join(known)}."
                )
            raise checks.unknown(f"hyperparameter of {algorithm.name}", name, known)
    if search_space is None:
        ranges = {
            name: h.search
            for name, h in known.items()
            if h.search is not None and _inside(h.search, given.get(name))
        }
    else:
        ranges = dict(search_space)
    for name, space in ranges.items():
        _check_range(name, space, known[name].limits)
        ranges[name] = known[name].fitted(space)
    values = {}
    for name, hyperparameter in known.items():
        value = hyperparameter.limits.check(name, given.get(name, hyperparameter.default))
        if name in ranges and name in given:
            value = ranges[name].check(name, value)
        elif name in ranges:
            value = _nearest_inside(ranges[name], value)
        values[name] = value
    return values, ranges


def _inside(space: Range, value: object) -> bool:
    """False where the user's own starting value leaves a default range, which then does not apply."""
    if value is None or isinstance(space, Choice):
        return True
    return isinstance(value, (int, float)) and space.low <= value <= space.high


def _nearest_inside(space: Range, value: float) -> Any:
    if isinstance(space, Choice):
        return min(space.options, key=lambda option: abs(option - value))
    return type(value)(min(max(value, space.low), space.high))


def _check_range(name: str, space: object, limits: Range) -> None:
    if not isinstance(space, (Float, Integer, Choice)):
        raise TypeError(
            f"search_space[{name!r}] is {space!r}; ev.Float, ev.Integer or ev.Choice is expected."
        )
    if isinstance(limits, Integer) and isinstance(space, Float):
        raise TypeError(f"search_space[{name!r}] is a Float, but {name} is a whole number. Use ev.Integer.")
    ends = space.options if isinstance(space, Choice) else (space.low, space.high)
    for end in ends:
        limits.check(name, end)
