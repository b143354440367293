"""The loops that `peers.py` compares: one tool a process, which works when it is asked and is silent otherwise.

Each line that comes in is a JSON object with `what`; each line that goes out answers one. Imports, populations
and a warm-up stay outside the time that is taken; so do evaluation and the resets that begin a generation. Time is
CPU time of the process, in which the environments step too: on a quiet machine the same as wall time, and on a busy
one still a measure of the tool.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

LANDER = "LunarLanderContinuous-v3"
ENVS, BATCH, FILLED, STORED = 8, 128, 2_048, 20_000
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
CLOCK = time.process_time if THREADS == 1 else time.perf_counter  # a busy machine lengthens only the second
# AgileRL's tutorials: two layers in the encoder and two in the head, with a latent layer between them.
TUTORIAL = {"encoder_config": {"hidden_size": [64, 64]}, "head_config": {"hidden_size": [64, 64]}}
OFFLINE = {"encoder_config": {"hidden_size": [32, 32]}}


class Stopwatch:
    """CPU seconds of training: from the end of each reset to the next reset, or to the evaluation."""

    def __init__(self) -> None:
        self.training = 0.0
        self.since: float | None = None

    def stop(self) -> None:
        """Training pauses, if it went on."""
        if self.since is not None:
            self.training += CLOCK() - self.since
        self.since = None

    def around(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        """`reset`, after which training goes on."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.stop()
            found = reset(*args, **kwargs)
            self.since = CLOCK()
            return found

        return timed

    def before(self, test: Callable[..., Any]) -> Callable[..., Any]:
        """`test`, before which training ends."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.stop()
            found = test(*args, **kwargs)
            self.since = None  # evaluation resets the environments too
            return found

        return timed


class Evolab:
    """Experiments of TD3, one for each number of agents and network."""

    def __init__(self) -> None:
        import torch

        import evolab
        from evolab.training.loop import train

        torch.set_num_threads(THREADS)
        self.ev, self.train, self.made = evolab, train, {}
        self.version = evolab.__version__

    def loop(self, agents: int, vector_steps: int, hidden: list[int] | None = None) -> float:
        """Environment steps per second; `hidden` with LayerNorm, or evolab's own default network."""
        key = agents, tuple(hidden or ())
        steps = vector_steps * ENVS
        if key not in self.made:
            experiment = self.made[key] = self.ev.Experiment(
                LANDER,
                "TD3",
                population=agents,
                num_envs=ENVS,
                network=self.ev.MLP(hidden, layer_norm=True) if hidden else None,
                hyperparameters={"batch_size": BATCH, "learn_step": 1},
                update_ratio=1
                / agents,  # it counts the transitions of all: one for each step of an agent's own
                steps_per_generation=steps,
                eval_steps=1,
                evolving=False,
                seed=1,
            )
            experiment.fill(FILLED)
        experiment = self.made[key]
        experiment._state.change(steps_per_generation=steps)
        watch, environments = Stopwatch(), experiment._state.envs
        reset = environments.reset
        environments.reset = watch.around(reset)
        try:
            for event in self.train(experiment._state, generations=1):
                if getattr(event, "phase", "") == "train" and event.done >= event.total:
                    watch.stop()
        finally:
            environments.reset = reset
        return agents * steps / watch.training

    def offline(self, updates: int, hidden: list[int] | None = None) -> float:
        """Seconds of so many CQN updates of four agents; `hidden` with LayerNorm, or two layers of 32."""
        from types import SimpleNamespace

        import numpy as np
        from gymnasium.spaces import Box, Discrete

        network = self.ev.MLP(hidden, layer_norm=True) if hidden else self.ev.MLP([32, 32])
        spaces = Box(-5, 5, (4,)), Discrete(2)
        settings = {"batch_size": BATCH}
        population = self.ev.Population(
            "CQN", *spaces, 4, network=network, hyperparameters=settings, seed=1, device="cpu"
        )
        buffer, rng = self.ev.ReplayBuffer(STORED), np.random.default_rng(1)
        buffer.add(
            SimpleNamespace(
                observation=rng.normal(size=(STORED, 4)).astype("f"),
                action=rng.integers(0, 2, STORED),
                reward=np.ones(STORED, "f"),
                next_observation=rng.normal(size=(STORED, 4)).astype("f"),
                terminated=rng.random(STORED) < 0.05,
                valid=None,
            )
        )
        population.learn(buffer, updates=50)
        started = CLOCK()
        population.learn(buffer, updates=updates)
        return CLOCK() - started


