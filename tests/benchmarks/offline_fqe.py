"""Fitted Q evaluation, measured: does it rank policies of known return, and choose well among them?

Run `python tests/benchmarks/offline_fqe.py [PART ...]`; each part writes its figures into
results/offline_fqe.json beside this file and leaves the others' alone.

cartpole, pendulum: 18 policies, at least half of them in the upper half of the range of returns, judged
from mixed-quality and from purely random data, beside their own critics and chance. choice_cartpole_mixed,
choice_cartpole_random, choice_pendulum_mixed, choice_pendulum_random: who is chosen from the final
populations of ten runs without a simulator, by FQE, by the agents' own values and by chance.
"""

from __future__ import annotations

import json
import sys
import time
from functools import cache
from typing import Any

import numpy as np
import torch
from offline import HERE, RANDOM, SETTINGS, controller, joined, noisy, returns, save, trained_pendulum

import evolab as ev
from evolab.data.buffers.offline import buffer_from

UNSEEN = 100
"""Episodes that say what a policy is worth."""


def gathered(populations: list[ev.Population]) -> ev.Population:
    """All agents of several populations as one."""
    members = []
    for population in populations:
        for row in range(len(population)):
            child = population.individual(row).child(len(members))
            child.tensors = {
                k: {n: t.clone() for n, t in state.items()} for k, state in child.tensors.items()
            }
            child.counts = {name: float(count) for name, count in child.counts.items()}
            child.parent = None
            members.append(child)
    together = populations[0].copy([0])
    together.rebuild(members)
    return together


def upper(truth: np.ndarray) -> np.ndarray:
    """Which returns lie in the upper half of their range."""
    return truth > (truth.min() + truth.max()) / 2


