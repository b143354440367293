"""Does evolab tune itself? All steps and CPU seconds to a policy at the target, beside other ways to search.

    python tests/benchmarks/hpo.py [--arms evolab optuna ...] [--tasks CartPole-v1 ...] [--seeds 1 2 3]
    python tests/benchmarks/hpo.py --table --figure [--peers FOLDER]
    python tests/benchmarks/hpo.py --sweep FOLDER [--workers N] [--tasks CartPole-v1 ...] [--seeds 1 2 3]

Every run is a process of its own on one thread, and one JSON line of `FOLDER/runs.jsonl`. A run that is there is not
run again, and one that was killed is: the same command goes on where it was. Several may work at once, each on seeds
of its own.

Arms: `evolab` as it comes; the same population without mutation (`no-mutation`), and without selection and
mutation (`no-evolution`); `random` search over the same agents, each with data of its own; `optuna`, TPE and a median
pruner over Stable-Baselines3 with the ranges of rl-baselines3-zoo, once with trials of a quarter of the budget and
once with trials of all of it, of which the better counts; `agilerl`, its newest trainer by its tutorial. The peers live
in virtual environments of their own in `--peers`, which are made where they are missing.

Measures: all environment steps, those of training, evaluation, confirmation and of trials that were given up, and
CPU seconds, to the first policy that averages the target over 100 fresh episodes; the mean over 100 fresh episodes of
the policy in hand at 10, 30 and 100% of the budget. Those fresh episodes are played by the benchmark's own referee.
They are the measurement, and count neither as steps nor as time. An arm offers what it would hand
out; the referee tries it where the arm's own estimate is its best so far, or reaches the target.
A run ends with the first policy at the target, whose mean then stands for the rest of the budget; else with the
budget (ten budgets for Optuna, so that it can be said how much later it arrives); or with `--minutes` of CPU time,
two hours on the costly tasks, and is marked so.

With `--sweep` evolab's own arms are runs of `ev.sweep`, several at once, that end where evolab itself says that the target
is met; the referee says whether it is (see `hpo_sweep.py`).

Defaults are chosen on the first five tasks and, each for its kind of actions, on the two landers, with seeds from 100
on; the table is made with seeds from 1 on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hpo_results
from hpo_tasks import ARMS, GROUPS, OWN, REACH, TASKS, minutes_of, seeds_of
from peer_environments import python_of

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "hpo"
FILE = "runs.jsonl"
ENVIRONMENTS = {"optuna-quarter": "sb3", "optuna-whole": "sb3", "agilerl": "agilerl"}

Run = dict[str, Any]


def planned(options: argparse.Namespace) -> Iterator[Run]:
    """The runs that were asked for; all arms of a seed before the next seed."""
    arms = [member for arm in options.arms for member in GROUPS.get(arm, (arm,))]
    every = {
        (name, arm): options.seeds or seeds_of(TASKS[name], arm) for name in options.tasks for arm in arms
    }
    for seed in sorted({seed for seeds in every.values() for seed in seeds}):
        for (name, arm), seeds in every.items():
            if seed in seeds:
                budget = options.budget or TASKS[name].budget
                minutes = minutes_of(TASKS[name]) if options.minutes is None else options.minutes
                reach = REACH if arm in GROUPS["optuna"] else 1
                yield {
                    "arm": arm,
                    "task": name,
                    "seed": seed,
                    "budget": budget,
                    "limit": reach * budget,
                    "minutes": minutes,
                }


def in_a_process(python: Path | str, wanted: Run) -> Run:
    """A run by `hpo_run.py`; what its library prints goes to this process's errors.

    Raises:
        RuntimeError: it ended without a result.
    """
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = os.environ | threads | {"TQDM_DISABLE": "1", "PYTHONPATH": str(HERE.parents[1])}
    if wanted["arm"] not in OWN:
        del environment["PYTHONPATH"]
    command = [str(python), str(HERE / "hpo_run.py"), json.dumps(wanted)]
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
    }  # its input ends with this process, and it with it
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        printed = process.stdout.read()
    if process.returncode or not printed.strip():
        raise RuntimeError(f"exit code {process.returncode}; what it said stands above.")
    import machine  # it needs torch, which the environment of the table has not

    return {**json.loads(printed.splitlines()[-1]), "machine": machine.described()}


@cache
def has_mujoco(python: Path | str) -> bool:
    """Whether MuJoCo's tasks can run there."""
    program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('mujoco') is None)"
    return subprocess.run([str(python), "-c", program]).returncode == 0


