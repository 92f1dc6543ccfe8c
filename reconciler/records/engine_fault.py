"""An engine fault: what the engine itself failed on, told as a problem of the one file it failed on."""

from __future__ import annotations

import logging

from reconciler.errors import Problem
from reconciler.records.text import said

_log = logging.getLogger(__name__)


def engine_fault(path: str, error: Exception) -> Problem:
    """The problem of the file at `path`; the traceback goes to the log. For the boundaries of foreign input only."""
    _log.error("the engine failed on a file", extra={"path": path}, exc_info=error)
    hint = "the other files are not affected; the engine's log has the details, which its authors would like to see"
    return Problem(path, 0, 0, "", f"the engine failed on it: {said(error)}", hint, "engine-fault")
