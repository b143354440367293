"""The whole TD3 loop and offline CQN beside AgileRL's and Stable-Baselines3's, in turns, one command for the table.

    python tests/benchmarks/peers.py [--peers FOLDER] [--repeats 3] [--agents 4 16 64]
    python tests/benchmarks/peers.py --threads 2
    python tests/benchmarks/peers.py --table

LunarLanderContinuous, one update per agent and environment step of its own in all three, batch 128 unless said
otherwise; on one thread, in CPU time, or, as all three run where nothing is set, on as many threads as there are
cores, by the clock of a quiet machine; evaluation, evolution and the resets that begin a generation are excluded.
Always two rows: as a user runs both (each by its tutorial), and the same architecture, LayerNorm and all: there
evolab normalises every hidden layer of the peer's widths, which is more than the peer does. Stable-Baselines3
trains single agents: P of them take P times as long for P times as many steps, so that its rate is the same for
every P. LeanRL is a collection of scripts for GPUs, no package, and is left out.

The peers live in virtual environments of their own, `FOLDER/sb3` and `FOLDER/agilerl` (by default a folder that
is removed afterwards), which are made where they are missing. Every tool works in a process of its own, one at a
time: repeat by repeat each of them runs once, and a ratio is the median over the repeats of the ratios within one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from machine import described, gemm_rate
from peer_environments import python_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results" / "peers.json"
UPDATES, SAMPLED, AGENTS = 15_000, 300, 4  # of offline CQN; the peer's are extrapolated from SAMPLED

ROWS = {
    "AgileRL": "AgileRL, tutorial",
    "evolab": "evolab, own default (2x64)",
    "evolab, same architecture": "evolab, AgileRL's widths, LayerNorm everywhere",
    "SB3": "Stable-Baselines3, own default (400x300, batch 256, 1 environment)",
    "SB3, same widths": "Stable-Baselines3, AgileRL's widths, no LayerNorm",
}
RATIOS = {
    "as a user runs both": ("evolab", "AgileRL"),
    "same architecture": ("evolab, same architecture", "AgileRL"),
    "as a user runs both, SB3": ("evolab", "SB3"),
    "same widths, SB3": ("evolab, same architecture", "SB3, same widths"),
}


class Tool:
    """A process with one library in it, which answers by `script`; `peer_loops.py` if it is None."""

    def __init__(self, python: Path | str, name: str, threads: int, script: Path | None = None) -> None:
        cores = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        environment = os.environ | cores | {"TQDM_DISABLE": "1"}
        if name == "evolab":
            environment["PYTHONPATH"] = str(ROOT)
        asked = [str(HERE / "peer_loops.py")] if script is None else [str(script), "--answer"]
        command = [str(python), *asked, name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.name, self.version = name, self._answer()

    def __call__(self, what: str, **arguments: Any) -> Any:
        """Ask for something and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended without an answer; what it said stands above.")
        return json.loads(line)

    def close(self) -> None:
        """No more questions."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def vector_steps(agents: int) -> int:
    """Of each agent in one repeat of the slowest: two or three seconds."""
    return max(2, 40 // agents)


def measured(tools: dict[str, Tool], counts: list[int], repeats: int) -> dict[str, Any]:
    """Rates of all rows, taken in turns, and what follows from them."""
    evolab, agilerl, sb3 = (tools[name] for name in ("evolab", "agilerl", "sb3"))
    architecture = agilerl("architecture")
    same = architecture["TD3"]["hidden"]
    for agents in counts:  # makes and warms the populations
        agilerl("loop", agents=agents, vector_steps=1)
        evolab("loop", agents=agents, vector_steps=2)
        evolab("loop", agents=agents, vector_steps=2, hidden=same)
    for hidden in (None, same):
        sb3("loop", vector_steps=4, hidden=hidden)
    rates: dict[int, dict[str, list[float]]] = {agents: {name: [] for name in ROWS} for agents in counts}
    offline: dict[str, list[float]] = {"evolab": [], "evolab, same architecture": [], "AgileRL": []}
    ceiling = gemm_rate()
    for repeat in range(repeats):
        single = {
            "SB3": sb3("loop", vector_steps=60),
            "SB3, same widths": sb3("loop", vector_steps=40, hidden=same),
        }
        for agents in counts:
            steps, row = vector_steps(agents), rates[agents]
            ours = max(8, 512 // agents)
            row["evolab"].append(evolab("loop", agents=agents, vector_steps=ours))
            row["AgileRL"].append(agilerl("loop", agents=agents, vector_steps=steps))
            row["evolab, same architecture"].append(
                evolab("loop", agents=agents, vector_steps=max(4, ours // 3), hidden=same)
            )
            for name, rate in single.items():
                row[name].append(rate)
        whole = UPDATES if repeat == 0 else UPDATES // 10
        hidden = architecture["CQN"]["hidden"]
        offline["evolab"].append(evolab("offline", updates=whole) * UPDATES / whole)
        offline["AgileRL"].append(agilerl("offline", updates=SAMPLED) * UPDATES / SAMPLED * AGENTS)
        short = UPDATES // 10
        slower = evolab("offline", updates=short, hidden=hidden) * UPDATES / short
        offline["evolab, same architecture"].append(slower)
        ceiling = max(ceiling, gemm_rate())
    loop = []
    for agents, row in rates.items():
        ratios = {
            name: round(median(a / b for a, b in zip(row[ours], row[theirs], strict=True)), 1)
            for name, (ours, theirs) in RATIOS.items()
        }
        middles = {name: round(median(found)) for name, found in row.items()}
        loop.append({"agents": agents, "steps_per_second": middles, "times_faster": ratios})
    return {
        "versions": {name: tool.version for name, tool in tools.items()},
        "architecture": architecture,
        "gemm_gflops": round(ceiling, 1),
        "repeats": repeats,
        "updates_per_environment_step": 1,
        "loop": loop,
        "offline_cqn": {
            "updates_of_each_agent": UPDATES,
            "agents": AGENTS,
            "seconds": {name: round(median(found), 2) for name, found in offline.items()},
            "evolab_measured_in_full": round(offline["evolab"][0], 2),
            "AgileRL_extrapolated_from_updates": SAMPLED,
            "times_faster": {
                name: round(median(b / a for a, b in zip(offline[name], offline["AgileRL"], strict=True)), 1)
                for name in ("evolab", "evolab, same architecture")
            },
        },
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    counts = [row["agents"] for row in result["loop"]]
    lines = [f"| environment steps/s of the population | {' | '.join(f'P = {count}' for count in counts)} |"]
    lines.append("|---" * (len(counts) + 1) + "|")
    for name, words in ROWS.items():
        cells = [f"{row['steps_per_second'][name]:,}".replace(",", " ") for row in result["loop"]]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    for name in RATIOS:
        cells = [f"{row['times_faster'][name]} times" for row in result["loop"]]
        lines.append(f"| **{name}** | {' | '.join(cells)} |")
    offline = result["offline_cqn"]
    lines.append("")
    lines.append(f"Offline CQN, {offline['updates_of_each_agent']} updates of {offline['agents']} agents:")
    for name, seconds in offline["seconds"].items():
        faster = offline["times_faster"].get(name)
        tail = f", {faster} times AgileRL" if faster else ", extrapolated"
        lines.append(f"- {name}: {seconds} s{tail}")
    return "\n".join(lines)


def main() -> None:
    """Run all three in turns, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peers", type=Path, help="where their environments are, or are made and stay")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--agents", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what was measured before")
    options = parser.parse_args()
    if options.table:
        result = json.loads(RESULT.read_text())
        for threads, one in result.items():
            print(f"{threads}\n\n{table(one)}\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        place = options.peers or Path(folder)
        tools = {"evolab": Tool(sys.executable, "evolab", options.threads)}
        try:
            for name in ("agilerl", "sb3"):
                tools[name] = Tool(python_of(place, name), name, options.threads)
            result = described() | {"usable_cores": len(os.sched_getaffinity(0))}
            result |= measured(tools, options.agents, options.repeats)
        finally:
            for tool in tools.values():
                tool.close()
    print(table(result))
    if options.agents == [4, 16, 64]:
        before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        threads = "one thread" if options.threads == 1 else f"{options.threads} threads"
        RESULT.write_text(json.dumps(before | {threads: result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
