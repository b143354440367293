"""What the dashboard costs: training beside it, first paints, a pause, an update of 64 agents; and the board of 50 runs.

    python tests/benchmarks/dashboard.py [runs] [beside] [paint] [pause] [updates] [--rounds 5]

Each part writes its figures into results/dashboard.json and leaves the others' alone.

In a real JupyterLab and a real Chromium. With and without the dashboard are measured in turns, in
one kernel; CPU seconds stand beside wall seconds, since other programs can take time but not CPU time. `crowding` is how
many times longer than its CPU time a fifth of a second of work took just before: 1 on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from tests.browser.lab import Notebook, Server, browser, eventually, until, write_notebook  # noqa: E402
from tests.browser.test_dashboard import FROM_CLICK_TO_PAUSED, crowding  # noqa: E402
from tests.reporting.comparison.made import make_long_runs  # noqa: E402

EXPERIMENT = """
import time
import evolab as ev
still = ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0)
exp = ev.Experiment("LunarLanderContinuous-v3", algorithm="TD3", population=4, num_envs=8,
                    network=ev.MLP([64, 64]), steps_per_generation=1_000, eval_steps=200, mutations=still, seed=1)
exp.fill(2_000)
exp.run(generations=1)
"""
FAKE = """
import json
from tests.reporting.dashboard.fake import FakeExperiment
from evolab.reporting.panels import Dashboard
exp = FakeExperiment(agents={agents}, cost=0, seed=2)
exp.run({generations})

weights = []

def weigh(board):  # every message that leaves the kernel from here on
    send = board.send
    board.send = lambda message, *rest: (weights.append(len(json.dumps(message))), send(message, *rest))
