"""Charts of what was measured, by name.

They are drawn from `tests/benchmarks/results/` when the pages are built, so that no figure on a page can differ from what
was measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from drawing import lines, values

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "tests" / "benchmarks" / "results"
TUNED = {
    "CartPole-v1": 30_000,
    "Acrobot-v1": 20_000,
    "MountainCar-v0": 100_000,
    "MountainCarContinuous-v0": 20_000,
    "Pendulum-v1": 10_000,
    "LunarLanderContinuous-v3": 50_000,
    "HalfCheetah-v5": 80_000,
    "LunarLander-v3": 80_000,
    "BipedalWalker-v3": 170_000,
    "Hopper-v5": 150_000,
}
"""Steps of a tuned single run, as `tests/benchmarks/hpo_tasks.py` has them; a test compares."""


def read(name: str) -> Any:
    """A committed result."""
    text = (RESULTS / name).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


def solved(*tasks: str) -> str:
    """All steps until the target, by task."""
    runs = [run for run in read("hpo/runs.jsonl") if run["arm"] == "evolab"]
    named = tasks or tuple(dict.fromkeys(run["task"] for run in runs))
    rows = {task: [run["steps"] for run in runs if run["task"] == task and run["steps"]] for task in named}
    rows = {task: row for task, row in rows.items() if row}  # the table names those that no run solved
    told = "; ".join(f"{task}: {', '.join(map(str, row))}" for task, row in rows.items())
    marks = {task: TUNED[task] for task in rows if task in TUNED}
    return values(rows, "all environment steps until the target", True, marks, f"Steps to the target. {told}")


def cost(algorithm: str) -> str:
    """What an update costs each agent, over the size of the population."""
    rows = [one for one in read("updates.json")["updates"] if one["algorithm"] == algorithm]
    rows = [one for one in rows if one["batch"] == 128]
    series = {
        f"two layers of {hidden}": [
            (one["agents"], one["microseconds_per_agent"]) for one in rows if one["hidden"] == hidden
        ]
        for hidden in (64, 256)
    }
    said = f"{algorithm}: microseconds of an update of each agent, at 1, 4, 16 and 64 agents"
    return lines(series, "agents", "µs per agent", True, said)


def catch() -> str:
    """Curves of DQN from images."""
    seeds = read("catch.json")["seeds"]
    series = {f"seed {one['seed']}": [(step, best) for step, best, _ in one["curve"]] for one in seeds}
    return lines(series, "environment steps", "best fitness", said="Fitness of the best agent in Catch")


def hindsight() -> str:
    """Goals that are met with hindsight and without."""
    rows = {
        f"{task}, {'hindsight' if float(share) else 'without'}": [one["met"] for one in runs]
        for task, known in read("hindsight.json")["tasks"].items()
        for share, runs in known["shares"].items()
    }
    return values(
        rows, "share of goals that are met", said="Goals met with hindsight and without, three seeds"
    )


def rainbow(task: str) -> str:
    """Each of Rainbow's parts alone, and all of them."""
    known = read("rainbow.json")["tasks"][task]
    rows = {part: [mean(curve) for curve in one["curves"]] for part, one in known.items()}
    return values(rows, "mean return over the run, greedy episodes", said=f"Parts of Rainbow in {task}")


def steady(name: str) -> str:
    """Steps until the target with the settings of `precision.json`."""
    known = read("precision.json")["solved"][name]["float32"]
    rows = {name: [one["steps"] for one in known.values()]}
    return values(rows, "environment steps until the target", said=f"Steps to the target of {name}")


def narrow() -> str:
    """CQN beside double DQN on data of one expert."""
    known = read("offline_narrow.json")
    rows = {
        "the data": [known["data mean return"]],
        "CQN": known["cql_alpha 1"],
        "double DQN": known["cql_alpha 0"],
    }
    return values(rows, "mean return of 100 fresh episodes", said="CartPole from an expert's data")


def chance() -> str:
    """CQN from random data."""
    known = read("offline_random.json")["runs"]
    rows = {"CQN, evolved": [one["elite mean of 100"] for one in known]}
    return values(rows, "mean return of 100 fresh episodes", said="CartPole from random data, five seeds")


def td3bc() -> str:
    """TD3BC beside its teacher and a clone."""
    known = read("offline_td3bc.json")
    rows = {
        "the data": [known["data mean return"]],
        "behaviour cloning": known["behaviour cloning"],
        "TD3BC": known["TD3+BC"],
    }
    return values(rows, "mean return", said="Pendulum from a clumsy controller's data, three seeds")


