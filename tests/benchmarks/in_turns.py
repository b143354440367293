"""Updates of evolab and of a peer in turns: each in a process of its own, one thread, in CPU time for each agent."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

AGENTS = (1, 4)
NAMES = {"sb3": "SB3"}
"""Of peers in a result, where they are not those of their environments."""

Case = Mapping[str, Any]
Spent = Mapping[Any, Sequence[float]]


def answer(tools: Mapping[str, type], name: str) -> None:
    """Answer line by line, until there is none, as `peer_loops.py` does."""
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tool = tools[name]()
    print(json.dumps(tool.version), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(tool, request.pop("what"))(**request)), file=answers, flush=True)


def rows_of(
    case: Case, peer: str, ours: Spent, theirs: Spent, goals: Mapping[int, float]
) -> list[dict[str, Any]]:
    """A row for each number of agents: medians, and the ratios within each repeat, their median, the least and the most.

    Args:
        case: what was measured.
        peer: its name in the row.
        ours: seconds of an update of an agent in each repeat, by number of agents.
        theirs: seconds in each repeat of "updates", and of what else was asked.
        goals: ratios that are to be reached, by number of agents, where there is one.
    """
    found = []
    for agents, spent in ours.items():
        ratios = [round(a / b, 2) for a, b in zip(theirs["updates"], spent, strict=True)]
        row = {**case, "agents": agents, "microseconds_per_agent": _microseconds(spent)}
        for what, seconds in theirs.items():
            row[f"{peer}_microseconds" if what == "updates" else f"{peer}_{what}_microseconds"] = (
                _microseconds(seconds)
            )
        row |= {"times_faster": round(median(ratios), 2), "least": min(ratios), "most": max(ratios)}
        found.append(row | ({"goal": goals[agents]} if agents in goals else {}) | {"ratios": ratios})
    return found


def _microseconds(seconds: Sequence[float]) -> float:
    return round(1e6 * median(seconds), 1)


def measured(
    evolab: Any, peer: Any, case: Case, count: int, repeats: int, asked: Sequence[str]
) -> tuple[Spent, Spent]:
    """Seconds in each repeat, ours by number of agents and theirs by what was asked; each repeat asks all of them."""
    ours: dict[int, list[float]] = {agents: [] for agents in AGENTS}
    theirs: dict[str, list[float]] = {what: [] for what in ("updates", *asked)}
    for repeat in range(repeats + 1):
        told = {what: peer(what, **case, count=count) for what in theirs}
        own = {agents: evolab("updates", **case, count=count, agents=agents) for agents in AGENTS}
        if repeat:  # the first warms up
            for what, seconds in told.items():
                theirs[what].append(seconds)
            for agents, seconds in own.items():
                ours[agents].append(seconds)
    return ours, theirs


def compared(
    script: str,
    peer: str,
    place: Path | None,
    cases: Sequence[tuple[Case, int]],
    goals: Mapping[int, float],
    repeats: int,
    asked: Sequence[str] = (),
) -> dict[str, Any]:
    """The rows of all cases, with the machine and the versions.

    Args:
        script: answers where it is started with `--answer` and a name.
        peer: its environment.
        place: where environments of peers are, or are made and stay; None for a folder that is removed.
        cases: what to measure, and how many updates of it make a repeat.
        goals: as in `rows_of`.
        repeats: of which medians are taken.
        asked: what else the peer is asked of each case.
    """
    from machine import described, gemm_rate
    from peer_environments import python_of
    from peers import Tool

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        python = python_of(place or Path(folder), peer)
        tools = [
            Tool(one, name, 1, Path(script)) for one, name in ((sys.executable, "evolab"), (python, peer))
        ]
        try:
            for case, count in cases:
                spent = measured(*tools, case, count, repeats, asked)
                for row in rows_of(case, NAMES.get(peer, peer), *spent, goals):
                    print(json.dumps(row), flush=True)
                    rows.append(row)
            versions = {tool.name: tool.version for tool in tools}
        finally:
            for tool in tools:
                tool.close()
    about = {**described(), "gemm_gflops_at_256": round(gemm_rate(width=256), 1), "versions": versions}
    return {**about, "updates": rows}


def main(
    tools: Mapping[str, type],
    algorithms: Sequence[str],
    cases: Callable[[Sequence[str]], Sequence[tuple[Case, int]]],
    goals: Mapping[int, float],
    result: Path,
    asked: Sequence[str] = (),
) -> None:
    """The command line of a script: both in turns, and write the result where everything was asked for.

    Args:
        tools: "evolab", then the peer by the name of its environment.
        algorithms: that are measured where none is named.
        cases: what to measure of the algorithms, as in `compared`.
        goals: as in `rows_of`.
        result: the file.
        asked: as in `compared`.
    """
    if sys.argv[1:2] == ["--answer"]:
        answer(tools, sys.argv[2])
        return
    about, script = sys.modules["__main__"].__doc__, str(Path(sys.argv[0]).resolve())
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("algorithms", nargs="*", help=f"of {', '.join(algorithms)}; all without a name")
    parser.add_argument("--peers", type=Path, help="where their environments are, or are made and stay")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    _, peer = tools
    wanted = cases(options.algorithms or algorithms)
    found = compared(script, peer, options.peers, wanted, goals, options.repeats, asked)
    if not options.algorithms:
        result.write_text(json.dumps(found, indent=1) + "\n")
