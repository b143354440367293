"""Runs advanced by actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from evolab.core.ray_session import connect, imported, losses, room_in_store
from evolab.core.version import VERSION
from evolab.experiment.engines.orders import PERIOD, Job, Order, Report
from evolab.experiment.engines.worker import Host
from evolab.storage import lock
from evolab.storage.outage import is_away

LOSSES = 3
"""Workers that may end one after the other without an answer, for each that is wanted, before the reason is shown."""


class RunActor:
    """A worker in a process of Ray's."""

    def __init__(self) -> None:
        self._host = Host()
        self._met = False

    def advance(self, order: Order, expected: Mapping[str, str]) -> Report | str | None:
        """Carry out an order; None where another worker has the run, words where this process is not as expected."""
        for name, here in about().items():
            if here != expected[name]:
                return f"a node of the cluster has {name} {here}, this process {expected[name]}; they must agree."
        if not self._met and is_away(order.mark):
            return (
                f"{order.home} is not there on {platform.node()}, a node of the cluster. Every worker writes to it: "
                "name a folder that all machines see, such as '/shared/runs'."
            )
        self._met = True  # from now on it is waited for
        try:
            return self._host.advance(order)
        except lock.InUse:
            return None

    def close(self) -> None:
        """Close the run that is in memory."""
        self._host.close()


class OnRay:
    """Actors of Ray, each with as many of its CPUs as it has threads.

    Args:
        workers: actors; 0 for as many as there is room for.
        threads: of each.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: nobody answers at `RAY_ADDRESS`.
        RuntimeError: a node has another Python or evolab.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        self._threads = threads
        self._ray = imported("engine='ray'")
        self._begun_here = connect("engine='ray'", workers * threads or None)
        room = int(self._ray.cluster_resources().get("CPU", 1)) // threads
        if workers > room:
            raise ValueError(
                f"workers is {workers} with {threads} threads each, and the cluster has room for {room}. Pass fewer."
            )
        self._wanted = workers or max(1, room)
        self._crew: dict[Any, str] = {}  # actor -> the run it had last
        self._stopped = False

    def drive(self, job: Job) -> Iterator[Report]:
        """Every report as it comes in, until the job has no orders left."""
        flying: dict[Any, tuple[Any, Order]] = {}
        lost: set[str] = set()
        in_a_row = 0
        while True:
            under_way = {order.run for _, order in flying.values()}
            waiting = [order for order in job.orders() if order.run not in under_way]
            if self._stopped or (not waiting and not flying):
                return
            for order in waiting[: self._wanted - len(flying)]:
                actor = self._actor(order.run, {one for one, _ in flying.values()})
                flying[self._sent(actor, replace(order, take=order.run in lost))] = (actor, order)
            done, _ = self._ray.wait(list(flying), num_returns=1, timeout=1.0)
            for answer in done:
                actor, order = flying.pop(answer)
                try:
                    report = self._ray.get(answer)
                except losses(self._ray) as error:  # the order is given again
                    self._crew.pop(actor, None)
                    with suppress(Exception):  # it may live on where its answer alone is lost
                        self._ray.kill(actor)
                    lost.add(order.run)
                    in_a_row += 1
                    if in_a_row > LOSSES * self._wanted:
                        raise RuntimeError(f"workers of Ray end as soon as they begin: {error}") from None
                    yield Report.read(job.home, order.run)
                    continue
                in_a_row = 0
                if isinstance(report, str):
                    raise RuntimeError(report)
                if report is None:
                    time.sleep(PERIOD)
                    continue
                lost.discard(order.run)
                yield report

    def _actor(self, run: str, busy: set[object]) -> Any:
        """An actor that is free, the one that had this run last if it is; a new one where there is room."""
        free = [actor for actor in self._crew if actor not in busy]
        for actor in free:
            if self._crew[actor] == run:
                return actor
        if len(self._crew) < self._wanted:
            made = self._ray.remote(RunActor).options(num_cpus=self._threads, max_restarts=0).remote()
            self._crew[made] = run
            return made
        self._crew[free[0]] = run
        return free[0]

    def _sent(self, actor: Any, order: Order) -> Any:
        try:
            with room_in_store(self._ray, f"run {order.run}"):
                return actor.advance.remote(order, about())
        except TypeError as error:
            names = ", ".join(order.own) or "an option"
            raise TypeError(
                f"run {order.run}: {names} cannot be sent to a worker: {str(error).strip().splitlines()[0]} Pass a "
                "function of a module, or an id that names its module: 'my_module:MyEnv-v0'."
            ) from None

    def stop(self) -> None:
        """Wait for nobody."""
        self._stopped = True

    def close(self) -> None:
        """Let the actors go; their runs stand at their newest checkpoints."""
        for actor in self._crew:
            self._ray.kill(actor)
        self._crew.clear()
        if self._begun_here:
            self._ray.shutdown()


def about() -> dict[str, str]:
    """What has to be the same in every process."""
    return {"evolab": VERSION, "Python": platform.python_version()}