def walks() -> str:
    """BC and ILQL on random walks."""
    runs = read("language_walks.json")["runs"]
    rows = {
        name: [one[key] for one in runs]
        for name, key in (("the data", "data"), ("BC", "BC"), ("ILQL", "ILQL"))
    }
    return values(rows, "optimality of the walks, 1 the shortest", said="Random walks, three seeds")


def words() -> str:
    """ILQL in the word game, by its support."""
    seeds = [read(f"language_values_{seed}.json")["means"]["guesses"] for seed in range(3)]
    series = {
        f"seed {seed}": [(float(support), value) for support, value in means.items() if float(support)]
        for seed, means in enumerate(seeds)
    }
    levels = list(series.values())
    series["their mean"] = [(x, mean(line[i][1] for line in levels)) for i, (x, _) in enumerate(levels[0])]
    return lines(series, "support", "mean return", said="Word game by the support of ILQL, three seeds")


def game() -> str:
    """The word game, all players."""
    known = read("language_paired.json")
    scripted = known["scripted players"]
    rows = {
        "the data": [known["data"]],
        "BC": known["BC, by whole guesses"],
        "ILQL": known["ILQL, by whole guesses"],
        "script: consistent": [scripted["consistent"]],
        "script: information": [scripted["information"]],
    }
    return values(rows, "mean return over 100 words", said="Returns in the word game, three seeds")


def peers() -> str:
    """Steps a second beside two other libraries."""
    loop = read("peers.json")["one thread"]["loop"]
    names = {
        "evolab": "evolab",
        "evolab, same architecture": "evolab, AgileRL's network",
        "AgileRL": "AgileRL",
        "SB3, same widths": "SB3, evolab's widths",
        "SB3": "SB3",
    }
    rows = {label: [one["steps_per_second"][key] for one in loop] for key, label in names.items()}
    return values(
        rows, "environment steps a second: 4, 16 and 64 agents", True, said="TD3's loop, one thread"
    )


def wide() -> str:
    """How many times faster updates of wide networks are than Stable-Baselines3's."""
    rows = read("peer_updates.json")["updates"]
    found = {
        f"{one['algorithm']}, {one['agents']} agent{'s' if one['agents'] > 1 else ''}": [one["times_faster"]]
        for one in rows
    }
    goals = {name: one["goal"] for name, one in zip(found, rows, strict=True)}
    told = "; ".join(f"{name}: {value[0]}" for name, value in found.items())
    said = f"Times as fast as Stable-Baselines3. {told}"
    return values(found, "times as fast as Stable-Baselines3", marks=goals, said=said)


def recorded() -> str:
    """How many times faster updates from recorded data are than d3rlpy's, in each repeat."""
    rows = read("peer_offline.json")["updates"]
    found = {
        f"{one['algorithm']}, {one['batch']}, {one['agents']} agent{'s' if one['agents'] > 1 else ''}": one
        for one in rows
    }
    goals = {name: one["goal"] for name, one in found.items() if "goal" in one}
    told = "; ".join(f"{name}: {one['times_faster']}" for name, one in found.items())
    said = f"Times as fast as d3rlpy, medians, by batch size. {told}"
    ratios = {name: one["ratios"] for name, one in found.items()}
    return values(ratios, "times as fast as d3rlpy", marks=goals, said=said)


def two_cores() -> str:
    """How many times faster updates are on two cores."""
    found: dict[str, list[float]] = {}
    for one in read("updates.json")["on_threads"]:
        found.setdefault(f"{one['algorithm']}, 2x{one['hidden']}", []).append(one["times_faster"])
    told = "; ".join(f"{name}: {', '.join(map(str, each))}" for name, each in found.items())
    return values(found, "times as fast on two cores", said=f"At 4 and 16 agents. {told}")


def avx2() -> str:
    """Shares of the matrix product that updates reach, compiled for AVX2."""
    rows = read("updates_x86-64-v3.json")["updates"]
    found: dict[str, list[float]] = {}
    for one in rows:
        if one["batch"] == 128 and one["agents"] in (4, 16):
            found.setdefault(f"{one['algorithm']}, 2x{one['hidden']}", []).append(100 * one["share_of_gemm"])
    told = "; ".join(f"{name}: {', '.join(f'{each:.0f}' for each in row)}" for name, row in found.items())
    return values(found, "% of the matrix product", said=f"At 4 and 16 agents, in per cent. {told}")


CHARTS: dict[str, Callable[..., str]] = {
    one.__name__: one
    for one in (
        solved,
        cost,
        catch,
        hindsight,
        rainbow,
        steady,
        narrow,
        chance,
        td3bc,
        walks,
        words,
        game,
        peers,
        wide,
        recorded,
        two_cores,
        avx2,
    )
}
