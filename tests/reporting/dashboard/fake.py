"""A made-up evolution: synthetic generations at any speed, and an experiment that makes them in a thread.

The numbers behave like a real run (fitness grows and wobbles, an elite survives,
kinds of mutation differ in what they bring) and are the same for the same seed.
"""

from __future__ import annotations

import dataclasses
import math
import random
import threading
import time
from types import SimpleNamespace
from typing import Any

from evolab.history.events import Birth, Evaluation, Generation, Progress
from evolab.history.history import History

KINDS = ("none", "architecture", "parameters", "activation", "hyperparameters")


@dataclasses.dataclass(frozen=True)
class Mutations:
    """The weights by kind, as `evolab.Mutations` has them."""

    none: float = 0.4
    architecture: float = 0.2
    parameters: float = 0.2
    activation: float = 0.2
    hyperparameters: float = 0.2
    new_layer: float = 0.2
    sd: float = 0.1
    extra: dict = dataclasses.field(default_factory=dict)

    @property
    def extra_weights(self) -> dict[str, float]:
        return {}


class Evolution:
    """Makes one synthetic generation after another."""

    def __init__(self, agents: int = 6, seed: int = 0, steps: int = 1000) -> None:
        self.random = random.Random(seed)
        self.steps, self.number, self.next_id = steps, 0, agents
        self.members = [
            {"agent": i, "parent": None, "skill": self.random.gauss(-150, 40), "steps": 0,
             "lr_actor": 1e-3, "lr_critic": 1e-3, "batch_size": 128,
             "hidden": (64, 64), "activation": ("relu", "relu")}
            for i in range(agents)
        ]  # fmt: skip

    def step(self, mutations: Mutations = Mutations()) -> Generation:
        """Train, evaluate, select, mutate."""
        self.number += 1
        evaluations = []
        for m in self.members:
            m["steps"] += self.steps
            ease = 1 - abs(math.log10(m["lr_actor"]) + 2.8) * 0.15
            m["skill"] += (290 * ease - m["skill"]) * 0.07 + self.random.gauss(0, 6)
            evaluations.append(
                Evaluation(
                    generation=self.number, agent=m["agent"], parent=m["parent"],
                    fitness=m["skill"] + self.random.gauss(0, 8), episodes=3, length=200.0 + self.number,
                    steps=m["steps"], updates=m["steps"],
                    total_steps=self.number * self.steps * len(self.members),
                    hyperparameters={n: m[n] for n in ("lr_actor", "lr_critic", "batch_size")},
                    hidden=m["hidden"], activation=m["activation"],
                    network_size=sum(8 * h for h in m["hidden"]) + 450,
                    losses={"critic": (1 + m["agent"] % 5 / 9) / self.number, "actor": -m["skill"] / 10},
                    value=m["skill"] / 4 + 60 / self.number, discounted=m["skill"] / 4,
                )
            )  # fmt: skip
        evaluations.sort(key=lambda e: -e.fitness)
        evaluations[0] = dataclasses.replace(evaluations[0], is_elite=True)
        births = self._breed(evaluations, mutations)
        weights = {k: getattr(mutations, k) for k in KINDS}
        return Generation(
            number=self.number, total_steps=evaluations[0].total_steps, evaluation_steps=self.number * 600,
            seconds={"train": 1.5, "evaluate": 0.3, "evolve": 0.01}, evaluations=tuple(evaluations),
            births=tuple(births), losses={"critic": 1.0 / self.number}, mutation_weights=weights,
        )  # fmt: skip

    def _breed(self, evaluations: list[Evaluation], mutations: Mutations) -> list[Birth]:
        by_id = {m["agent"]: m for m in self.members}
        elite = evaluations[0]
        births = [Birth(self.number, elite.agent, elite.agent, "elite", "")]
        members = [by_id[elite.agent] | {"parent": elite.agent}]
        weights = [getattr(mutations, k) for k in KINDS]
        while len(members) < len(evaluations):
            parent = max(self.random.choices(evaluations, k=2), key=lambda e: e.fitness)
            kind = self.random.choices(KINDS, weights)[0]
            child = dict(by_id[parent.agent], agent=self.next_id, parent=parent.agent)
            detail = self._mutate(child, kind)
            births.append(
                Birth(self.number, self.next_id, parent.agent, kind, detail, self.random.random() * 0.2)
            )
            members.append(child)
            self.next_id += 1
        self.members = members
        return births

    def _mutate(self, child: dict[str, Any], kind: str) -> str:
        if kind == "architecture":
            old, layer = child["hidden"], self.random.randrange(len(child["hidden"]))
            new = list(old)
            new[layer] = max(16, new[layer] + self.random.choice((-32, -16, 16, 32, 64)))
            child["hidden"] = tuple(new)
            child["skill"] += self.random.gauss(1, 6)
            return f"hidden {'x'.join(map(str, old))} -> {'x'.join(map(str, new))}"
        if kind == "parameters":
            child["skill"] += self.random.gauss(-8, 10)
            return "10% of 4 matrices, sd 0.1"
        if kind == "activation":
            new = self.random.choice(("relu", "elu", "gelu"))
            child["activation"] = (new, new)
            return f"activation -> {new}"
        if kind == "hyperparameters":
            name = self.random.choice(("lr_actor", "lr_critic", "batch_size"))
            factor = self.random.choice((1.2, 1 / 1.2))
            old = child[name]
            child[name] = max(8, round(old * factor)) if name == "batch_size" else old * factor
            child["skill"] += self.random.gauss(3, 6)
            return f"{name} {old:.3g} -> {child[name]:.3g}"
        return ""


