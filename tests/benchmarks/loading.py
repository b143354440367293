"""How long a data set takes to load, beside reading it row by row, and what a large one costs in memory.

    python tests/benchmarks/loading.py [--file FILE]
    python tests/benchmarks/loading.py --large GIB

The first compares ways of loading, the second what a file larger than its budget costs in memory.

Row by row is timed on a slice and extrapolated: each row costs the same, as its time on
two slices of different length shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

SHARED = ROOT.parent / "shared" / "data" / "cartpole_random_v1.1.0.h5"
PROBE = """
import json, sys, time
import numpy as np
import h5py, torch  # both are imported before anything is measured
from evolab.population.population import Population
from evolab.data.datasets.dataset import Dataset
from evolab.data.buffers.offline import buffer_from
def peak():
    # Not ru_maxrss, which a new process takes over from the one that started it.
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 2**10
at_first, start = peak(), time.perf_counter()
dataset = Dataset(sys.argv[1], max_memory=int(sys.argv[2]))
load = time.perf_counter() - start
rng, start = np.random.default_rng(0), time.process_time()
for _ in range(200):
    dataset.transitions(rng.integers(len(dataset), size=256))
sample, after = (time.process_time() - start) / 200, peak()
buffer, spaces = buffer_from(dataset)
population = Population("CQN", *spaces, 2, seed=0, network=[32])
population.learn(buffer, updates=10)
print(json.dumps({"rows": dataset.rows, "load_seconds": round(load, 2),
                  "sample_256_cpu_ms": round(sample * 1e3, 2),
                  "resident_before_mib": round(at_first), "peak_resident_mib": round(after),
                  "peak_resident_with_two_agents_learning_mib": round(peak())}))
"""


def by_rows(path: Path, rows: int) -> float:
    """Seconds per row of a loop that asks HDF5 for every field of every row."""
    keys = ("observations", "actions", "rewards", "terminals")
    with h5py.File(path, "r") as file:
        started = time.process_time()
        for row in range(rows):
            for key in keys:
                file[key][row]
            file["observations"][row + 1]
        return (time.process_time() - started) / rows


def in_bulk(path: Path, repeats: int = 30) -> list[tuple[float, float]]:
    """Wall and CPU seconds of `Dataset(path)`, labels, NaN and ranges included; the first also imports."""
    from evolab.data.datasets.dataset import Dataset

    seconds = []
    for _ in range(repeats):
        started = time.perf_counter(), time.process_time()
        Dataset(path)
        seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return seconds


def large(folder: str, gib: float, compression: str | None) -> dict[str, Any]:
    """Memory and time of a file of images larger than the budget, in a process of its own."""
    rows, path = int(gib * 2**30 / 84**2), Path(folder) / f"{compression}.h5"
    rng = np.random.default_rng(0)
    block = rng.integers(0, 8, (1024, 84, 84), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        chunks, level = ((64, 84, 84), 1) if compression else (None, None)
        images = file.create_dataset(
            "observations",
            (rows, 84, 84),
            "u1",
            chunks=chunks,
            compression=compression,
            compression_opts=level,
        )
        for start in range(0, rows, 1024):
            images[start : start + 1024] = block[: rows - start]
        file["actions"] = rng.integers(0, 4, rows)
        file["rewards"] = np.ones(rows, np.float32)
        file["terminals"] = np.arange(rows) % 500 == 499
    command = [sys.executable, "-c", PROBE, str(path), str(256 * 2**20)]
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, env=one)
    found = {"gib_of_images": gib, "file_gib": round(path.stat().st_size / 2**30, 2), "max_memory_mib": 256}
    path.unlink()
    return found | json.loads(run.stdout)


def compared(file: Path) -> dict[str, Any]:
    """Bulk against row by row, on the file."""
    whole = h5py.File(file)["rewards"].shape[0]
    rows = {count: by_rows(file, count) for count in (1_000, 4_000)}
    bulk = in_bulk(file)
    wall, cpu = np.median(bulk[1:], 0).tolist()
    slow = rows[4_000] * whole  # CPU seconds, like `cpu`: others may be busy on this machine
    return {
        "file": file.name,
        "rows": whole,
        "load_average": round(os.getloadavg()[0], 1),
        "load_cpu_seconds_first": round(bulk[0][1], 4),
        "load_cpu_seconds": round(cpu, 4),
        "load_wall_seconds": round(wall, 4),
        "load_wall_seconds_best": round(min(bulk)[0], 4),
        "row_by_row_cpu_us_per_row": {str(count): round(each * 1e6, 1) for count, each in rows.items()},
        "row_by_row_cpu_seconds_extrapolated": round(slow, 1),
        "times_faster": round(slow / cpu),
        "goal": "load under 0.1 s, at least 500 times faster than row by row",
    }


def main() -> None:
    """Measure, print and write into results/loading.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=SHARED)
    parser.add_argument("--large", type=float, default=0.0, help="GiB of images in the large file")
    options = parser.parse_args()
    from machine import described

    path = HERE / "results" / "loading.json"
    path.parent.mkdir(exist_ok=True)
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    result |= {**described(), "h5py": h5py.version.version}
    if options.large:
        with tempfile.TemporaryDirectory() as folder:
            result["large_plain"] = large(folder, options.large, None)
            result["large_gzip"] = large(folder, options.large / 10, "gzip")  # packing it takes a minute
    else:
        result |= compared(options.file)
    text = json.dumps(result, indent=1)
    print(text)
    path.write_text(text + "\n")


if __name__ == "__main__":
    main()
