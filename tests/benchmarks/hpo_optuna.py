"""The Optuna arm of `hpo.py`: TPE and a median pruner over Stable-Baselines3, with the ranges of rl-baselines3-zoo.

Ranges, sampler and pruner are those of rl_zoo3/hyperparams_opt.py and exp_manager.py (DLR-RM/rl-baselines3-zoo,
commit 22e3ff2, 2026-04-23), looked up there: TPE is multivariate, no trial is pruned before a third of its
evaluations, five episodes an evaluation, `gradient_steps` follow `train_freq`, and a trial whose numbers become NaN
counts as pruned. What the ranges leave out is Stable-Baselines3's own default: the zoo would take its tuned settings
of the environment there. Differently from the zoo, which evaluates once in 100 000 steps, a trial is evaluated ten
times, so that the pruner has something to go by; five trials come before TPE and the pruner begin, as in
Optuna's own example for Stable-Baselines3 (ten in the zoo, whose searches have 500 trials).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from hpo_referee import Policy, Referee
from hpo_tasks import Task

try:
    import optuna
    import stable_baselines3
    from stable_baselines3 import DQN, SAC
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor
except ImportError as missing:
    raise ImportError(
        f"{missing}. The Optuna arm needs: pip install optuna stable-baselines3; "
        "an environment that was made for older benchmarks can be removed, and is made anew."
    ) from missing

VERSIONS = {
    "optuna": optuna.__version__,
    "stable-baselines3": stable_baselines3.__version__,
    "torch": torch.__version__,
    "gymnasium": gymnasium.__version__,
}
FRACTIONS = {"optuna-quarter": 0.25, "optuna-whole": 1.0}
EVALUATIONS, EPISODES, STARTUP = 10, 5, 5
NETWORKS = {"small": [64, 64], "medium": [256, 256], "big": [400, 300]}


def drawn(trial: optuna.Trial, discrete: bool) -> dict[str, Any]:
    """Arguments of DQN or SAC, drawn from the zoo's ranges."""
    train_freq = trial.suggest_int("train_freq", 1, 10)
    found: dict[str, Any] = {
        "gamma": 1 - trial.suggest_float("one_minus_gamma", 1e-4, 0.03, log=True),
        "batch_size": 2 ** trial.suggest_int("batch_size_pow", 2, 11),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 2e-3, log=True),
        "train_freq": train_freq,
        "gradient_steps": train_freq,
        "policy_kwargs": {"net_arch": NETWORKS[trial.suggest_categorical("net_arch", list(NETWORKS))]},
    }
    if not discrete:
        return found | {"tau": trial.suggest_float("tau", 1e-3, 0.08, log=True)}
    subsample = trial.suggest_int("subsample_steps", 1, min(train_freq, 8))
    return found | {
        "gradient_steps": max(train_freq // subsample, 1),
        "exploration_final_eps": trial.suggest_float("exploration_final_eps", 0.0, 0.2),
        "exploration_fraction": trial.suggest_float("exploration_fraction", 0.0, 0.5),
        "target_update_interval": trial.suggest_int("target_update_interval", 1, 20_000, log=True),
    }


class Reported(BaseCallback):
    """Evaluates a trial ten times, offers its policy each time, and ends it where the pruner says so."""

    def __init__(
        self, trial: optuna.Trial, every: int, env: gymnasium.Env, offer: Callable[..., None]
    ) -> None:
        super().__init__()
        self._trial, self._every, self._env, self._offer = trial, every, env, offer
        self.count, self.mean, self.pruned = 0, float("-inf"), False

    def _on_step(self) -> bool:
        if self.n_calls % self._every:
            return True
        mean, _ = evaluate_policy(self.model, self._env, n_eval_episodes=EPISODES, deterministic=True)
        self.mean, self.count = float(mean), self.count + 1
        self._offer(partial(frozen, self.model.policy), self.mean)
        self._trial.report(self.mean, self.count)
        self.pruned = self._trial.should_prune()
        return not self.pruned


def frozen(policy: Any) -> Policy:
    """A copy that plays greedily and learns no more."""
    twin = copy.deepcopy(policy)
    twin.set_training_mode(False)
    return lambda observation: twin.predict(observation, deterministic=True)[0]


def run(arm: str, task: Task, seed: int, referee: Referee) -> None:
    """Trial after trial, until the run is over."""
    length = round(FRACTIONS[arm] * referee.budget)
    env = Monitor(gymnasium.make(task.name))
    env.reset(seed=seed)  # evaluation goes on from here
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    seeds = np.random.SeedSequence(seed)
    referee.said = {"algorithm": "DQN" if discrete else "SAC", "steps_of_a_trial": length}

    def objective(trial: optuna.Trial) -> float:
        trial_seed = int(seeds.spawn(1)[0].generate_state(1)[0] >> 1)
        settings = drawn(trial, discrete)
        reported = Reported(trial, max(1, length // EVALUATIONS), env, referee.offer)
        try:
            model = (DQN if discrete else SAC)(
                "MlpPolicy", task.name, seed=trial_seed, device="cpu", **settings
            )
            model.learn(length, callback=reported)
        except (AssertionError, ValueError) as error:  # NaN, which large learning rates bring
            raise optuna.TrialPruned from error
        referee.said["trials"] = trial.number + 1
        if reported.pruned:
            raise optuna.TrialPruned
        return reported.mean

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=True, seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=EVALUATIONS // 3),
    )
    study.optimize(objective)
