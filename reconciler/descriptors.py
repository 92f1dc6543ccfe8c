"""File descriptors: as many as this process may have, and some in reserve for when they are used up."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import threading

RESERVED = 64
"""For the control socket, files and the database, whoever has taken all the others."""
MOST = 65_536
"""More are not asked for: what leaks them is to be told before memory is gone."""

log = logging.getLogger(__name__)


class Descriptors:
    """The soft limit is raised to the hard one, but for a reserve. Once none is left, the reserve is given out.

    What used them up, a strategy or a server, may take the reserve as well: it helps for as long as that takes.
    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST if hard == resource.RLIM_INFINITY else max(soft, min(hard, MOST))
        self._hard = hard
        self._all = most
        self.limit = max(most - RESERVED, most // 2)
        """How many there are before the reserve."""
        self.fault = ""
        """That they are used up, empty where they are not."""
        self._set(self.limit)

    def look(self) -> None:
        """Give the reserve out where none is left, and take it back where there are some again. Cheap."""
        with self._lock:
            try:
                number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.EMFILE and not self.fault:
                    self._use_up()
                return
            os.close(number)
            if self.fault and number < self.limit:
                self._set(self.limit)
                self.fault = ""
                log.warning("there are file descriptors again")

    def _use_up(self) -> None:
        self._set(self._all)
        self.fault = f"all {self.limit} file descriptors are used up, the last {self._all - self.limit} are given out"
        log.error("file descriptors are used up", extra={"limit": self.limit, "reserve": self._all - self.limit})

    def _set(self, soft: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # a container may forbid it: then it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard))
