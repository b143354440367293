"""Everything that there is to know of a CUDA device, within ten minutes: `python tests/benchmarks/gpu.py --all FOLDER`.

Each part is a process of its own with a time of its own; what it finds, or why it failed, is written to
`FOLDER/gpu.json` before the next one begins, so that a machine that is taken away leaves what was done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ABOUT = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "device": torch.cuda.get_device_name() if cuda else "none: tried on the CPU, no result",
    "torch": torch.__version__, "cuda": torch.version.cuda,
    "gigabytes": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1) if cuda else 0,
}))
"""


@dataclass(frozen=True)
class Part:
    """One thing to find out.

    Attributes:
        name: in the result.
        seconds: that it may take.
        command: to run, from the repository's folder.
        found: reads the result from what the command printed.
    """

    name: str
    seconds: float
    command: list[str]
    found: Callable[[str], Any] = lambda printed: json.loads(printed.strip().splitlines()[-1])


def parts(folder: Path, device: str, quick: bool, peers: Path) -> list[Part]:
    """In order of worth."""
    gpu = [sys.executable, str(HERE / "gpu.py"), "--device", device]
    few = ["--repeats", "1"] if quick else ["--repeats", "3"]
    agents = ["--agents", *(["1", "4"] if quick else ["1", "4", "16", "64", "256"])]
    report = folder / "cuda-tests.xml"
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "cuda",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
    ]
    small = ["tests/networks/batching/test_cuda_graphs.py"] if quick else []
    return [
        Part("about", 60, [sys.executable, "-c", ABOUT]),
        Part("updates 2x64", 150, [*gpu, *agents, *few, "--hidden", "64", "--json"]),
        Part("tests", 200, [*tests, *small], lambda printed: outcomes(report)),
        Part("loop", 90, [*gpu, "--loop", *agents]),
        Part("one more bucket", 60, [*gpu, "--buckets"]),
        Part("updates 2x256", 100, [*gpu, *agents, *few, "--hidden", "256", "--json"]),
        Part(
            "peer",
            180,
            [*gpu, "--peers", str(folder / "peers"), "--agents", "1", *few, "--hidden", "64", "--json"],
        ),
    ]


def outcomes(report: Path) -> dict[str, Any]:
    """How many tests there were, and what those said that failed."""
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = {}
    for case in suite.iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            failed[f"{case.get('classname')}.{case.get('name')}"] = (problem.get("message") or "")[:500]
    return {**counts, "failed": failed}


def everything(
    folder: Path, device: str, minutes: float = 10, quick: bool = False, peers: Path | None = None
) -> dict[str, Any]:
    """Find out what can be found out within these minutes.

    Args:
        folder: gets `gpu.json`.
        device: "cuda", or "cpu" to try every part where there is none.
        minutes: for all parts together.
        quick: fewer agents and repeats.
        peers: where the peer's environment is; None for one that is made in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began, result = time.monotonic(), folder / "gpu.json"
    done: dict[str, Any] = {"device": device, "parts": {}}
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    for part in parts(folder, device, quick, peers or folder / "peers"):
        left, started = 60 * minutes - (time.monotonic() - began), time.monotonic()
        about: dict[str, Any] = {}
        if left < 5:
            about["failed"] = f"no time was left of {minutes} minutes"
        else:
            try:
                ended = subprocess.run(
                    part.command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
                    timeout=min(left, part.seconds),
                )  # fmt: skip
                about["found"] = part.found(ended.stdout)
                if ended.returncode and part.name != "tests":
                    about["failed"] = ended.stderr[-2000:]
            except subprocess.TimeoutExpired as problem:
                about["failed"] = f"not done within {problem.timeout:.0f} s"
            except (ValueError, IndexError, OSError, ElementTree.ParseError, StopIteration):
                about["failed"] = (ended.stderr or ended.stdout)[-2000:]
        done["parts"][part.name] = {**about, "seconds": round(time.monotonic() - started, 1)}
        result.write_text(json.dumps(done, indent=1) + "\n")
        print(
            f"{part.name}: {about.get('failed') or 'done'}, {done['parts'][part.name]['seconds']} s",
            flush=True,
        )
    return done
