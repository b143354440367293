"""Does a killed worker or driver change what islands find? Parts `kills` and `kills_ray` of `islands.py`.

On Ray the drivers come and go, and the cluster stays: the actors of one that was killed live on for a moment, and hold
their runs, when the next one begins.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import evolab as ev
from evolab.core import ray_session
from evolab.experiment.engines import folder
from evolab.experiment.engines.orders import Job
from evolab.experiment.sweeps.joining import join

TINY: dict[str, Any] = {
    "environment": "CartPole-v1",
    "algorithm": "DQN",
    "population": 4,
    "steps_per_generation": 20,
    "network": [16],
    "buffer": 200,
    "hyperparameters": {"batch_size": 8},
    "fitness": "return",
    "seed": 1,
    "device": "cpu",
    "progress": False,
}
SEARCH = {"islands": 3, "every": 2}


def kills_ray(wanted: int = 20, generations: int = 8, seed: int = 0) -> dict[str, Any]:
    """The same with actors of Ray, on a cluster of this machine."""
    context = multiprocessing.get_context("spawn")
    addresses: Any = context.Queue()
    cluster = context.Process(target=_cluster, args=(addresses,))
    cluster.start()
    told = addresses.get(timeout=600)
    os.environ.update(told)
    try:
        ray_session.imported("the benchmark")  # once, and not in every driver
        return kills(wanted, generations, seed, "ray", lambda _: _actors(cluster.pid))
    finally:
        for name in told:
            del os.environ[name]
        cluster.terminate()
        cluster.join()


def _cluster(addresses: Any) -> None:
    folder.leave_with(os.getppid())
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray_session.connect("the benchmark", cpus=2)
    ray = ray_session.imported("the benchmark")
    secrets = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    addresses.put({**secrets, "RAY_ADDRESS": ray.get_runtime_context().gcs_address})
    signal.signal(signal.SIGTERM, lambda *_: (ray.shutdown(), os._exit(0)))
    while True:
        signal.pause()


def _actors(cluster: int | None) -> list[str]:
    """Process ids of the actors of a cluster, and of no other one on this machine."""
    parents, named = {}, []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[place.name] = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if (place / "cmdline").read_bytes().startswith(b"ray::RunActor"):
                named.append(place.name)
    found = []
    for one in named:
        above: str | None = one
        while above is not None and above != str(cluster):
            above = parents.get(above)
        if above is not None:
            found.append(one)
    return found


def _children(driver: int | None) -> list[str]:
    return Path(f"/proc/{driver}/task/{driver}/children").read_text().split()


def kills(
    wanted: int = 50,
    generations: int = 8,
    seed: int = 0,
    engine: str = "folder",
    crew_of: Callable[[int | None], list[str]] = _children,
) -> dict[str, Any]:
    """So many searches, in each of which a worker or the driver is killed with -9 at a random moment.

    The moments lie anywhere in the time that an undisturbed search takes. A search whose driver was killed is begun again
    by the same call. Each that has ended is compared with the undisturbed one, bit for bit.

    Args:
        wanted: how many.
        generations: of each island.
        seed: of the moments.
        engine: of the searches.
        crew_of: process ids of the workers of a driver.
    """
    draw = random.Random(seed)
    found = {"searches": 0, "equal": 0, "workers killed": 0, "drivers killed": 0}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        started = time.monotonic()
        _driven(whole, generations, engine).join()
        lasts = time.monotonic() - started
        with suppress(KeyboardInterrupt):  # what was found until then is written down
            while found["searches"] < wanted:
                home = Path(scratch) / "search"
                drive = functools.partial(_driven, home, generations, engine)
                killed = _disturbed(drive, draw.uniform(0, lasts), draw, crew_of)
                if killed:
                    same = _same(home, whole)
                    found["searches"] += 1
                    found[killed] += 1
                    found["equal"] += same
                    print(found, flush=True)
                shutil.rmtree(home, ignore_errors=True)
    return found | {"engine": engine, "generations": generations, **SEARCH}


def _disturbed(
    drive: Callable[[], multiprocessing.process.BaseProcess],
    moment: float,
    draw: random.Random,
    crew_of: Callable[[int | None], list[str]],
) -> str:
    """One search, to its end; what was killed in it, empty where it ended before."""
    due, killed, worker = time.monotonic() + moment, "", draw.random() < 0.5
    while True:
        driver = drive()
        try:
            while driver.is_alive():
                time.sleep(0.02)
                if killed or time.monotonic() < due:
                    continue
                # A worker may be anywhere: it begins, has a run, or waits for one.
                crew = crew_of(driver.pid)
                if worker and crew:
                    os.kill(int(draw.choice(crew)), signal.SIGKILL)
                    killed = "workers killed"
                elif not worker:
                    driver.kill()
                    killed = "drivers killed"
        except KeyboardInterrupt:
            driver.kill()
            raise
        driver.join()
        if driver.exitcode == 0:
            return killed
        if driver.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"a search ended with {driver.exitcode}; what it said stands above.")


def _driven(home: Path, generations: int, engine: str) -> multiprocessing.process.BaseProcess:
    """The driver of a search, in a process of its own; its two workers are others."""
    return _forked(_tiny, home, generations, engine)


def _forked(target: Callable[..., Any], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """A process that has imported all already: most of a search is imports else, and few kills would meet its work."""
    made = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    made.start()
    return made


class Forked:
    """A worker, as `Folder` knows those that it hires.

    Args:
        job: whose folder it joins.
        number: of the worker.
    """

    def __init__(self, job: Job, number: int) -> None:
        self._process = _forked(join, job.home, os.getpid())
        self.poll = lambda: self._process.exitcode
        self.kill, self.wait = self._process.kill, self._process.join


def _tiny(home: Path, generations: int, engine: str) -> None:
    about = {"engine": engine, "workers": 2, "retries": 20, "generations": generations}
    folder._hired = Forked
    ev.sweep(SEARCH, home, **TINY, **about)


def _same(home: Path, whole: Path) -> bool:
    for number in range(SEARCH["islands"]):
        one, other = (ev.load(place / f"island-{number}") for place in (home, whole))
        same = _state(one) == _state(other) and all(
            torch.equal(value, other.population.table[name]) for name, value in one.population.table.items()
        )
        same = same and all(
            torch.equal(value, other.buffer.fields[name]) for name, value in one.buffer.fields.items()
        )
        one.close()
        other.close()
        if not same:
            return False
    return True


def _state(exp: Any) -> list[str]:
    """All that is no tensor, without wall seconds."""
    events = [repr(asdict(replace(generation, seconds={}))) for generation in exp.history]
    known = (exp.best, exp.elite, exp.population.ids, exp.total_steps, exp.evaluation_steps, exp.buffer.added)
    return [*events, *map(repr, known), *sorted(exp.population.table.keys())]
