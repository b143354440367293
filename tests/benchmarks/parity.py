"""Do the algorithms learn as well as Stable-Baselines3's and d3rlpy's? One agent, the same settings and networks.

    python tests/benchmarks/parity.py [--peers FOLDER] [--tasks "PPO CartPole-v1" ...] [--seeds 1 2 3]
    python tests/benchmarks/parity.py --table
    python tests/benchmarks/parity.py --figure parity.html

evolab with a population of one: no selection, no mutation, no search, no normalisation, no random play but what comes
before learning begins; equal numbers of environment steps, or of updates from recorded data. The settings stand in
`parity_tasks.py`, with what differs from the peers' defaults.

Each run is a process of its own on one thread, and one JSON line of `results/parity.jsonl`. A run that is there is not
run again, and one that was killed is: the same command goes on where it was. The peers live in virtual environments of
their own, `FOLDER/sb3` and `FOLDER/d3rlpy`, which are made where they are missing.

At fixed marks of environment steps the greedy policy plays ten fresh episodes, in environments of its own that begin
alike on both sides; these steps count for nobody. A run's score is its mean return over all marks: how soon it learns
counts like how well. Said are the interquartile means over the seeds, the 95% interval of the peer's by
the bootstrap over its seeds, and whether evolab's lies below it; with fewer seeds than five
that is open.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hpo_results import append, interquartile_mean
from machine import processor
from parity_tasks import SEEDS, TASKS
from peer_environments import python_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "parity.jsonl"
RESAMPLES = 10_000

Run = dict[str, Any]
Found = dict[str, dict[str, list[Run]]]
"""Task -> "evolab" and "peer" -> runs by seed."""


def read(path: Path) -> dict[tuple[str, str, int], Run]:
    """Task, tool and seed -> run, of all whole lines; of equal runs the first."""
    found: dict[tuple[str, str, int], Run] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            run = json.loads(line)
        except ValueError:
            continue  # half a line, of a writer that was killed
        found.setdefault((run["task"], run["tool"], run["seed"]), run)
    return found


def grouped(runs: dict[tuple[str, str, int], Run]) -> Found:
    """Those tasks that both have run, each with the seeds of both."""
    found: Found = {}
    for name, task in TASKS.items():
        tools = {"peer": task.peer, "evolab": "evolab"}
        both = ({key[2] for key in runs if key[:2] == (name, tool)} for tool in tools.values())
        if seeds := sorted(set.intersection(*both)):
            found[name] = {who: [runs[name, tool, seed] for seed in seeds] for who, tool in tools.items()}
    return found


def curves(runs: list[Run]) -> np.ndarray:
    """Mean returns [seeds, marks]."""
    return np.array([[np.mean(returns) for returns in run["returns"].values()] for run in runs])


def interval(scores: np.ndarray) -> tuple[float, float]:
    """95% bootstrap interval of the interquartile mean of scores [seeds]."""
    drawn = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, len(scores)))
    means = [interquartile_mean(scores[one]) for one in drawn]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def compared(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """What `--table` says of a task.

    Returns:
        `seeds`; `evolab` and `peer`, interquartile means of the scores; `low` and `high`, the peer's interval;
        `holds`, evolab's lies within or above; `last`, the interquartile means at the last mark;
        `marks`, at how many of them evolab's lies within or above the peer's interval there, of how many.
    """
    ours, theirs = curves(runs["evolab"]), curves(runs["peer"])
    low, high = interval(theirs.mean(1))
    mine = interquartile_mean(ours.mean(1))
    within = [
        interquartile_mean(ours[:, mark]) >= interval(theirs[:, mark])[0] for mark in range(ours.shape[1])
    ]
    return {
        "seeds": len(ours),
        "evolab": mine,
        "peer": interquartile_mean(theirs.mean(1)),
        "low": low,
        "high": high,
        "holds": mine >= low,
        "last": (interquartile_mean(ours[:, -1]), interquartile_mean(theirs[:, -1])),
        "marks": (sum(within), len(within)),
    }


def table(found: Found) -> str:
    """The results as Markdown."""
    lines = [
        "| task | peer | steps | seeds | evolab | peer (95%) | | at the last mark | marks within or above |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task, runs in found.items():
        one = compared(runs)
        verdict = "above" if one["evolab"] > one["high"] else "within" if one["holds"] else "**below**"
        verdict = verdict if one["seeds"] >= len(SEEDS) else "open"
        lines.append(
            f"| {task} | {TASKS[task].peer} | {TASKS[task].steps[-1]} | {one['seeds']} | {one['evolab']:.0f} "
            f"| {one['peer']:.0f} ({one['low']:.0f} to {one['high']:.0f}) | {verdict} "
            f"| {one['last'][0]:.0f}, {one['last'][1]:.0f} | {one['marks'][0]} of {one['marks'][1]} |"
        )
    return "\n".join(lines)


def figure(found: Found, path: Path) -> Path:
    """Curves of both, a task each, on one page that stands alone."""
    from plotly.subplots import make_subplots

    columns = min(3, len(found))
    drawn = make_subplots(-(-len(found) // columns), columns, subplot_titles=list(found))
    for place, (task, runs) in enumerate(found.items()):
        row, column, steps = place // columns + 1, place % columns + 1, TASKS[task].steps
        for tool, colour in (("peer", "#8d99ae"), ("evolab", "#0b6e4f")):
            returns = curves(runs[tool])
            ends = np.array([interval(returns[:, mark]) for mark in range(len(steps))])
            drawn.add_scatter(
                x=[*steps, *steps[::-1]],
                y=[*ends[:, 1], *ends[::-1, 0]],
                mode="none",
                fill="toself",
                fillcolor=colour,
                opacity=0.2,
                hoverinfo="skip",
                showlegend=False,
                row=row,
                col=column,
            )
            middle = [interquartile_mean(returns[:, mark]) for mark in range(len(steps))]
            drawn.add_scatter(
                x=steps, y=middle, name=tool, line_color=colour, showlegend=place == 0, row=row, col=column
            )
    drawn.update_layout(template="plotly_white", width=1100, height=300 * (-(-len(found) // columns)))
    drawn.write_html(path, include_plotlyjs=True)
    return path


def planned(tasks: list[str], seeds: list[int]) -> Iterator[Run]:
    """The runs that are asked for: a task after the other, both tools of a seed before the next seed."""
    for task in tasks:
        for seed in seeds:
            for tool in (TASKS[task].peer, "evolab"):
                yield {"tool": tool, "task": task, "seed": seed}


def in_a_process(python: Path | str, wanted: Run) -> Run:
    """A run by `parity_run.py`; what its library prints goes to this process's errors.

    Raises:
        RuntimeError: it ended without a result.
    """
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = os.environ | threads
    if wanted["tool"] == "evolab":
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [str(python), str(HERE / "parity_run.py"), json.dumps(wanted)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(f"exit code {done.returncode}; what it said stands above.")
    return json.loads(done.stdout.splitlines()[-1])


def here() -> dict[str, str]:
    """The processor, and the commit of what is run."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    return {"processor": processor(), "commit": commit.strip()}


def main() -> None:
    """Run what is missing, or look at what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", type=Path, help="where the peers' environments are, or are made and stay")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--results", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print what was measured before")
    parser.add_argument("--figure", type=Path, help="draw what was measured before into this file")
    options = parser.parse_args()
    if options.table or options.figure:
        found = grouped(read(options.results))
        if options.table:
            print(table(found))
        if options.figure:
            print(figure(found, options.figure))
        return
    lost, about = 0, here()
    for wanted in planned(options.tasks, options.seeds):
        if (wanted["task"], wanted["tool"], wanted["seed"]) in read(options.results):
            continue
        if wanted["tool"] != "evolab" and options.peers is None:
            raise SystemExit("the peers live in environments of their own; pass --peers FOLDER.")
        python = sys.executable if wanted["tool"] == "evolab" else python_of(options.peers, wanted["tool"])
        try:
            run = in_a_process(python, wanted)
        except RuntimeError as error:
            lost += 1
            print(f"{wanted}: no result, {error}", file=sys.stderr, flush=True)
            continue
        append(options.results, run | about)
        print(wanted, curves([run]).mean(1).round(1), flush=True)
    if lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
