"""What reads a server is tried on a desk of the order side, too."""

from __future__ import annotations

from tests.execution.conftest import clock, desk, main_loop, server, store

__all__ = ["clock", "desk", "main_loop", "server", "store"]
