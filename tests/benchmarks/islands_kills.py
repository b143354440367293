"""Does a killed worker or driver change what islands find? Part `kills` of `islands.py`."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import evolab as ev
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


def kills(wanted: int = 50, generations: int = 8, seed: int = 0) -> dict[str, Any]:
    """So many searches, in each of which a worker or the driver is killed with -9 at a random moment.

    The moments lie anywhere in the time that an undisturbed search takes. A search whose driver was killed is begun again
    by the same call. Each that has ended is compared with the undisturbed one, bit for bit.
    """
    draw = random.Random(seed)
    found = {"searches": 0, "equal": 0, "workers killed": 0, "drivers killed": 0}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        started = time.monotonic()
        _driven(whole, generations).join()
        lasts = time.monotonic() - started
        while found["searches"] < wanted:
            home = Path(scratch) / "search"
            killed = _disturbed(home, generations, draw.uniform(0, lasts), draw)
            if killed:
                found["searches"] += 1
                found[killed] += 1
                found["equal"] += _same(home, whole)
                print(found, flush=True)
            shutil.rmtree(home, ignore_errors=True)
    return found | {"generations": generations, **SEARCH}


def _disturbed(home: Path, generations: int, moment: float, draw: random.Random) -> str:
    """One search, to its end; what was killed in it, empty where it ended before."""
    due, killed, worker = time.monotonic() + moment, "", draw.random() < 0.5
    while True:
        driver = _driven(home, generations)
        while driver.is_alive():
            time.sleep(0.01)
            if killed or time.monotonic() < due:
                continue
            # A worker may be anywhere: it begins, has a run, or waits for one.
            crew = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
            if worker and crew:
                os.kill(int(draw.choice(crew)), signal.SIGKILL)
                killed = "workers killed"
            elif not worker:
                driver.kill()
                killed = "drivers killed"
        driver.join()
        if driver.exitcode == 0:
            return killed
        if driver.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"a search ended with {driver.exitcode}; what it said stands above.")


def _driven(home: Path, generations: int) -> multiprocessing.process.BaseProcess:
    """The driver of a search, in a process of its own; its two workers are others."""
    return _forked(_tiny, home, generations)


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


def _tiny(home: Path, generations: int) -> None:
    about = {"engine": "folder", "workers": 2, "retries": 20, "generations": generations}
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
