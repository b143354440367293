"""What Ray says, as evolab says it; no Ray is needed for that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

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
