"""Asking the remote, beside the passes: on a thread of its own, each time within a deadline.

What does not answer keeps what is applied. Only a ref below `refs/reconciler/` is moved; the branches of the clone,
what is checked out and `FETCH_HEAD` stay as they are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.sources.branch import Branch

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 60.0
"""How long a remote may take to send what is new."""


class Fetching:
    """Fetches every `every_s`, and at once when asked. `on_change` is called when there is something to look at."""

    def __init__(
        self, branch: Branch, every_s: float, on_change: Callable[[], None], clock: Clock, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`branch` is this one's alone."""
        self._branch = branch
        self._every_s = every_s
        self._on_change = on_change
        self._clock = clock
        self._timeout_s = timeout_s
        self._wake = threading.Event()
        self._stopping = False
        self._fault = ""
        self._seen = ""
        self._thread = threading.Thread(target=self._run, name="fetching", daemon=True)

    def fault(self) -> str:
        """Why the remote did not answer when it was asked last; empty where it did."""
        return self._fault

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Fetch soon, whatever the time. Thread-safe, returns at once."""
        self._wake.set()

    def stop(self, deadline_s: float = 1.0) -> None:
        """Fetch no more. What is under way is given up with its process, when that is over or at its deadline."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self.fetch()
            self._clock.wait(self._wake, self._every_s)

    def fetch(self) -> None:
        """Once, now; what came of it is in `fault`, and told where it is another."""
        try:
            self._branch.fetch(self._timeout_s)
            fault, seen = "", self._branch.position() or ""
        except SourceError as error:
            fault, seen = str(error), self._seen
        except Exception as error:
            log.exception("fetching failed")
            fault, seen = f"{type(error).__name__}: {error}", self._seen
        is_news = (fault, seen) != (self._fault, self._seen)
        self._fault, self._seen = fault, seen
        if is_news and not self._stopping:
            self._on_change()


_LOOK_S: Final = 0.2
"""How often the ref is looked at: the look-up is a stat and a read, and works where nothing tells of changes."""


class RefWatcher:
    """Calls `on_change` from a thread of its own, soon after the branch is at another commit. Only a hint.

    With the remote of the branch it begins and ends to ask that, too.
    """

    def __init__(
        self,
        branch: Branch,
        on_change: Callable[[], None],
        clock: Clock,
        fetching: Fetching | None = None,
        look_s: float = _LOOK_S,
    ) -> None:
        """`branch` is this one's alone."""
        self._fetching = fetching
        self._branch = branch
        self._on_change = on_change
        self._clock = clock
        self._look_s = look_s
        self._stop = threading.Event()
        self._seen = self._position()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if self._fetching is not None:
            self._fetching.start()

    def stop(self) -> None:
        """Look no more, and wait for the thread: nothing is called afterwards."""
        if self._fetching is not None:
            self._fetching.stop()
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait(self._stop, self._look_s):
            seen = self._position()
            if seen != self._seen:
                self._seen = seen
                self._on_change()

    def _position(self) -> str | None:
        """What cannot be read is for the pass to tell."""
        try:
            return self._branch.position()
        except SourceError as error:
            return str(error)
