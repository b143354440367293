"""The version of evolab, which everything that it writes to disk names."""

from __future__ import annotations

VERSION = "0.2.0"
