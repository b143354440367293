"""Does racing choose better than an even split of the same episodes? Selections on LunarLander-v3, resampled.

Populations of 4 to 8 DQN agents train and evolve; at several moments of each run, from the first
steps to agents that land, every agent plays 150 episodes on common seeds, and nothing is learned
from them. One run for each seed:

    python tests/benchmarks/racing.py --record 1

The first 100 episodes of each agent make the reference ranking. Selections are then repeated with
episodes drawn from the other 50, the same seeds for all agents, by an even split and by racing:

    python tests/benchmarks/racing.py

A selection is wrong where the agent that it puts first is not the reference's best. Intervals are
over populations: a run at one moment is one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TQDM_DISABLE", "1")

from evolab.evaluation.racing import Racing

RESULTS = Path(__file__).parent / "results"
RETURNS = RESULTS / "racing_returns.json"
RESULT = RESULTS / "racing.json"
AGENTS = {1: 4, 2: 6, 3: 8, 4: 4, 5: 6, 6: 8}  # by seed
MOMENTS, EPISODES, AT_ONCE = (3, 7, 13, 20), 150, 10
REFERENCE, REPEATS, PER_AGENT = 100, 100, (2, 4, 8, 16)


MEASURES = ("wrong_best", "return_of_best", "pairs_misplaced", "return_of_parents")
"""Shares of wrong choices and of pairs in the wrong order; returns by which choices fall short of the best."""


def record(seed: int) -> None:
    """Train, and write down what every agent returns; what was recorded of this seed before goes."""
    import evolab as ev
    from evolab.evaluation.episodes import Evaluated, evaluating
    from evolab.experiment import presets

    known = json.loads(RETURNS.read_text())["moments"] if RETURNS.exists() else []
    moments = [moment for moment in known if moment["seed"] != seed]
    preset = presets.demo("DQN", "LunarLander-v3")
    options = preset.options | {"population": AGENTS[seed], "steps_per_generation": 5_000}
    exp = ev.Experiment("LunarLander-v3", "DQN", seed=seed, buffer=preset.capacity, **options)
    exp.fill(preset.fill)
    evaluator = exp._run.envs.evaluator(AT_ONCE)
    for generation in range(1, max(MOMENTS) + 1):
        exp._run.evolving = generation not in MOMENTS  # agents as they are when they are selected
        exp.step()
        if generation not in MOMENTS:
            continue
        started, columns = time.process_time(), []
        for batch in range(EPISODES // AT_ONCE):
            *_, result = evaluating(exp.population, evaluator, 1_000_000 * seed + batch)
            assert isinstance(result, Evaluated)
            columns.append(result.returns)
        returns = np.concatenate(columns, 1)
        moments.append({"seed": seed, "generation": generation, "returns": returns.round(1).tolist()})
        means = returns.mean(1).round(1).tolist()
        print(seed, generation, means, round(time.process_time() - started, 1), flush=True)
        moments.sort(key=lambda moment: (moment["seed"], moment["generation"]))
        RETURNS.write_text(json.dumps({"environment": "LunarLander-v3", "moments": moments}) + "\n")
    exp.close()


def raced(pool: np.ndarray, episodes: int, racing: Racing, order: np.ndarray) -> np.ndarray:
    """[P]: fitness by racing through the columns of `pool` [P, N] in this order."""
    got = [np.empty(0) for _ in pool]
    for size in racing.rounds(episodes):
        for agent in np.repeat(racing.line_up(got, len(pool)), size):
            got[agent] = np.append(got[agent], pool[agent, order[len(got[agent])]])
    return racing.fitness(got)


def misplaced(score: np.ndarray, truth: np.ndarray) -> float:
    """Share of the pairs of agents, as a tournament of two draws them, of which the worse is put first."""
    one, other = np.triu_indices(len(truth), 1)
    return float(((score[one] - score[other]) * (truth[one] - truth[other]) < 0).mean())


def given_away(score: np.ndarray, truth: np.ndarray) -> float:
    """Mean return that the parents fall short of, chosen by tournaments of two beside the elite."""
    one, other = np.triu_indices(len(truth), 1)
    won = np.where(score[one] >= score[other], truth[one], truth[other])
    short = float((np.maximum(truth[one], truth[other]) - won).mean()) * (1 - 1 / len(truth))
    elite = float(truth.max() - truth[np.argmax(score)])
    return (elite + (len(truth) - 1) * short) / len(truth)


def selections(moment: dict, episodes: int, rng: np.random.Generator) -> np.ndarray:
    """[REPEATS, 8]: by an even split and by racing each, what `MEASURES` names."""
    returns = np.array(moment["returns"])
    truth, pool = returns[:, :REFERENCE].mean(1), returns[:, REFERENCE:]
    found = []
    for _ in range(REPEATS):
        order = rng.permutation(pool.shape[1])
        scores = pool[:, order[:episodes]].mean(1), raced(pool, episodes, Racing(), order)
        best = [int(np.argmax(score)) for score in scores]
        wrong = [float(chosen != truth.argmax()) for chosen in best]
        lost = [float(truth.max() - truth[chosen]) for chosen in best]
        pairs = [misplaced(score, truth) for score in scores]
        found.append([*wrong, *lost, *pairs, *(given_away(score, truth) for score in scores)])
    return np.array(found)


def interval(gains: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Bootstrap interval at 95% of the mean over populations: other populations would give other figures."""
    drawn = gains[rng.integers(len(gains), size=(10_000, len(gains)))].mean(1)
    return [round(float(value), 4) for value in np.quantile(drawn, [0.025, 0.975])]


def compare() -> dict:
    """Repeat selections by both, on the same orders of episodes."""
    recorded = json.loads(RETURNS.read_text())
    rng, rows = np.random.default_rng(0), []
    names = [f"{name}_{way}" for name in MEASURES for way in ("even", "racing")]
    for episodes in PER_AGENT:
        table = np.array([selections(one, episodes, rng).mean(0) for one in recorded["moments"]])
        row = {"episodes_per_agent": episodes, "selections": REPEATS * len(table)}
        row |= {key: round(float(value), 4) for key, value in zip(names, table.mean(0), strict=True)}
        for place, name in enumerate(MEASURES):
            gains = table[:, 2 * place] - table[:, 2 * place + 1]
            row |= {f"{name}_less": round(float(gains.mean()), 4), f"{name}_less_95": interval(gains, rng)}
        rows.append(row)
        print(row, flush=True)
    moments = [
        {name: moment[name] for name in ("seed", "generation")}
        | {"reference": np.array(moment["returns"])[:, :REFERENCE].mean(1).round(1).tolist()}
        for moment in recorded["moments"]
    ]
    return {"environment": recorded["environment"], "selections": rows, "moments": moments}


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=int, metavar="SEED", choices=AGENTS)
    seed = parser.parse_args().record
    if seed is not None:
        record(seed)
    else:
        RESULT.write_text(json.dumps(compare(), indent=1) + "\n")


if __name__ == "__main__":
    main()
