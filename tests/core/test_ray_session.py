"""What Ray says, as evolab says it; no Ray is needed for that."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest

from evolab.core import ray_session
from evolab.core.ray_session import room_in_store


class Full(Exception):
    """The object store's, or the disk's that it is spilled to."""


@pytest.mark.parametrize("place", ["ObjectStoreFullError", "OutOfDiskError"])
def test_a_full_object_store_ends_with_a_sentence(place):
    kinds = {name: type(name, (Exception,), {}) for name in ("ObjectStoreFullError", "OutOfDiskError")}
    ray = SimpleNamespace(exceptions=SimpleNamespace(**{**kinds, place: Full}))
    with (
        pytest.raises(
            MemoryError, match=r"Toy: Ray's object store is full: no room .* --object-store-memory=BYTES"
        ),
        room_in_store(ray, "Toy"),
    ):
        raise Full("no room for 100000000 bytes\nand more")
    with pytest.raises(OSError, match="another"), room_in_store(ray, "Toy"):
        raise OSError("another")


def answers(listener, text):
    """Have the next connection be answered."""

    def answer():
        line = listener.accept()[0]
        if line.recv(100):
            line.sendall(text)

    threading.Thread(target=answer, daemon=True).start()


def test_who_listens_at_the_address_and_is_no_ray_is_found_out(monkeypatch):
    """Ray itself waited for minutes, and wrote warnings of its own meanwhile."""
    assert ray_session.PATIENCE == 10
    monkeypatch.setattr(ray_session, "PATIENCE", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=f"no Ray answers at {address} .*refused"):
            ray_session._knock(address)
        taken.listen()
        with pytest.raises(ConnectionError, match=f"no Ray answers at {address} .*timed out"):
            ray_session._knock(address)
        monkeypatch.undo()
        taken.accept()
        answers(taken, b"HTTP/1.1 400 Bad Request\r\n")
        with pytest.raises(ConnectionError, match="what listens there speaks another language"):
            ray_session._knock(address)
        answers(taken, b"\0\0\0\4\0\0\0\0\0")
        ray_session._knock(address)
