"""One run of `parity.py`, in a process of its own: a library on a task with a seed. Prints the run as one JSON line."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
import zlib
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import parity_offline
from hpo_referee import Policy, play
from parity_tasks import BUFFER, NETWORKS, ROLLOUT, SETTINGS, TASKS, THEIRS, Task

EPISODES = 10


class Marks:
    """Plays greedy episodes of fresh environments at the marks; their steps and their time count apart.

    Args:
        task: whose marks they are.
        seed: of the run; the episodes at a mark begin alike in both libraries.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed = task, seed
        self.returns: dict[int, list[float]] = {}
        self.apart = 0.0

    def due(self, steps: int) -> bool:
        """True where a mark has come and was not played."""
        return steps in self.task.steps and steps not in self.returns

    def __call__(self, steps: int, policy: Policy) -> None:
        """Play, where a mark is due."""
        if not self.due(steps):
            return
        began = time.process_time()
        seed = np.random.SeedSequence([zlib.crc32(self.task.name.encode()), self.seed, steps])
        self.returns[steps] = [round(value, 3) for value in play(self.task.name, policy, EPISODES, seed)]
        self.apart += time.process_time() - began


def evolab(task: Task, seed: int, marks: Marks) -> dict[str, Any]:
    """One agent that does not evolve, with all that evolab does by itself switched off; gives the versions."""
    import torch

    import evolab as ev

    torch.set_num_threads(1)
    settings, (hidden, activation) = dict(SETTINGS[task.algorithm]), NETWORKS[task.algorithm]
    rate = settings.pop("lr")
    rates = {"SAC": ("lr_actor", "lr_critic", "lr_temperature"), "TD3": ("lr_actor", "lr_critic")}
    settings |= dict.fromkeys(rates.get(task.algorithm, ("lr",)), rate)
    algorithm: Any = task.algorithm
    if task.algorithm == "DQN":
        algorithm = ev.DQN(double=False, huber=1.0)
    elif task.algorithm == "PPO":
        space = gymnasium.make(task.name).action_space
        if isinstance(space, gymnasium.spaces.Box):  # a deviation of 1 in the environment's units
            algorithm = ev.PPO(start_spread=1 / float(space.high[0]))
    exp = ev.Experiment(
        task.name,
        algorithm,
        population=1,
        num_envs=1,
        network=ev.MLP(hidden, activation=activation),
        hyperparameters=settings,
        search_space={},
        draw=False,
        normalise=(),
        evolving=False,
        revive=False,
        fitness="return",  # one step of one episode: the marks are what is measured
        eval_episodes=1,
        eval_steps=1,
        update_ratio=1,
        steps_per_generation=task.every,
        buffer=ev.RolloutBuffer(ROLLOUT) if task.algorithm == "PPO" else ev.ReplayBuffer(BUFFER),
        device="cpu",
        seed=seed,
        progress=False,
    )
    if task.starts:
        exp.fill(task.starts)
    while exp.total_steps < task.steps[-1]:
        exp.step()
        agent = exp.population[0]
        marks(exp.total_steps, lambda observation, agent=agent: agent.act(observation, explore=False))
    return {"evolab": ev.__version__, "torch": torch.__version__}


def sb3(task: Task, seed: int, marks: Marks) -> dict[str, Any]:
    """The same by Stable-Baselines3; gives the versions."""
    import stable_baselines3
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise

    torch.set_num_threads(1)

    class AtMarks(BaseCallback):
        """Plays when what was collected has been learned from: before more is collected, and at the end."""

        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            marks(self.num_timesteps, lambda seen: self.model.predict(seen, deterministic=True)[0])

        _on_training_end = _on_rollout_start

    settings, (hidden, activation) = SETTINGS[task.algorithm], NETWORKS[task.algorithm]
    told = {THEIRS[name]: value for name, value in settings.items() if name in THEIRS}
    functions = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
    if task.algorithm == "PPO":
        told["n_steps"] = ROLLOUT
    else:
        told |= {"learning_starts": task.starts, "buffer_size": BUFFER}
    if task.algorithm == "DQN":
        told |= {
            "exploration_fraction": settings["epsilon_steps"] / task.steps[-1],
            "target_update_interval": settings["learn_step"],
            "max_grad_norm": 1e9,
        }
    elif task.algorithm == "TD3":
        width = gymnasium.make(task.name).action_space.shape[0]
        scale = settings["exploration_noise"] * np.ones(width)  # of actions in [-1, 1], as evolab's
        told["action_noise"] = NormalActionNoise(np.zeros(width), scale)
    elif task.algorithm == "SAC":
        del told["policy_delay"]  # 1, which is its own
    model = getattr(stable_baselines3, task.algorithm)(
        "MlpPolicy",
        task.name,
        seed=seed,
        device="cpu",
        policy_kwargs={"net_arch": hidden, "activation_fn": functions[activation]},
        **told,
    )
    model.learn(task.steps[-1], callback=AtMarks())
    return {"stable-baselines3": stable_baselines3.__version__, "torch": torch.__version__}


def main() -> None:
    """Run what the one argument asks for."""
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    wanted = json.loads(sys.argv[1])
    task = TASKS[wanted["task"]]
    tool, seed, about = wanted["tool"], wanted["seed"], {}
    if task.peer == "d3rlpy":
        data = parity_offline.recorded(task.name)
        about = {"data": parity_offline.fingerprint(data)}
        tools = {"evolab": parity_offline.evolab, "d3rlpy": parity_offline.d3rlpy}
        run = partial(tools[tool], data=data)
    else:
        run = {"evolab": evolab, "sb3": sb3}[tool]
    marks, began = Marks(task, seed), time.process_time()
    versions = run(task, seed, marks)
    if list(marks.returns) != task.steps:
        raise RuntimeError(f"played at {list(marks.returns)}; the marks are {task.steps}.")
    found = {
        "returns": marks.returns,
        "cpu_seconds": round(time.process_time() - began - marks.apart, 1),
        "versions": versions | {"gymnasium": gymnasium.__version__, "python": sys.version.split()[0]},
    }
    print(json.dumps({**wanted, **about, **found}), file=answers, flush=True)


if __name__ == "__main__":
    main()
