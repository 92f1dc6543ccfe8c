"""File descriptors: as many as this process may have, and some in reserve for when they are used up."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import threading
from collections.abc import Iterator

RESERVED = 64
"""For the control socket, files and the database, whoever has taken all the others."""
MOST = 65_536
"""More are not asked for: what leaks them is to be told before memory is gone."""

log = logging.getLogger(__name__)


class Descriptors:
    """The soft limit is raised to the hard one, but for a reserve. Once none is left, who has `spared` gets of that.

    Whatever used them up, a strategy or a server, finds the reserve closed but for those moments. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST if hard == resource.RLIM_INFINITY else max(soft, min(hard, MOST))
        self._hard = hard
        self._all = most
        self._spared = 0
        self.limit = max(most - RESERVED, most // 2)
        """How many there are before the reserve."""
        self.fault = ""
        """That they are used up, empty where they are not."""
        self._set(self.limit)

    def look(self) -> None:
        """See whether there are some left. Cheap."""
        try:
            number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EMFILE:
                return
            number = self.limit
        else:
            os.close(number)
        if number >= self.limit and not self.fault:
            self.fault = f"all {self.limit} file descriptors are used up, but for {self._all - self.limit} in reserve"
            log.error("file descriptors are used up", extra={"limit": self.limit, "reserve": self._all - self.limit})
        elif number < self.limit and self.fault:
            self.fault = ""
            log.warning("there are file descriptors again")

    @contextlib.contextmanager
    def spared(self) -> Iterator[None]:
        """While inside, descriptors come from the reserve where no others are left: be brief."""
        if not self.fault:
            yield
            return
        with self._lock:
            self._spared += 1
            self._set(self._all)
        try:
            yield
        finally:
            with self._lock:
                self._spared -= 1
                if not self._spared:
                    self._set(self.limit)

    def _set(self, soft: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # a container may forbid it: then it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard))
