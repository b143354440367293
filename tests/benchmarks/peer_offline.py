"""Updates from recorded data beside d3rlpy's: TD3+BC, IQL, CQN and BCQ, one thread, in turns, in CPU time.

    python tests/benchmarks/peer_offline.py [--peers FOLDER] [--repeats 7] [ALGORITHM ...]

Both learn the tasks of `parity.py` from the same recorded steps by the same settings: two layers of 256 ReLU units,
batches of 256 where actions are real-valued and of 128 where they are choices, there of 32 as well, d3rlpy's own
default. What is compared is an update, what is drawn for it included. Each is asked as it learns from data: evolab for
many updates at once, d3rlpy for one batch after another. A population of P is compared for each agent.

How much of d3rlpy's time its sampling takes stands beside: it looks up every sample's step in Python.
The peer lives in a virtual environment of its own, as in `peers.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from in_turns import main
from parity_offline import peer_of, population, recorded
from parity_tasks import SETTINGS, TASKS

HERE = Path(__file__).parent
RESULT = HERE / "results" / "peer_offline.json"
COUNT = 100
GOALS = {4: 5.0}
SMALL = 32
TASK_OF = {task.algorithm: task for task in TASKS.values() if task.peer == "d3rlpy"}


def cases(algorithms: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
    """Algorithms and batch sizes, and how many updates make a repeat."""
    own = [(name, int(SETTINGS[name]["batch_size"])) for name in algorithms]
    small = [(name, SMALL) for name in algorithms if name in ("CQN", "BCQ")]
    return [({"algorithm": name, "batch": batch}, COUNT) for name, batch in own + small]


def one_thread() -> None:
    """Of torch's."""
    import torch

    torch.set_num_threads(1)


class Evolab:
    """Populations, one for each case and number of agents."""

    def __init__(self) -> None:
        import evolab

        one_thread()
        self.version = evolab.__version__
        self.made: dict[tuple[str, int, int], tuple[Any, Any]] = {}

    def updates(self, algorithm: str, batch: int, count: int, agents: int) -> float:
        """CPU seconds of an update of an agent."""
        key, task = (algorithm, batch, agents), TASK_OF[algorithm]
        if key not in self.made:
            self.made[key] = population(task, recorded(task.name), agents, 1, batch_size=batch)
        learners, buffer = self.made[key]
        return seconds(lambda: learners.learn(buffer, updates=count)) / count / agents


class D3rlpy:
    """Algorithms, one for each case."""

    def __init__(self) -> None:
        import d3rlpy

        one_thread()
        self.version = d3rlpy.__version__
        self.made: dict[tuple[str, int], tuple[Any, Callable[[], Any]]] = {}

    def updates(self, algorithm: str, batch: int, count: int) -> float:
        """CPU seconds of an update."""
        learner, draw = self._learner(algorithm, batch)
        return seconds(lambda: [learner.update(draw()) for _ in range(count)]) / count

    def sampling(self, algorithm: str, batch: int, count: int) -> float:
        """CPU seconds of drawing what an update learns from, which are among those of an update."""
        _, draw = self._learner(algorithm, batch)
        return seconds(lambda: [draw() for _ in range(count)]) / count

    def _learner(self, algorithm: str, batch: int) -> tuple[Any, Callable[[], Any]]:
        key, task = (algorithm, batch), TASK_OF[algorithm]
        if key not in self.made:
            self.made[key] = peer_of(task, recorded(task.name), 1, batch_size=batch)
        return self.made[key]


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds that it takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main({"evolab": Evolab, "d3rlpy": D3rlpy}, list(TASK_OF), cases, GOALS, RESULT, ("sampling",))
