"""The tasks of `hpo.py`: targets, budgets, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

MARKS = (0.1, 0.3, 1.0)
"""Fractions of the budget at which the policy in hand is measured."""


@dataclass(frozen=True)
class Task:
    """An environment, and what is asked of it.

    Attributes:
        name: the environment's id.
        target: mean return over 100 fresh episodes that counts as solved.
        budget: environment steps of all kinds that one run may take; about three times `tuned`.
        random: mean return of uniformly random actions over 100 episodes (measured): 0 of the normalised return.
        tuned: steps to the first evaluation at the target of a tuned single run of Stable-Baselines3, the best
            algorithm of the same kind (value-based, or off-policy actor-critic), in the public evaluation
            logs of rl-trained-agents; one seed, mostly one evaluation every 10 000 steps; None where there is none.
        costly: a step costs a hundred times as much as on the others: fewer seeds, and two hours at the most.
        mujoco: needs the `mujoco` package.
    """

    name: str
    target: float
    budget: int
    random: float
    tuned: int | None
    costly: bool = False
    mujoco: bool = False

    def normalised(self, mean: float | None) -> float:
        """0 for random actions (and where there was no policy yet), 1 at the target and above."""
        if mean is None:
            return 0.0
        return min(1.0, max(0.0, (mean - self.random) / (self.target - self.random)))


TASKS = {
    task.name: task
    for task in (
        Task("CartPole-v1", 475, 100_000, 23.7, 30_000),
        Task("Acrobot-v1", -100, 100_000, -497.1, 20_000),
        Task("MountainCar-v0", -110, 300_000, -200.0, 100_000),
        Task("MountainCarContinuous-v0", 90, 100_000, -33.3, 20_000),
        Task("Pendulum-v1", -200, 40_000, -1207.6, 10_000),
        Task("LunarLander-v3", 200, 300_000, -192.0, 80_000),
        Task("LunarLanderContinuous-v3", 200, 200_000, -212.7, 50_000),
        Task("BipedalWalker-v3", 250, 500_000, -102.8, 170_000, costly=True),
        Task("InvertedPendulum-v5", 950, 100_000, 5.2, None, costly=True, mujoco=True),
        Task("Hopper-v5", 2_000, 500_000, 16.7, 150_000, costly=True, mujoco=True),
        Task("HalfCheetah-v5", 4_000, 300_000, -282.5, 80_000, costly=True, mujoco=True),
    )
}

ARMS = ("evolab", "no-mutation", "no-evolution", "random", "optuna-quarter", "optuna-whole", "agilerl")
OWN = ARMS[:4]
"""Arms that are evolab itself, and run in its own environment."""

GROUPS = {"optuna": ("optuna-quarter", "optuna-whole")}
"""Arms of which the better one counts, seed by seed; `--arms` takes the group's name for all of them."""

REACH = 10
"""Budgets that Optuna may spend in total: its trials take a quarter of one, or one."""


def seeds_of(task: Task, arm: str) -> list[int]:
    """Seeds of an arm where nobody says others."""
    own = arm in OWN
    count = (3 if own else 1) if task.costly else (10 if own else 5)
    return list(range(1, count + 1))


def minutes_of(task: Task) -> float | None:
    """CPU minutes after which a run ends where nobody says otherwise."""
    return 120.0 if task.costly else None
