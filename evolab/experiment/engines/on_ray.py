"""Runs advanced by actors of Ray, on this machine or on a cluster. The only file that imports Ray."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from evolab.core import checks
from evolab.core.version import VERSION
from evolab.experiment.engines.host import Host
from evolab.experiment.engines.orders import PERIOD, Job, Order, Report
from evolab.storage import lock

PATIENCE = 10.0
"""Seconds that a cluster has to answer."""

LOSSES = 3
"""Workers that may end one after the other without an answer, for each that is wanted, before the reason is shown."""

STORE = 100_000_000
"""Bytes of the object store of a Ray that is started here: orders and reports alone go through it."""

ATTEMPTS = 3
"""Times that a Ray of this machine is begun."""


class Actor:
    """A worker in a process of Ray's."""

    def __init__(self) -> None:
        self._host = Host()

    def advance(self, order: Order, expected: Mapping[str, str]) -> Report | str | None:
        """Carry out an order; None where another worker has the run, words where this process is not as expected."""
        for name, here in about().items():
            if here != expected[name]:
                return f"a node of the cluster has {name} {here}, this process {expected[name]}; they must agree."
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
        self._ray = imported()
        self._begun_here = connect(workers * threads or None)
        room = int(self._ray.cluster_resources().get("CPU", 1)) // threads
        if workers > room:
            raise ValueError(
                f"workers is {workers} with {threads} threads each, and the cluster has room for {room}. Pass fewer."
            )
        self._wanted = workers or max(1, room)
        self._crew: dict[Any, str] = {}  # actor -> the run it had last

    def drive(self, job: Job) -> Iterator[Report]:
        """Every report as it comes in, until the job has no orders left."""
        flying: dict[Any, tuple[Any, Order]] = {}
        lost: set[str] = set()
        in_a_row = 0
        while True:
            under_way = {order.run for _, order in flying.values()}
            waiting = [order for order in job.orders() if order.run not in under_way]
            if not waiting and not flying:
                return
            for order in waiting[: self._wanted - len(flying)]:
                actor = self._actor(order.run, {one for one, _ in flying.values()})
                flying[self._sent(actor, replace(order, take=order.run in lost))] = (actor, order)
            done, _ = self._ray.wait(list(flying), num_returns=1, timeout=1.0)
            for answer in done:
                actor, order = flying.pop(answer)
                try:
                    report = self._ray.get(answer)
                except self._ray.exceptions.RayActorError as error:
                    # Killed, out of memory, or its node is gone: the order is given again.
                    self._crew.pop(actor, None)
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

    def _actor(self, run: str, busy: set[Any]) -> Any:
        """An actor that is free, the one that had this run last if it is; a new one where there is room."""
        free = [actor for actor in self._crew if actor not in busy]
        for actor in free:
            if self._crew[actor] == run:
                return actor
        if len(self._crew) < self._wanted:
            made = self._ray.remote(Actor).options(num_cpus=self._threads, max_restarts=0).remote()
            self._crew[made] = run
            return made
        self._crew[free[0]] = run
        return free[0]

    def _sent(self, actor: Any, order: Order) -> Any:
        try:
            return actor.advance.remote(order, about())
        except TypeError as error:
            names = ", ".join(order.own) or "an option"
            raise TypeError(
                f"run {order.run}: {names} cannot be sent to a worker: {str(error).strip().splitlines()[0]} Pass a "
                "function of a module, or an id that names its module: 'my_module:MyEnv-v0'."
            ) from None

    def close(self) -> None:
        """Let the actors go; their runs stand at their newest checkpoints."""
        for actor in self._crew:
            self._ray.kill(actor)
        self._crew.clear()
        if self._begun_here:
            self._ray.shutdown()


def imported() -> Any:
    """Ray's module.

    Raises:
        ImportError: it is not installed.
    """
    if "ray" not in sys.modules and not os.environ.get("RAY_ADDRESS"):
        # Read at Ray's import: without it a Ray of one machine listens on all of its addresses, whatever `init` is told.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise checks.missing("engine='ray'", "Ray", "ray") from None
    return ray


def about() -> dict[str, str]:
    """What has to be the same in every process."""
    return {"evolab": VERSION, "Python": platform.python_version()}


def connect(cpus: int | None = None) -> bool:
    """Have Ray ready: the one that is there, the cluster of `RAY_ADDRESS`, or one of this machine alone.

    Args:
        cpus: of one that is started here; None for all.

    Returns:
        True where it was started here.

    Raises:
        ConnectionError: nobody answers at the address.
    """
    ray = imported()
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS")
    if address and address not in ("local", "auto"):
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        return True
    for attempt in range(1, ATTEMPTS + 1):
        try:
            # Bound to the loopback: whoever reaches Ray's ports may run any program.
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=STORE,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
            )
            break
        except Exception as error:  # on a busy machine its processes do not find each other within 15 s
            ray.shutdown()
            if attempt == ATTEMPTS or "timed out" not in str(error):
                raise
    return True


def _knock(address: str) -> None:
    """Raise a sentence where nobody listens, long before Ray gives up."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        raise ValueError(
            f"RAY_ADDRESS is {address!r}; a host and a port are expected, such as 10.0.0.1:6379."
        )
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except OSError as error:
        raise ConnectionError(
            f"no Ray answers at {address} (RAY_ADDRESS): {error}. Start one there with `ray start --head`, or unset it "
            "for one on this machine."
        ) from None