def spread_out(values: np.ndarray, count: int = 18) -> list[int]:
    """`count` rows of different returns, evenly by rank within each half of the range.

    More than half are of the upper one: in other episodes some of them fall out of it.
    """
    ranked = np.argsort(values)
    order = [int(i) for k, i in enumerate(ranked) if k == 0 or values[i] > values[ranked[k - 1]] + 1e-3]
    high = upper(values)
    halves = [[i for i in order if high[i] == wanted] for wanted in (False, True)]
    shares = (count // 2 - 2, count - count // 2 + 2)
    return [
        half[round(k)]
        for half, share in zip(halves, shares, strict=True)
        for k in np.linspace(0, len(half) - 1, min(share, len(half)))
    ]


def own_value(population: ev.Population, starts: torch.Tensor) -> np.ndarray:
    """[P]: what every agent's own critic promises at the first observations."""
    values = []
    with torch.no_grad():
        for group in population.groups:
            x = starts.unsqueeze(0).expand(len(group), *starts.shape)
            if "q" in population.roles:
                value = group.network("q")(x).amax(-1)
            else:
                value = group.network("critic")(x, population.algorithm.act(group, x), member=0).squeeze(-1)
            values.append(value.mean(-1))
    return torch.cat(values).numpy()


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's."""
    import pandas as pd

    return float(pd.Series(a).rank().corr(pd.Series(b).rank()))


def lost(estimate: np.ndarray, truth: np.ndarray, size: int = 4, draws: int = 400) -> dict[str, float]:
    """Share of the best return, and of the range of returns, lost by choosing among `size` by the estimate.

    Returns:
        their medians over draws of `size` of the policies, and the mean share of the range.
    """
    generator = np.random.default_rng(0)
    gaps, of_best = [], []
    for _ in range(draws):
        rows = generator.choice(len(truth), size, replace=False)
        gaps.append(truth[rows].max() - truth[rows[np.argmax(estimate[rows])]])
        of_best.append(gaps[-1] / abs(truth[rows].max()))
    width = truth.max() - truth.min()
    return {
        "median, of the best return": float(np.median(of_best)),
        "median, of the range": float(np.median(gaps) / width),
        "mean, of the range": float(np.mean(gaps) / width),
    }


def judged(population: ev.Population, buffer: Any, truth: np.ndarray) -> dict[str, Any]:
    """FQE with its defaults, the agents' own values and chance against known returns."""
    fqe = ev.FQE()
    started = time.process_time()
    *_, estimate = fqe.estimate(population, buffer, seed=0)
    cpu = time.process_time() - started
    own = own_value(population, fqe._data.starts)
    by = {"fqe": estimate, "own q": own, "chance": np.random.default_rng(1).permutation(len(truth))}
    high, order = upper(truth), np.argsort(truth)
    found = {
        "policies": len(truth),
        "share in the upper half": float(high.mean()),
        "spearman": {name: rank_correlation(value, truth) for name, value in by.items() if name != "chance"},
        "spearman within the upper half": {
            name: rank_correlation(value[high], truth[high]) for name, value in by.items() if name != "chance"
        },
        "lost by choosing one of 4": {name: lost(value.astype(float), truth) for name, value in by.items()},
        "chosen of all": {name: float(truth[np.argmax(value)]) for name, value in by.items()},
        "best of all": float(truth.max()),
        "returns": [round(float(truth[i]), 1) for i in order],
        "estimates": [round(float(estimate[i]), 2) for i in order],
        "own q": [round(float(own[i]), 2) for i in order],
        "spread": [round(float(fqe.measures["fqe_spread"][i]), 2) for i in order],
        "support": [round(float(fqe.measures["support"][i]), 2) for i in order],
        "cpu seconds": round(cpu, 1),
        "settings": repr(fqe),
    }
    print(json.dumps({k: v for k, v in found.items() if not isinstance(v, list)}), flush=True)
    return found


def some_of(population: ev.Population, env: str) -> tuple[ev.Population, np.ndarray]:
    """18 policies of different return, and their returns in episodes that did not choose them."""
    population = population.copy(spread_out(returns(population, env, 20, seed=777).mean(1)))
    return population, returns(population, env, UNSEEN, seed=778).mean(1)


def students(buffer: Any, spaces: tuple[Any, Any], ages: range, **values: float) -> ev.Population:
    """CQN agents of six settings at several ages."""
    settings = [(1e-4, 0.0), (3e-4, 0.1), (5e-4, 0.3), (1e-3, 1.0), (2e-3, 0.1), (4e-3, 0.5)]
    population = ev.Population("CQN", *spaces, len(settings), hyperparameters=values, seed=0)
    for individual, (rate, alpha) in zip(population.individuals, settings, strict=True):
        individual.hyperparameters |= {"lr": rate, "cql_alpha": alpha}
    population.rebuild([population.individual(row) for row in range(len(population))])
    taken = []
    for _ in ages:
        population.learn(buffer, updates=ages.step)
        taken.append(population.copy(range(len(population))))
    return gathered(taken)


def mixed_cartpole(steps: int = 20_000) -> ev.Dataset:
    """The controller with 0% to 100% random actions, one share per environment."""
    generator = np.random.default_rng(0)

    def act(observation: np.ndarray) -> np.ndarray:
        action = controller(observation)
        coin = generator.random(len(action)) < np.linspace(0, 1, 8)[: len(action)]
        return np.where(coin, generator.integers(0, 2, len(action)), action)

    return ev.collect("CartPole-v1", act, steps=steps, seed=0, num_envs=8)


def mixed_pendulum(snapshots: list[ev.Population]) -> ev.Dataset:
    """Two agents of every second snapshot, with noise: bad, middling and good episodes."""
    return joined(
        [
            ev.collect("Pendulum-v1", noisy(group[agent], 0.3, agent), steps=1_600, seed=agent, num_envs=8)
            for group in snapshots[1::2]
            for agent in (0, 1)
        ]
    )


def random_pendulum() -> ev.Dataset:
    """20 000 steps of random actions."""
    return ev.collect("Pendulum-v1", "random", steps=20_000, seed=0)


@cache
def learners() -> list[ev.Population]:
    """Snapshots of agents that learn Pendulum by acting."""
    return trained_pendulum(steps=6_000, every=500)


def cartpole() -> dict[str, Any]:
    """Policies that learnt from the data they are judged by."""
    rows: dict[str, Any] = {}
    sources = {
        "mixed": (mixed_cartpole(), range(20, 400, 20), {}),
        "random": (RANDOM, range(200, 3_200, 200), {"batch_size": 256, "tau": 0.02}),
    }
    for name, (source, ages, values) in sources.items():
        buffer, found = buffer_from(source)
        rows[f"CartPole {name}"] = judged_of(students(buffer, found, ages, **values), buffer, "CartPole-v1")
    return rows


def judged_of(population: ev.Population, buffer: Any, env: str) -> dict[str, Any]:
    """`judged` for 18 of the population."""
    population, truth = some_of(population, env)
    return judged(population, buffer, truth)


def pendulum() -> dict[str, Any]:
    """Policies that learnt by acting, judged from data of some of them, and from random actions."""
    population, truth = some_of(gathered(learners()), "Pendulum-v1")
    sources = {
        "mixed": mixed_pendulum(learners()),
        "random": random_pendulum(),
    }
    return {
        f"Pendulum {name}": judged(population, buffer_from(source)[0], truth)
        for name, source in sources.items()
    }


def final(buffer: Any, spaces: tuple[Any, Any], env: str, algorithm: str, seed: int, updates: int) -> Any:
    """One run without a simulator: four generations of eight agents, then everyone's true return."""
    values = SETTINGS if algorithm == "CQN" else {"lr_actor": 1e-3}
    population = ev.Population(algorithm, *spaces, 8, hyperparameters=values, seed=seed)
    fqe, last = ev.FQE(), 3
    for generation in range(last + 1):
        population.learn(buffer, updates=updates)
        *_, fitness = fqe.estimate(population, buffer, seed=generation)
        if generation < last:
            ev.evolve(population, fitness, ev.Tournament(), ev.Mutations(), generation=generation)
    truth = returns(population, env, UNSEEN, seed=20_000 + seed).mean(1)
    own, best = own_value(population, fqe._data.starts), truth.max()
    row = {
        "seed": seed,
        "returns": [round(float(value), 1) for value in truth],
        "fqe": [round(float(value), 2) for value in fitness],
        "own q": [round(float(value), 2) for value in own],
        "lost by fqe": float((best - truth[np.argmax(fitness)]) / abs(best)),
        "lost by own q": float((best - truth[np.argmax(own)]) / abs(best)),
        "lost at random": float((best - truth.mean()) / abs(best)),
        "spearman of fqe": rank_correlation(fitness, truth),
        "spearman of own q": rank_correlation(own, truth),
    }
    print(env, json.dumps(row), flush=True)
    return row


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and means over the runs, the means with an interval that holds 95% of resampled ones."""
    generator, found = np.random.default_rng(0), {}
    for key in [key for key in runs[0] if key.startswith(("lost", "spearman"))]:
        values = np.array([run[key] for run in runs])
        again = generator.choice(values, (10_000, len(values))).mean(1)
        found[key] = {
            "median": round(float(np.median(values)), 4),
            "mean": round(float(values.mean()), 4),
            "95% interval of the mean": [round(float(q), 4) for q in np.quantile(again, (0.025, 0.975))],
        }
    for other in ("lost by own q", "lost at random"):
        less = np.array([run[other] - run["lost by fqe"] for run in runs])
        again = generator.choice(less, (10_000, len(less))).mean(1)
        found[f"{other} beyond fqe's"] = {
            "mean": round(float(less.mean()), 4),
            "95% interval of the mean": [round(float(q), 4) for q in np.quantile(again, (0.025, 0.975))],
        }
    return found


def choice(name: str, source: Any, algorithm: str, updates: int, seeds: int = 10) -> dict[str, Any]:
    """Share of the best agent's return that is lost by choosing from a final population."""
    env = {"CartPole": "CartPole-v1", "Pendulum": "Pendulum-v1"}[name.split()[0]]
    buffer, found = buffer_from(source)
    runs = [final(buffer, found, env, algorithm, seed, updates) for seed in range(seeds)]
    return {f"{name}, final population": summary(runs) | {"runs": runs, "settings": repr(ev.FQE())}}


def choice_cartpole_mixed() -> dict[str, Any]:
    """From the controller's data with 0% to 100% random actions."""
    return choice("CartPole mixed", mixed_cartpole(), "CQN", 200)


def choice_cartpole_random() -> dict[str, Any]:
    """From the shared file."""
    return choice("CartPole random", RANDOM, "CQN", 400)


def choice_pendulum_mixed() -> dict[str, Any]:
    """From bad, middling and good episodes."""
    return choice("Pendulum mixed", mixed_pendulum(learners()), "TD3BC", 1_000)


def choice_pendulum_random() -> dict[str, Any]:
    """From random actions."""
    return choice("Pendulum random", random_pendulum(), "TD3BC", 1_000)


PARTS = (pendulum, cartpole, choice_cartpole_mixed, choice_cartpole_random, choice_pendulum_mixed,
         choice_pendulum_random)  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    path = HERE / "results" / "offline_fqe.json"
    for part in sys.argv[1:] or [part.__name__ for part in PARTS]:
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        figures = {k: v for k, v in before.items() if k not in ("goal", "measured")}
        goal = (
            "mixed data: Spearman at least 0.7, at most 0.2 of the best return lost in the median by choosing "
            "from a final population; random data: better than the own Q and chance"
        )
        save("fqe", {"goal": goal} | figures | globals()[part]())
