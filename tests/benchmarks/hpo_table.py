"""The table of `hpo.py`: by task and arm, over all tasks, and what it says of the claims.

Intervals are of 95%, by the stratified bootstrap of `rliable` over the runs of each task (Agarwal et al. 2021).
Numbers of runs may differ from task to task; its bootstrap takes the tasks as samples of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hpo_results import Run, measured, score, steps_of
from hpo_tasks import MARKS, TASKS

REPEATS = 2_000
BUDGETS = np.geomspace(0.01, 10, 61)
"""Of a performance profile: how much of its budget a run took."""

Runs = dict[str, dict[str, list[Run]]]


def estimate(function: Callable[..., np.ndarray], samples: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A statistic and its interval by the bootstrap.

    Args:
        function: of all samples, gives [K].
        samples: [N, 1] each, of N runs; every one is drawn from anew.

    Returns:
        [K], and [2, K], the lower and the upper end.

    Raises:
        SystemExit: `rliable` is not installed.
    """
    try:
        from rliable import library
    except ImportError:
        raise SystemExit(
            "Intervals, probabilities of improvement and profiles need rliable: pip install rliable, or pass "
            "--peers FOLDER, where an environment for it is made."
        ) from None
    np.random.seed(0)  # noqa: NPY002  # rliable draws from the global generator
    points, intervals = library.get_interval_estimates({"": samples}, function, reps=REPEATS)
    return np.asarray(points[""]), np.asarray(intervals[""])


def iqm(*samples: np.ndarray) -> np.ndarray:
    """[1], the interquartile mean over all runs together."""
    from rliable import metrics

    return np.array([metrics.aggregate_iqm(np.concatenate([sample.ravel() for sample in samples]))])


def improvement(*samples: np.ndarray) -> np.ndarray:
    """[1], the probability that a run of the first half is better than one of the second, averaged over the tasks."""
    from rliable import metrics

    half = len(samples) // 2
    pairs = zip(samples[:half], samples[half:], strict=True)
    return np.array([np.mean([metrics.probability_of_improvement(*pair) for pair in pairs])])


def profile(*samples: np.ndarray) -> np.ndarray:
    """[len(BUDGETS)], the share of runs that arrived within so many budgets."""
    scores = np.concatenate([sample.ravel() for sample in samples])
    return (scores[:, None] * BUDGETS > 1 - 1e-9).mean(0)


def column(runs: list[Run], value: Callable[[Run], float]) -> np.ndarray:
    """[N, 1], a value of each run."""
    return np.array([[value(run)] for run in runs], dtype=float)


def returns_at(mark: float) -> Callable[[Run], float]:
    """The normalised return of a run at a mark of its budget."""
    return lambda run: TASKS[run["task"]].normalised(run["means"][str(mark)])


def arms_of(found: Runs) -> list[str]:
    """All arms, in the order in which they first come."""
    return list(dict.fromkeys(arm for arms in found.values() for arm in arms))


def in_common(found: Runs, arms: list[str]) -> list[str]:
    """The tasks that all these arms ran."""
    return [task for task, ran in found.items() if all(arm in ran for arm in arms)]


def number(value: float | None, digits: int = 0) -> str:
    """A number in words of a table."""
    if value is None:
        return "none yet"
    return "never" if np.isinf(value) else f"{value:,.{digits}f}".replace(",", " ")


