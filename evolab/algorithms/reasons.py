"""What evolves by default, over which range, and why: the default search spaces, with their reasons.

Three rules decide. A hyperparameter evolves where no one value suits every task or every moment of
a run, and where a child that has it changed is still the agent that its parent was: learning rates, batch sizes,
exploration, weights between two terms of a loss. It stays where a change would make what was
learned wrong at once (a discount is part of what a value means) or only trade speed for patience
(a slower target). Ranges are logarithmic where an effect goes by factors, and as wide as values
that have worked somewhere, so that a random draw from them is no waste.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolab.algorithms.base import Algorithm
from evolab.algorithms.search_space import algorithm_named
from evolab.core.ranges import Choice, Range

if TYPE_CHECKING:
    from pandas import DataFrame

_RATE = "the best one depends on reward scale and network size and falls as learning goes on; by factors"
_MEANING = "part of what values mean: under another one everything learned is wrong at once"

REASONS: dict[str, str] = {
    "lr": _RATE,
    "lr_actor": _RATE,
    "lr_critic": _RATE,
    "lr_value": _RATE,
    "lr_temperature": "the temperature finds its own level; how fast hardly matters",
    "discount": "how far ahead is worth looking depends on the task; data that are there already decide it too, so "
    "algorithms that learn from data keep theirs",
    "tau": "trades speed for stability; with many updates a transition a faster one is ahead where rewards are rare",
    "batch_size": "less noise against more time per update; the upper end is what an update still affords",
    "learn_step": "evolution would always choose 1: more updates per step cost time, not fitness",
    "policy_delay": "a delay beyond a few updates only slows the policy down",
    "exploration_noise": "decides which optimum is found: 0.5 solves what 0.1 never leaves, and less suits the end",
    "persistence": "how far away the first reward is decides it, which is not known beforehand; by factors",
    "target_noise": "smooths over the same distance as the critic generalises; 0.2 has held everywhere",
    "noise_clip": "only bounds the smoothing",
    "entropy_per_action": _MEANING + ", and the temperature has to find its level again",
    "epsilon_start": "a schedule that is over early; newborn agents are past it",
    "epsilon_end": "a schedule that is over early; set it for the task",
    "epsilon_steps": "a schedule that is over early; newborn agents are past it",
    "cql_alpha": "weighs a term in units of reward against one in their square, so it depends on the data",
    "bc_alpha": "how far the data may be left depends on how good they are: 0.5 clones, 20 nearly trusts the critic",
    "gae_lambda": "bias against variance of advantages; it depends on how good the value network has become",
    "clip": "how far one rollout may be trusted; smaller steps suit the end of a run",
    "entropy_coefficient": "exploration wanted at first and in the way at last, in units of the rewards",
    "value_coefficient": "only weighs one loss against another inside the clipped norm",
    "max_grad_norm": "a safety belt",
    "epochs": "evolution would always choose more: passes cost time, not fitness",
    "expectile": _MEANING,
    "cql_weight": "how hard values are held to the data depends on how good the data are",
    "awac_weight": "0 leaves the policy a clone, which decoding then steers",
    "monte_carlo": "how far the data's own returns may be trusted depends on the policy that made them",
    "beta": "only decoding uses it; no weight has to change with it",
    "support": "a further limit beside beta, which already says how far the policy may be left",
}
"""Why each hyperparameter evolves by default, or does not."""


def search_space(algorithm: str | Algorithm) -> DataFrame:
    """The hyperparameters of an algorithm, its default search space, and the reasons for it.

    Args:
        algorithm: a name such as "TD3", or an object.

    Returns:
        Columns name, default, range (text; empty where it does not evolve by default), limits, text
        and reason, one row each; those that evolve come first.

    Raises:
        ValueError: no such algorithm.
    """
    import pandas

    known = algorithm_named(algorithm).hyperparameters
    rows = [
        {
            "name": name,
            "default": one.default,
            "range": _text(one.search),
            "limits": _text(one.limits),
            "text": one.text,
            "reason": REASONS.get(name, ""),
        }
        for name, one in sorted(known.items(), key=lambda item: item[1].search is None)
    ]
    return pandas.DataFrame(rows)


def _text(space: Range | None) -> str:
    if space is None:
        return ""
    if isinstance(space, Choice):
        return ", ".join(f"{option:g}" for option in space.options)
    return f"{space.low:g} to {space.high:g}{', by factors' if space.log else ''}"