class AgileRL:
    """Populations as the tutorial makes them, trained by `train_off_policy`.

    The environments step in this process (the tutorial's eight processes are slower on few cores).
    """

    def __init__(self) -> None:
        import importlib.metadata

        import torch

        torch.set_num_threads(THREADS)
        self.version, self.made = importlib.metadata.version("agilerl"), {}

    def _population(self, agents: int) -> tuple[list[Any], Any]:
        from agilerl.algorithms import TD3
        from agilerl.components.replay_buffer import ReplayBuffer
        from agilerl.utils.utils import make_vect_envs

        if agents not in self.made:
            envs = make_vect_envs(LANDER, num_envs=ENVS, should_async_vector=False)
            spaces = envs.single_observation_space, envs.single_action_space
            envs.close()
            population = [
                TD3(
                    *spaces,
                    index=index,
                    net_config=json.loads(json.dumps(TUTORIAL)),
                    vect_noise_dim=ENVS,
                    batch_size=BATCH,
                    learn_step=1,
                )
                for index in range(agents)
            ]
            self.made[agents] = population, ReplayBuffer(max_size=100_000)
            self._train(agents, -(-FILLED // agents // ENVS), delay=10**9)
        return self.made[agents]

    def _train(self, agents: int, vector_steps: int, delay: int = 0) -> float:
        from agilerl.training.train_off_policy import train_off_policy
        from agilerl.utils.utils import make_vect_envs

        population, memory = self.made[agents]
        envs, watch = make_vect_envs(LANDER, num_envs=ENVS, should_async_vector=False), Stopwatch()
        envs.reset = watch.around(envs.reset)
        tests = [agent.test for agent in population]
        for agent in population:
            agent.test = watch.before(agent.test)
        try:
            train_off_policy(
                envs,
                LANDER,
                "TD3",
                population,
                memory,
                max_steps=int(population[0].metrics.steps) + 1,
                evo_steps=vector_steps * ENVS,
                eval_steps=1,
                learning_delay=delay,
                verbose=False,
            )
        finally:
            for agent, test in zip(population, tests, strict=True):
                agent.test = test
        return agents * vector_steps * ENVS / watch.training

    def loop(self, agents: int, vector_steps: int) -> float:
        """Environment steps per second."""
        self._population(agents)
        return self._train(agents, vector_steps)

    def architecture(self) -> dict[str, Any]:
        """Hidden widths of the tutorials' networks, and how many of these layers are normalised."""
        from agilerl.algorithms import CQN
        from gymnasium.spaces import Box, Discrete

        population, _ = self._population(4)
        offline = CQN(Box(-5, 5, (4,)), Discrete(2), net_config=json.loads(json.dumps(OFFLINE)))
        found = {}
        for name, actor in (("TD3", population[0].actor), ("CQN", offline.actor)):
            kinds = [(type(module).__name__, module) for module in actor.modules()]
            widths = [module.out_features for kind, module in kinds if kind == "Linear"]
            normalised = sum(kind == "LayerNorm" for kind, _ in kinds)
            found[name] = {"hidden": widths[:-1], "normalised": normalised}
        return found

    def offline(self, updates: int) -> float:
        """Seconds of so many CQN updates of one agent, samples included."""
        import numpy as np
        from agilerl.algorithms import CQN
        from agilerl.components.data import Transition, transition_to_tensordict
        from agilerl.components.replay_buffer import ReplayBuffer
        from agilerl.components.sampler import Sampler
        from gymnasium.spaces import Box, Discrete

        config = json.loads(json.dumps(OFFLINE))
        agent = CQN(Box(-5, 5, (4,)), Discrete(2), net_config=config, batch_size=BATCH, double=True)
        memory, rng = ReplayBuffer(max_size=STORED), np.random.default_rng(1)
        rows = transition_to_tensordict(
            Transition(
                obs=rng.normal(size=(STORED, 4)).astype("f"),
                action=rng.integers(0, 2, (STORED, 1)),
                reward=np.ones(STORED, "f"),
                next_obs=rng.normal(size=(STORED, 4)).astype("f"),
                done=(rng.random(STORED) < 0.05).astype("f"),
            )
        )
        rows.batch_size = [STORED]
        memory.add(rows)
        sampler = Sampler(memory=memory)
        for count in (10, updates):
            started = CLOCK()
            for _ in range(count):
                agent.learn(sampler.sample(BATCH))
        return CLOCK() - started


class StableBaselines3:
    """TD3, one agent: a population of P of them takes P times as long for P times as many steps."""

    def __init__(self) -> None:
        import stable_baselines3
        import torch

        torch.set_num_threads(THREADS)
        self.version, self.made = stable_baselines3.__version__, {}

    def loop(self, vector_steps: int, hidden: list[int] | None = None) -> float:
        """Environment steps per second; `hidden` (no LayerNorm) and batch 128, or TD3's own defaults."""
        import numpy as np
        from stable_baselines3 import TD3
        from stable_baselines3.common.env_util import make_vec_env
        from stable_baselines3.common.noise import NormalActionNoise

        key = tuple(hidden or ())
        count = ENVS if hidden else 1
        if key not in self.made:
            envs = make_vec_env(LANDER, n_envs=count, seed=1)
            noise = NormalActionNoise(np.zeros(2), 0.1 * np.ones(2))
            same = {"batch_size": BATCH, "policy_kwargs": {"net_arch": hidden}} if hidden else {}
            agent = self.made[key] = TD3(
                "MlpPolicy",
                envs,
                action_noise=noise,
                train_freq=1,
                gradient_steps=-1,
                learning_starts=256,
                seed=1,
                device="cpu",
                **same,
            )
            agent.learn(300)
        agent = self.made[key]
        before, started = agent.num_timesteps, CLOCK()
        agent.learn(vector_steps * ENVS, reset_num_timesteps=False)
        return (agent.num_timesteps - before) / (CLOCK() - started)


def main() -> None:
    """Answer line by line, until there is none."""
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    tool = {"evolab": Evolab, "agilerl": AgileRL, "sb3": StableBaselines3}[sys.argv[1]]()
    print(json.dumps(tool.version), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        found = getattr(tool, request.pop("what"))(**request)
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