def run_all(
    wanted: Iterator[Run], file: Path, peers: Path | None, start: Callable[..., Run] = in_a_process
) -> int:
    """Run what is not there yet, and write down each run as it ends.

    Returns:
        how many runs ended without a result.
    """
    lost, told = 0, set[tuple[str, str]]()
    for one in wanted:
        if hpo_results.key(one) in {hpo_results.key(run) for run in hpo_results.read(file)}:
            continue
        name, arm = one["task"], one["arm"]
        if arm not in OWN and peers is None:
            raise SystemExit(f"{arm} lives in an environment of its own; pass --peers FOLDER.")
        python = sys.executable if arm in OWN else python_of(peers, ENVIRONMENTS[arm])
        if TASKS[name].mujoco and not has_mujoco(python):
            if (name, arm) not in told:
                print(
                    f'{name} {arm}: left out, mujoco is not installed there: pip install "gymnasium[mujoco]"'
                )
            told.add((name, arm))
            continue
        try:
            run = start(python, one)
        except RuntimeError as error:
            lost += 1
            print(f"{name} {arm} seed {one['seed']}: no result, {error}", file=sys.stderr, flush=True)
            continue
        hpo_results.append(file, run)
        print(described(run), flush=True)
    return lost


def described(run: Run) -> str:
    """A run in a line."""
    head = f"{run['task']:26s}{run['arm']:16s}seed {run['seed']:<4d}"
    means = ", ".join("-" if mean is None else f"{mean:.1f}" for mean in run["means"].values())
    if run["steps"] is not None:
        return f"{head}solved at {run['steps']:>9,} steps, {run['cpu_seconds']:>8,.0f} CPU s; means {means}"
    spent = f"{run['spent_steps']:>9,} steps, {run['spent_cpu_seconds']:>8,.0f} CPU s"
    return f"{head}{run['outcome']:7s}at {spent}; means {means}"


def look(options: argparse.Namespace) -> None:
    """The table and the figure, in an environment that has `rliable`."""
    try:
        import rliable  # noqa: F401
    except ImportError:
        if options.peers is not None:
            shown = [word for word in ("--table", "--figure") if getattr(options, word[2:])]
            python = python_of(options.peers, "rliable")
            command = [str(python), __file__, *shown, "--results", str(options.results)]
            raise SystemExit(subprocess.run(command).returncode) from None
    import hpo_table

    found = hpo_results.grouped(hpo_results.read(options.results / FILE))
    if not found:
        raise SystemExit(f"there are no runs in {options.results / FILE} yet.")
    if options.table:
        print(hpo_table.table(found))
    if options.figure:
        import hpo_figure

        print(hpo_figure.figure(found, options.results / "hpo.html"))


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=[*ARMS, *GROUPS])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="by default 1 to 10, to 5 for the peers; 3, 1 if costly"
    )
    parser.add_argument("--budget", type=int, help="environment steps of a run, by default the task's own")
    parser.add_argument("--minutes", type=float, help="CPU minutes of a run, by default 120 on costly tasks")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments, made where missing")
    parser.add_argument("--table", action="store_true", help="print what was measured before")
    parser.add_argument("--figure", action="store_true", help="draw what was measured before")
    parser.add_argument(
        "--sweep", type=Path, help="folder of a sweep of evolab's own arms, begun or gone on with"
    )
    parser.add_argument("--workers", type=int, help="of the sweep, by default one for each core")
    return parser.parse_args(arguments)


def main() -> None:
    """Run, or look at what was run."""
    options = parsed()
    if options.table or options.figure:
        look(options)
    elif options.sweep is not None:
        from hpo_sweep import run_sweep

        for row in run_sweep(planned(options), options.sweep, workers=options.workers):
            print(json.dumps(row))
    elif run_all(planned(options), options.results / FILE, options.peers):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