"""
BOARD = "board = exp.dashboard(rollout_every={every})\nboard"
FAKE_BOARD = "board = Dashboard(exp, rollout_every=0)\nboard"
LONG_TASKS = """() => { window.tasks = []; new PerformanceObserver(list => { for (const e of list.getEntries())
    window.tasks.push(e.duration); }).observe({ entryTypes: ["longtask"] }); }"""
MARK, SINCE = "() => { window.began = performance.now(); }", "() => performance.now() - window.began"
ALL_READ = """n => [...document.querySelectorAll('.ev-runs tbody tr')]
    .filter(r => r.children[4].textContent.trim() !== '\u2013').length >= n"""
GENERATIONS = 5  # of one turn with or without the dashboard
PAINTED = """n => Number(document.querySelector('.ev-tiles b').textContent.replace(/\\D/g, '')) >= n
    && document.querySelector('.ev-fitness canvas').width > 0"""
SHOWN = "n => Number(document.querySelector('.ev-tiles b').textContent.replace(/\\D/g, '')) >= n"


def train(lab: Notebook, generations: int) -> tuple[float, float]:
    """Wall and CPU seconds of the kernel for some generations in the background."""
    number = int(lab.value("len(exp.history.generations)"))
    lab.value(f"[globals().update(cpu=time.process_time()), exp.start(generations={generations})]")
    while lab.value("exp.status") == "'running'":
        time.sleep(0.5)
    cpu = float(lab.value("time.process_time() - cpu"))
    wall = lab.value(f"sum(sum(g.seconds.values()) for g in exp.history.generations[{number}:])")
    return float(wall), cpu


def beside(open_page: Any, rounds: int) -> dict[str, Any]:
    """Training with the dashboard open and without it, in turns."""
    lab = open_page(EXPERIMENT, BOARD.format(every=0))
    lab.run_cell(0)
    kept: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    for turn in range(2 * rounds):
        name = ("with", "without", "without", "with")[turn % 4]
        if name == "with":
            lab.run_cell(1)
            lab.page.wait_for_selector(".ev-fitness canvas", state="visible")
        time.sleep(3)  # an open dashboard is meant, not its opening; first paint is measured by itself
        kept[name].append(train(lab, GENERATIONS))
        if name == "with":
            lab.value("board.close()")
    wall, cpu = ({k: [pair[i] for pair in v] for k, v in kept.items()} for i in (0, 1))
    return {
        "generations_each": GENERATIONS * rounds,
        "wall_seconds_without": [round(s, 2) for s in wall["without"]],
        "wall_seconds_with": [round(s, 2) for s in wall["with"]],
        "wall_ratio_of_medians": round(median(wall["with"]) / median(wall["without"]), 3),
        "kernel_cpu_seconds_without": [round(s, 2) for s in cpu["without"]],
        "kernel_cpu_seconds_with": [round(s, 2) for s in cpu["with"]],
        "kernel_cpu_ratio_of_medians": round(median(cpu["with"]) / median(cpu["without"]), 3),
    }


def first_paint(open_page: Any, rounds: int, agents: int, generations: int) -> dict[str, Any]:
    """Seconds until the dashboard of so many agents and generations is drawn, each time on a fresh page."""
    painted, kernel, page, crowd = [], [], [], []
    for _ in range(rounds):
        lab = open_page(FAKE.format(agents=agents, generations=generations), FAKE_BOARD)
        lab.run_cell(0)
        lab.value("globals().update(time=__import__('time'))")
        cpu = float(lab.value("time.process_time()"))
        probe = lab.context.new_cdp_session(lab.page)
        probe.send("Performance.enable", {"timeDomain": "threadTicks"})
        crowd.append(round(crowding(), 1))
        before = busy(probe)
        lab.page.evaluate(MARK)
        lab.start_cell(1)
        until(lab.page, PAINTED, generations)
        painted.append(round(lab.page.evaluate(SINCE) / 1000, 3))
        page.append(round(busy(probe) - before, 3))
        kernel.append(round(float(lab.value("time.process_time()")) - cpu, 3))
        lab.close()
    return {
        "agents": agents, "generations": generations, "after_the_cell_starts": painted,
        "crowding": crowd, "kernel_cpu_seconds": kernel, "page_cpu_seconds": page,
    }  # fmt: skip


def pauses(open_page: Any, rounds: int) -> list[float]:
    """Seconds from a click on Pause to a page that says so, by the page's clock, while four agents train."""
    lab = open_page(EXPERIMENT, BOARD.format(every=0))
    lab.run_all()
    found = []
    for _ in range(rounds):
        lab.page.get_by_role("button", name="Run", exact=True).click()
        until(lab.page, "() => document.querySelector('.ev-phase').textContent.includes('training')")
        lab.page.evaluate(FROM_CLICK_TO_PAUSED)
        lab.page.get_by_role("button", name="Pause", exact=True).click()
        until(lab.page, "() => document.querySelector('.ev-state').textContent === 'paused'")
        found.append(round(lab.page.evaluate("() => window.paused - window.clicked") / 1000, 3))
    return found


def busy(probe: Any) -> float:
    """CPU seconds of a page's main thread so far."""
    metrics = probe.send("Performance.getMetrics")["metrics"]
    return next(float(m["value"]) for m in metrics if m["name"] == "TaskDuration")


def updates(open_page: Any, agents: int, generations: int, count: int = 20) -> dict[str, Any]:
    """CPU milliseconds of the page's main thread for each new generation, and the bytes of each message."""
    lab = open_page(FAKE.format(agents=agents, generations=generations), FAKE_BOARD)
    lab.run_cell(0)
    lab.value("setattr(exp, 'cost', 0.6)")
    lab.run_cell(1)
    until(lab.page, SHOWN, generations)
    lab.value("weigh(board)")
    probe = lab.context.new_cdp_session(lab.page)
    probe.send("Performance.enable", {"timeDomain": "threadTicks"})
    start, at = busy(probe), time.perf_counter()
    time.sleep(5)
    idle = (busy(probe) - start) / (time.perf_counter() - at)  # JupyterLab's own
    lab.value("exp.start()")
    until(lab.page, SHOWN, generations + 1)
    lab.page.evaluate(LONG_TASKS)
    start, at, first = busy(probe), time.perf_counter(), int(lab.value("len(exp.history)"))
    time.sleep(0.7 * count)  # who waits for the page by looking at it keeps it busy
    spent, seconds, last = busy(probe) - start, time.perf_counter() - at, int(lab.value("len(exp.history)"))
    lab.value("exp.pause()")
    frames = [int(n) for n in json.loads(lab.value("weights"))]
    eventually(lambda: lab.value("exp.status") == "'paused'", "training pauses")
    return {
        "agents": agents,
        "generations": generations,
        "main_thread_cpu_ms_a_generation": round(1000 * (spent - idle * seconds) / (last - first), 1),
        "of_that_page_at_rest_ms_a_second": round(1000 * idle, 1),
        "tasks_over_50_ms_wall": [round(t) for t in lab.page.evaluate("() => window.tasks")],
        "messages": len(frames),
        "largest_message_bytes": max(frames),
    }


