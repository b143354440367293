"""Ray, where it is installed: the only file that imports it, and the one that begins it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from evolab.core import checks

PATIENCE = 10.0
"""Seconds that a cluster has to answer."""

STORE = 100_000_000
"""Bytes of the object store of a Ray that is started here: large observations go through it, all else is small."""

ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""What tells Ray whether other machines are to reach it."""

SETTINGS = b"\x04"
"""The kind of frame by which HTTP/2 begins, which Ray speaks, after its length of three bytes."""

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0" * 5
"""How a client begins: RFC 9113, section 3.4."""

ATTEMPTS = 3
"""Times that a Ray of this machine is begun."""


def imported(part: str) -> Any:
    """Ray's module.

    Args:
        part: of evolab that needs it.

    Raises:
        ImportError: it is not installed.
    """
    alone = not os.environ.get("RAY_ADDRESS")
    if alone:
        # Without it a Ray of one machine listens on all of its addresses, whatever `init` is told.
        os.environ.setdefault(ALONE, "0")
    try:
        import ray
    except ImportError:
        raise checks.missing(part, "Ray", "ray") from None
    if alone and os.environ[ALONE] == "0":  # read at Ray's import, which may have been before
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    return ray


def connect(part: str, cpus: int | None = None) -> bool:
    """Have Ray ready: the one that is there, the cluster of `RAY_ADDRESS`, or one of this machine alone.

    Args:
        part: of evolab that needs it.
        cpus: of one that is started here; None for all.

    Returns:
        True where it was started here.

    Raises:
        ConnectionError: nobody answers at the address.
    """
    ray = imported(part)
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS")
    if address and address not in ("local", "auto"):
        _knock(address)
        if _listens_here_alone(ray, address):
            ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError) as error:
            raise ConnectionError(
                f"what listens at {address} (RAY_ADDRESS) did not let this program in: {error}. Where `ray start` said "
                "that tokens are asked for, set RAY_AUTH_MODE=token here too; the versions of Ray and Python must agree."
            ) from None
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


def losses(ray: ModuleType) -> tuple[type[Exception], ...]:
    """The errors that say that an actor, or what it had answered, is gone: killed, out of memory, or its node lost.

    Args:
        ray: its module.
    """
    names = ("RayActorError", "OutOfMemoryError", "NodeDiedError", "WorkerCrashedError", "ObjectLostError")
    return tuple(getattr(ray.exceptions, name) for name in names)


@contextmanager
def room_in_store(ray: ModuleType, part: str) -> Iterator[None]:
    """Inside, an object store that is full is a sentence.

    Args:
        ray: its module.
        part: of evolab that sends something through it.

    Raises:
        MemoryError: says what to do.
    """
    try:
        yield
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        said = str(error).strip().splitlines()[0]
        raise MemoryError(
            f"{part}: Ray's object store is full: {said} Give it more with `ray start --object-store-memory=BYTES` and "
            "RAY_ADDRESS, or send less: fewer environments, smaller observations."
        ) from None


def _knock(address: str) -> None:
    """Raise a sentence where nobody listens, or who listens is no Ray, long before Ray gives up."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        raise ValueError(
            f"RAY_ADDRESS is {address!r}; a host and a port are expected, such as 10.0.0.1:6379."
        )
    try:
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            line.sendall(HELLO)
            if line.recv(9)[3:4] != SETTINGS:
                raise ConnectionError("what listens there speaks another language")
    except OSError as error:
        raise ConnectionError(
            f"no Ray answers at {address} (RAY_ADDRESS): {error}. Start one there with `ray start --head`, or unset it "
            "for one on this machine."
        ) from None


def _listens_here_alone(ray: ModuleType, address: str) -> bool:
    """True for a cluster on the loopback alone, as `connect` starts one: Ray looks for it at the machine's own address."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        return False
    try:
        socket.create_connection((ray.util.get_node_ip_address(), int(port)), timeout=PATIENCE).close()
    except OSError:
        return True
    return False
