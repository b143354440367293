"""What evolves by default, over which range, and why: the default search spaces, with their reasons.

A hyperparameter evolves where no one value suits every task or every moment of a run: learning rates,
batch sizes, exploration, weights between two terms of a loss. It does not evolve where the best value would
always be the most expensive one, or where a change would make everything wrong that was learned. Ranges are
logarithmic where effects go by factors, and as wide as values that have worked somewhere, so that a random
draw is rarely useless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolab.algorithms.base import Algorithm
from evolab.algorithms.search_space import algorithm_named
from evolab.core.ranges import Choice, Range

if TYPE_CHECKING:
    from pandas import DataFrame

_RATE = "the best value depends on the scale of rewards and the size of the network, and falls during a run"
_MEANING = "it is part of the definition of a value: a change makes everything wrong that was learned"

REASONS: dict[str, str] = {
    "lr": _RATE,
    "lr_actor": _RATE,
    "lr_critic": _RATE,
    "lr_value": _RATE,
    "lr_temperature": "the temperature adapts by itself; how fast has little effect",
    "discount": "how far ahead an agent should look depends on the task; algorithms that learn from data alone keep "
    "their default, as the data limit it too",
    "tau": "speed against stability; with many updates per transition faster targets help where rewards are rare",
    "batch_size": "larger batches have less noise and cost more time; the upper end is the largest affordable one",
    "n_step": "several rewards speed up what is learned of rare ones, and are those of older policies; from 1 to 5 "
    "it evolves where no algorithm is named, and one that is named keeps its authors' 1",
    "hindsight": "it means something in environments with goals alone; there 4 of 5 samples is what its authors found",
    "priority": "a large error may be noise as well as news: how far to follow it depends on the task, and was not measured "
    "yet",
    "importance": "it acts with priorities alone; its authors let it rise to 1 over a run, whose end is not known here",
    "dropped": "critics overestimate more in some tasks than in others: too few dropped quantiles keep that, too many "
    "hide what is good",
    "weight_noise": "it acts with noisy layers alone, whose noise is learned: 1 is what its authors have",
    "learn_step": "evolution would always choose 1: more updates cost time, not fitness",
    "policy_delay": "more than a few updates only slow the policy down",
    "exploration_noise": "it decides which solution is found: more noise leaves poor ones, less suits the end of a run",
    "persistence": "it depends on how many steps away the first reward is, which is not known beforehand",
    "target_noise": "it should match how far the critic generalises; 0.2 has worked everywhere",
    "noise_clip": "it only limits the target noise",
    "entropy_per_action": _MEANING + ", and the temperature has to adapt again",
    "epsilon_start": "it belongs to a schedule that ends early; children are born after it",
    "epsilon_end": "it belongs to a schedule that ends early; set it for the task",
    "epsilon_steps": "it belongs to a schedule that ends early; children are born after it",
    "cql_alpha": "it weighs a term in units of reward against one in their square, so it depends on the data",
    "threshold": "how far to trust values beyond what the data mostly do depends on how good the data are, and how wide",
    "advantage_weight": "it is per unit of return, so it depends on the scale of rewards, and on how good the data are",
    "bc_alpha": "it depends on how good the data are: 0.5 almost imitates them, 20 almost ignores them",
    "gae_lambda": "bias against variance of the advantages; it depends on how good the value network has become",
    "clip": "how far one rollout may change the policy; smaller changes suit the end of a run",
    "entropy_coefficient": "exploration helps at first and harms at last; in units of the rewards",
    "value_coefficient": "it only weighs one loss against another below the limit of the gradient's norm",
    "max_grad_norm": "a precaution against rare large gradients",
    "epochs": "evolution would always choose more: passes cost time, not fitness",
    "expectile": _MEANING,
    "cql_weight": "how closely values should follow the data depends on how good the data are",
    "awac_weight": "at 0 the policy is a pure imitation, which the values correct when tokens are chosen",
    "monte_carlo": "how useful the recorded returns are depends on the policy that made them",
    "beta": "it only acts when tokens are chosen, so a change needs no new training",
    "support": "a second limit beside beta, which already limits how far an agent may leave the policy",
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
