"""Updates of SAC, TD3 and PPO beside Stable-Baselines3's: 256x256, batch 256, one thread, in turns, in CPU time.

    python tests/benchmarks/peer_updates.py [--peers FOLDER] [--repeats 7] [ALGORITHM ...]

Both learn from made-up experience of HalfCheetah's spaces (17 numbers seen, 6 entries of an action), which neither
steps: what is compared is an update, what is drawn for it included. Both have two layers of 256 ReLU units, and make
as many updates of the policy: TD3 one in two, SAC one in one. PPO's update is one minibatch of 256 from a rollout of
2 048 steps with 10 passes, its share of what is computed once for a rollout included: Stable-Baselines3 estimates
values while it acts, which is left out of its time. A population of P is compared per agent.

The peer lives in a virtual environment of its own, as in `peers.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from in_turns import main

HERE = Path(__file__).parent
RESULT = HERE / "results" / "peer_updates.json"
SEEN, ACTED, HIDDEN, BATCH, STORED = 17, 6, [256, 256], 256, 5_000
STEPS, EPOCHS = 2_048, 10
ALGORITHMS = ("SAC", "TD3", "PPO")
GOALS = {1: 2.0, 4: 3.0}


def cases(algorithms: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
    """Algorithms, and how many updates make a repeat."""
    return [({"algorithm": name}, STEPS // BATCH * EPOCHS if name == "PPO" else 100) for name in algorithms]


def spaces() -> tuple[Any, Any]:
    """HalfCheetah's."""
    from gymnasium.spaces import Box

    return Box(-np.inf, np.inf, (SEEN,)), Box(-1, 1, (ACTED,))


def steps(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Transitions of nowhere."""
    stream = np.random.default_rng(1)
    return {
        "observation": stream.normal(size=(*shape, SEEN)).astype("f"),
        "action": stream.uniform(-1, 1, (*shape, ACTED)).astype("f"),
        "reward": stream.normal(size=shape).astype("f"),
        "next_observation": stream.normal(size=(*shape, SEEN)).astype("f"),
        "terminated": stream.random(shape) < 0.01,
    }


class Evolab:
    """Populations, one for each algorithm and number of agents."""

    def __init__(self) -> None:
        import torch

        import evolab

        torch.set_num_threads(1)
        self.ev, self.version = evolab, evolab.__version__
        self.made: dict[tuple[str, int], Callable[[int], int]] = {}

    def updates(self, algorithm: str, count: int, agents: int) -> float:
        """CPU seconds of an update of an agent."""
        if (algorithm, agents) not in self.made:
            settings = {"batch_size": BATCH}
            settings |= (
                {"epochs": EPOCHS} if algorithm == "PPO" else {"policy_delay": 2 - (algorithm == "SAC")}
            )
            population = self.ev.Population(
                algorithm,
                *spaces(),
                agents,
                network=self.ev.MLP(HIDDEN),
                hyperparameters=settings,
                seed=1,
                device="cpu",
            )
            make = self._rollouts if algorithm == "PPO" else self._replayed
            self.made[algorithm, agents] = make(population)
            self.made[algorithm, agents](8)
        started = time.process_time()
        made = self.made[algorithm, agents](count)
        return (time.process_time() - started) / made / agents

    def _replayed(self, population: Any) -> Callable[[int], int]:
        buffer = self.ev.ReplayBuffer(STORED)
        buffer.add(SimpleNamespace(**steps((STORED,)), valid=None))

        def learn(count: int) -> int:
            for _ in range(count):  # one by one, as in a loop that steps an environment between them
                population.learn(buffer, updates=1)
            return count

        return learn

    def _rollouts(self, population: Any) -> Callable[[int], int]:
        buffer, shape = self.ev.RolloutBuffer(STEPS), (len(population), 1)
        step = SimpleNamespace(**steps(shape), truncated=np.zeros(shape, bool), valid=np.ones(shape, bool))
        whole = steps((STEPS, *shape))
        for at in range(STEPS):
            vars(step).update({name: values[at] for name, values in whole.items()})
            buffer.add(step)

        def learn(count: int) -> int:
            made = 0
            while made < count:
                before, buffer.steps = population.individuals[0].updates, buffer.horizon
                population.learn(buffer)
                made += population.individuals[0].updates - before
            return made

        return learn


class StableBaselines3:
    """Agents, one for each algorithm."""

    def __init__(self) -> None:
        import stable_baselines3
        import torch

        torch.set_num_threads(1)
        self.version, self.made = stable_baselines3.__version__, {}

    def updates(self, algorithm: str, count: int) -> float:
        """CPU seconds of an update."""
        if algorithm not in self.made:
            self.made[algorithm] = self._agent(algorithm)
            self._train(self.made[algorithm], 8)
        started = time.process_time()
        made = self._train(self.made[algorithm], count)
        return (time.process_time() - started) / made

    def _agent(self, algorithm: str) -> Any:
        import stable_baselines3
        import torch
        from gymnasium import Env
        from stable_baselines3.common.logger import Logger

        class Nowhere(Env):
            """Only its spaces are asked for."""

            observation_space, action_space = spaces()

        nets: Any = {"pi": HIDDEN, "vf": HIDDEN} if algorithm == "PPO" else HIDDEN
        options: dict[str, Any] = (
            {"n_steps": STEPS, "n_epochs": EPOCHS} if algorithm == "PPO" else {"buffer_size": STORED}
        )
        agent = getattr(stable_baselines3, algorithm)(
            "MlpPolicy", Nowhere(), batch_size=BATCH, seed=1, device="cpu",
            policy_kwargs={"net_arch": nets, "activation_fn": torch.nn.ReLU}, **options,
        )  # fmt: skip
        agent.set_logger(Logger(None, []))
        if algorithm == "PPO":
            self._roll_out(agent)
        else:
            made = steps((STORED, 1))
            for at in range(STORED):
                one = (
                    made[name][at]
                    for name in ("observation", "next_observation", "action", "reward", "terminated")
                )
                agent.replay_buffer.add(*one, infos=[{}])
        return agent

    def _roll_out(self, agent: Any) -> None:
        import torch

        made, none = steps((STEPS, 1)), torch.zeros(1)
        for at in range(STEPS):
            begins = np.zeros(1)
            agent.rollout_buffer.add(
                made["observation"][at], made["action"][at], made["reward"][at], begins, none, none - 8.0
            )
        agent.rollout_buffer.compute_returns_and_advantage(none, np.zeros(1))

    def _train(self, agent: Any, count: int) -> int:
        if hasattr(agent, "replay_buffer"):
            for _ in range(count):
                agent.train(gradient_steps=1, batch_size=BATCH)
            return count
        before, each = agent._n_updates, STEPS // BATCH
        while agent._n_updates - before < max(1, count // each):
            agent.train()
        return (agent._n_updates - before) * each


if __name__ == "__main__":
    main({"evolab": Evolab, "sb3": StableBaselines3}, ALGORITHMS, cases, GOALS, RESULT)