def runs(open_page: Any, rounds: int, count: int = 50, generations: int = 1_000) -> dict[str, Any]:
    """Seconds until the board of many long runs shows its table, and the curves too, each time on a fresh page."""
    rows, curves, kernel, page, tasks, crowd = [], [], [], [], [], []
    with tempfile.TemporaryDirectory() as place:
        make_long_runs(Path(place), count, generations)
        for _ in range(rounds):
            lab = open_page(
                "import time\nimport evolab as ev\nev.dashboard", f"board = ev.dashboard({place!r})\nboard"
            )
            lab.run_cell(0)
            cpu = float(lab.value("time.process_time()"))
            probe = lab.context.new_cdp_session(lab.page)
            probe.send("Performance.enable", {"timeDomain": "threadTicks"})
            lab.page.evaluate(LONG_TASKS)
            crowd.append(round(crowding(), 1))
            before = busy(probe)
            lab.page.evaluate(MARK)
            lab.start_cell(1)
            until(lab.page, "n => document.querySelectorAll('.ev-runs tbody tr').length >= n", count)
            rows.append(round(lab.page.evaluate(SINCE) / 1000, 3))
            until(lab.page, ALL_READ, count)
            curves.append(round(lab.page.evaluate(SINCE) / 1000, 3))
            page.append(round(busy(probe) - before, 3))
            kernel.append(round(float(lab.value("time.process_time()")) - cpu, 3))
            tasks.append(round(max(lab.page.evaluate("() => window.tasks"), default=0)))
            lab.close()
    return {
        "runs": count, "generations": generations, "table_after_the_cell_starts": rows, "all_curves": curves,
        "crowding": crowd, "kernel_cpu_seconds": kernel, "page_cpu_seconds": page, "longest_task_of_the_page_ms": tasks,
    }  # fmt: skip


PARTS = {
    "runs": ("board_of_fifty_runs_seconds", runs),
    "beside": ("training_beside_the_dashboard", beside),
    "paint": (
        "first_paint_seconds",
        lambda open_page, rounds: [first_paint(open_page, rounds, *size) for size in ((12, 60), (64, 1_000))],
    ),
    "pause": ("pause_seconds", pauses),
    "updates": ("updates", lambda open_page, _: [updates(open_page, 12, 200), updates(open_page, 64, 1000)]),
}


def main() -> None:
    """Measure, print and write results/dashboard.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them without a name")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    from machine import described

    path = HERE / "results" / "dashboard.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result |= described()
    with tempfile.TemporaryDirectory() as place, browser() as chromium:
        server, pages = Server(Path(place), ROOT), 0

        def open_page(*cells: str) -> Notebook:
            nonlocal pages
            pages += 1
            write_notebook(Path(place) / f"page-{pages}.ipynb", cells)
            return Notebook(chromium, server, f"page-{pages}.ipynb", 1280, 1700)

        try:
            for part in options.parts or PARTS:
                name, measure = PARTS[part]
                load = round(os.getloadavg()[0], 1)
                found = measure(open_page, options.rounds)
                result[name] = {"load_average_before": load, "measured": found}
                print(name, json.dumps(result[name]), flush=True)
        finally:
            server.close()
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