def make_history(generations: int = 8, agents: int = 6, seed: int = 0) -> History:
    """A history of synthetic generations."""
    evolution = Evolution(agents, seed)
    return History(evolution.step() for _ in range(generations))


class FakeExperiment:
    """Everything that the dashboard reads and calls of an experiment, without any training."""

    def __init__(
        self,
        agents: int = 6,
        seed: int = 0,
        cost: float = 0.2,
        fail_at: int | None = None,
        name: str = "FakeLander-v1",
    ) -> None:
        self.evolution, self.history = Evolution(agents, seed), History()
        self.cost, self.fail_at, self.name = cost, fail_at, name
        self.algorithm, self.config = (
            SimpleNamespace(name="TD3", offline=False),
            {"env": name, "population": agents, "seed": seed},
        )
        self.kept = None
        self.target, self.mutations = 200.0, Mutations()
        self.status, self.progress, self.error, self.version = "idle", None, None, 0
        self._wanted: int | None = None
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

    @property
    def confirmed(self) -> tuple[float, None] | None:
        known = [g.confirmed for g in self.history if g.confirmed is not None]
        return (max(known), None) if known else None

    @property
    def solved(self) -> bool:
        return self.confirmed is not None and self.confirmed[0] >= self.target

    @property
    def generation(self) -> int:
        return len(self.history)

    @property
    def total_steps(self) -> int:
        return self.history.generations[-1].total_steps if len(self.history) else 0

    @property
    def evaluation_steps(self) -> int:
        return self.history.generations[-1].evaluation_steps if len(self.history) else 0

    @property
    def population(self) -> Any:
        return self.evolution.members

    def step(self) -> Generation:
        """One generation, blocking."""
        self._raise()
        self._one()
        self.status = "paused"
        return self.history.generations[-1]

    def run(self, generations: int = 1) -> None:
        """Several generations, blocking."""
        for _ in range(generations):
            self.step()

    def start(self, generations: int | None = None) -> None:
        """Train in the background."""
        self._raise()
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._halt.clear()
            self.status = "running"
            self.version += 1
            self._thread = threading.Thread(target=self._loop, args=(generations,), daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Pause within one vector step."""
        self._after = "paused"
        self._halt.set()

    def stop(self) -> None:
        """Stop within one vector step."""
        self._after = "stopped"
        self._halt.set()
        if self._thread is None or not self._thread.is_alive():
            self.status = "stopped"
            self.version += 1

    def rollout(self, episodes: int = 1, max_steps: int | None = None, agent: Any = "best") -> Any:
        """A made-up episode: a square that falls and lands."""
        import numpy as np

        from evolab.reporting.rollout import Rollout

        frames = []
        for t in range(max_steps or 90):
            frame = np.zeros((120, 200, 3), np.uint8)
            frame[100:] = (70, 70, 80)
            frame[min(96, t + 4) : min(100, t + 12), 40 + t : 52 + t] = (140, 110, 230)
            frames.append(frame)
        return Rollout(returns=[231.4], frames=frames, observations=[], fps=30)

    def _raise(self) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _loop(self, generations: int | None) -> None:
        try:
            made = 0
            while generations is None or made < generations:
                if not self._one():
                    break
                made += 1
            self.status = self._after if self._halt.is_set() else "paused"
        except Exception as error:
            self.error, self.status = error, "failed"
        self.version += 1

    def _one(self) -> bool:
        for done in range(20):
            if self._halt.is_set():
                return False
            time.sleep(self.cost / 20)
            number, steps = self.generation + 1, done * self.evolution.steps // 20
            self.progress = Progress("train", number, steps, self.evolution.steps, self.total_steps)
            self.version += 1
        if self.fail_at is not None and self.generation + 1 >= self.fail_at:
            raise RuntimeError("loss is NaN in <b>agent</b> 3 & 4")
        self.history.append(self.evolution.step(self.mutations))
        self.version += 1
        return True
