"""The runs of `parity.py` that learn from recorded data: evolab and d3rlpy, on the same file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from parity_tasks import NETWORKS, SETTINGS, Task

STEPS = 20_000
NARROW = math.exp(-1.5)  # of IQL's policy at first, by d3rlpy's default

Marks = Callable[[int, Callable[[np.ndarray], np.ndarray]], None]
Arrays = dict[str, np.ndarray]


def swing(seen: np.ndarray) -> np.ndarray:
    """Pendulum: energy is pumped in until it stands, then it is held."""
    angle, speed = math.atan2(seen[1], seen[0]), float(seen[2])
    lacking = 15 * (1 - seen[0]) - speed**2 / 2
    push = -12 * angle - 3 * speed if seen[0] > 0.9 else lacking * (1 if speed >= 0 else -1)
    return np.array([np.clip(push, -2, 2)], np.float32)


def balance(seen: np.ndarray) -> int:
    """CartPole: push to where the pole falls."""
    return int(seen @ np.array([0.1, 0.25, 1.0, 0.5]) > 0)


CONTROLLERS: dict[str, Callable[[np.ndarray], Any]] = {"Pendulum-v1": swing, "CartPole-v1": balance}


def recorded(name: str, steps: int = STEPS) -> Arrays:
    """Episodes of all kinds: each takes the controller's action in a share of its steps, from 0 to 1, else a random one."""
    env, stream, rows = gymnasium.make(name), np.random.default_rng(0), list[tuple[Any, ...]]()
    env.action_space.seed(0)
    seen, _ = env.reset(seed=0)
    share = stream.random()
    for step in range(steps):
        action = CONTROLLERS[name](seen) if stream.random() < share else env.action_space.sample()
        following, reward, over, cut, _ = env.step(action)
        cut = cut or (step == steps - 1 and not over)
        rows.append((seen, action, reward, following, over, cut))
        seen = following
        if over or cut:
            (seen, _), share = env.reset(), stream.random()
    names = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
    return {name: np.asarray(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def fingerprint(data: Arrays) -> str:
    """Whether two runs have learned from the same."""
    return hashlib.sha256(b"".join(column.tobytes() for column in data.values())).hexdigest()[:12]


def population(task: Task, data: Arrays, agents: int, seed: int, **other: Any) -> tuple[Any, Any]:
    """Agents of evolab's, and the buffer that they learn from; `other` settings than the task's."""
    import evolab as ev
    from evolab.data.buffers.offline import buffer_from

    env, settings = gymnasium.make(task.name), SETTINGS[task.algorithm] | other
    rate = settings.pop("lr")
    names = {"IQL": ("lr_actor", "lr_critic", "lr_value"), "TD3BC": ("lr_actor", "lr_critic")}
    settings |= dict.fromkeys(names.get(task.algorithm, ("lr",)), rate)
    algorithms = {"IQL": ev.IQL(start_spread=NARROW), "CQN": ev.CQN(huber=1.0), "TD3BC": ev.TD3BC()}
    algorithms["BCQ"] = ev.BCQ(huber=1.0, penalty=0.5)
    buffer, found = buffer_from(ev.Dataset(data, action_space=env.action_space))
    hidden, activation = NETWORKS[task.algorithm]
    made = ev.Population(
        algorithms[task.algorithm],
        *found,
        agents,
        network=ev.MLP(hidden, activation=activation),
        hyperparameters=settings,
        search_space={},
        device="cpu",
        seed=seed,
    )
    return made, buffer


def evolab(task: Task, seed: int, marks: Marks, data: Arrays) -> dict[str, Any]:
    """One agent from the data; gives the versions."""
    import torch

    import evolab as ev

    torch.set_num_threads(1)
    agents, buffer = population(task, data, 1, seed)
    for steps in task.steps:
        agents.learn(buffer, updates=task.every)
        marks(steps, lambda seen: np.asarray(agents[0].act(seen, explore=False)))
    return {"evolab": ev.__version__, "torch": torch.__version__}


def peer_of(task: Task, data: Arrays, seed: int, **other: Any) -> tuple[Any, Callable[[], Any]]:
    """d3rlpy's algorithm, and what draws a batch for an update of it; `other` settings than the task's."""
    import d3rlpy as peer
    from d3rlpy.models.encoders import VectorEncoderFactory
    from d3rlpy.preprocessing import MinMaxActionScaler
    from d3rlpy.torch_utility import soft_sync

    peer.seed(seed)
    settings = SETTINGS[task.algorithm] | other
    hidden, activation = NETWORKS[task.algorithm]
    encoder = VectorEncoderFactory(list(hidden), activation=activation)
    told: dict[str, Any] = {"batch_size": settings["batch_size"], "gamma": settings["discount"]}
    space = gymnasium.make(task.name).action_space
    if task.algorithm == "BCQ":
        config = peer.algos.DiscreteBCQConfig(
            learning_rate=settings["lr"],
            action_flexibility=settings["threshold"],
            beta=0.5,
            share_encoder=True,
            encoder_factory=encoder,
            target_update_interval=1,
            **told,
        )
    elif task.algorithm == "CQN":
        config = peer.algos.DiscreteCQLConfig(
            learning_rate=settings["lr"],
            alpha=settings["cql_alpha"],
            encoder_factory=encoder,
            target_update_interval=1,
            **told,
        )
    else:
        told |= {
            "actor_learning_rate": settings["lr"],
            "critic_learning_rate": settings["lr"],
            "tau": settings["tau"],
            "actor_encoder_factory": encoder,
            "critic_encoder_factory": encoder,
            "action_scaler": MinMaxActionScaler(space.low, space.high),
        }
        if task.algorithm == "IQL":
            config = peer.algos.IQLConfig(
                value_encoder_factory=encoder,
                expectile=settings["expectile"],
                weight_temp=settings["advantage_weight"],
                **told,
            )
        else:
            config = peer.algos.TD3PlusBCConfig(
                alpha=settings["bc_alpha"],
                update_actor_interval=settings["policy_delay"],
                target_smoothing_sigma=settings["target_noise"],
                target_smoothing_clip=settings["noise_clip"],
                **told,
            )
    columns = [data[name] for name in ("observations", "actions", "rewards")]
    flags = [data[name].astype(np.float32) for name in ("terminals", "timeouts")]
    dataset = peer.dataset.MDPDataset(*columns, *flags)
    algorithm = config.create(device="cpu")
    algorithm.build_with_dataset(dataset)
    if task.algorithm in ("CQN", "BCQ"):  # it copies at intervals; here the target follows, as evolab's does
        modules = algorithm.impl._modules
        algorithm.impl.update_target = lambda: soft_sync(
            modules.targ_q_funcs, modules.q_funcs, settings["tau"]
        )
    return algorithm, lambda: dataset.sample_transition_batch(settings["batch_size"])


def d3rlpy(task: Task, seed: int, marks: Marks, data: Arrays) -> dict[str, Any]:
    """The same by d3rlpy; gives the versions."""
    import d3rlpy as peer
    import torch

    torch.set_num_threads(1)
    algorithm, draw = peer_of(task, data, seed)
    for update in range(1, task.steps[-1] + 1):
        algorithm.update(draw())
        marks(update, lambda seen: algorithm.predict(seen.astype(np.float32)))
    return {"d3rlpy": peer.__version__, "torch": torch.__version__}