def by_task(found: Runs, interval: Callable[[list[Run]], np.ndarray] | None) -> list[str]:
    """One line for each arm on each task; without intervals where there is nothing to make them."""
    lines = [
        "| task | arm | solved | steps, IQM | median steps | median CPU s | mean at 10, 30, 100% |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, arms in found.items():
        task = TASKS[name]
        budgets = sorted({run["budget"] for runs in arms.values() for run in runs})
        lines.append(
            f"| **{name}** ({task.target:g}; budget {', '.join(map(number, budgets))}) | | | | | | |"
        )
        for arm, runs in arms.items():
            one = measured(runs)
            steps = ("" if one["solved"] == one["runs"] else "≥ ") + number(one["steps"])
            if interval is not None:
                low, high = interval(runs)[:, 0]
                steps += f" [{number(low)}, {number(high)}]"
            ended = [f", {one[how]} {words}" for how, words in ENDS.items() if one[how]]
            means = ", ".join(number(mean, 1) for mean in one["means"].values())
            lines.append(
                f"| | {arm} | {one['solved']} of {one['runs']}{''.join(ended)} | {steps} | "
                f"{number(one['median_steps'])} | {number(one['median_cpu_seconds'])} | {means} |"
            )
    return lines


ENDS = {"timed_out": "ended by time", "failed": "diverged"}


def over_tasks(found: Runs) -> list[str]:
    """Interquartile means of the normalised return, over the tasks that all arms ran."""
    arms = arms_of(found)
    tasks = in_common(found, arms)
    if not tasks:
        return ["No task was run by all arms: nothing is said over the tasks."]
    lines = [
        f"Normalised return (0 random, 1 the target), IQM over {len(tasks)} tasks ({', '.join(tasks)}):",
        "",
    ]
    lines += ["| arm | 10% | 30% | 100% |", "|---|---|---|---|"]
    for arm in arms:
        cells = []
        for mark in MARKS:
            samples = [column(found[task][arm], returns_at(mark)) for task in tasks]
            (point,), ((low,), (high,)) = estimate(iqm, samples)
            cells.append(f"{point:.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def improvements(found: Runs, first: str = "evolab") -> list[str]:
    """The probability that a run of one arm arrives before one of another, over the tasks that both ran."""
    lines = [
        "",
        f"Probability that a run of {first} is better (sooner at the target, else higher at the end) than one of:",
    ]
    for arm in arms_of(found):
        tasks = in_common(found, [first, arm])
        if arm == first or not tasks:
            continue
        samples = [column(found[task][one], score) for one in (first, arm) for task in tasks]
        (point,), ((low,), (high,)) = estimate(improvement, samples)
        lines.append(f"- {arm}: {point:.2f} [{low:.2f}, {high:.2f}], {len(tasks)} tasks")
    return lines


def claims(found: Runs) -> list[str]:
    """Medians beside Optuna's, and beside a tuned single run's steps."""
    lines = ["", "evolab's median in steps, beside Optuna's (A) and a tuned single run's (B):", ""]
    lines += [
        "| task | evolab | Optuna | share | CPU share | tuned run | times | within 3 medians |",
        "|---" * 8 + "|",
    ]
    for name, arms in found.items():
        if "evolab" not in arms:
            continue
        ours, tuned = measured(arms["evolab"]), TASKS[name].tuned
        steps = ours["median_steps"]
        theirs: dict[str, Any] = measured(arms["optuna"]) if "optuna" in arms else {}
        near = [run["steps"] is not None and run["steps"] <= 3 * steps for run in arms["evolab"]]
        other = float(np.median([steps_of(run) for run in arms["optuna"]])) if theirs else None
        late = "" if not theirs or np.isfinite(theirs["median_steps"]) else "> "
        cpu = ours["median_cpu_seconds"] / theirs["median_cpu_seconds"] if theirs else None
        lines.append(
            f"| {name} | {number(steps)} | {late + number(other) if theirs else '-'} | "
            f"{('< ' if late else '') + number(steps / other, 3) if other and np.isfinite(steps) else '-'} | "
            f"{number(cpu, 3) if cpu and np.isfinite(cpu) else '-'} | {number(tuned) if tuned else '-'} | "
            f"{number(steps / tuned, 2) if tuned else '-'} | {sum(near)} of {len(near)} |"
        )
    return lines


def table(found: Runs) -> str:
    """All of it as Markdown; what needs no `rliable` comes first, and is printed where it is missing."""
    try:
        lines = by_task(found, lambda runs: estimate(iqm, [column(runs, steps_of)])[1])
    except SystemExit:
        print("\n".join([*by_task(found, None), *claims(found), ""]))
        raise
    return "\n".join([*lines, *claims(found), "", *over_tasks(found), *improvements(found)])
