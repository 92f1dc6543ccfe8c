"""The watcher: tells at once that something changed, and nothing more. The only importer of watchfiles.

It watches folders one by one, never a whole tree: a virtual environment below the root would exhaust the
system's inotify watches, and a recursive watch stays silent once its folder is deleted and made anew or
replaced by a rename. When a folder comes, goes or is replaced, it starts over with the folders of that
moment. Whatever it misses, the full pass on the timer finds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from watchfiles._rust_notify import RustNotify  # the documented Rust backend: its constructor returns watching

from reconciler.clock import Clock
from reconciler.sources.git import UNDER_WAY, locate
from reconciler.sources.layout import INSTANCES, STRATEGIES, is_editor_temporary

_GIT_NAMES = frozenset({"HEAD", "index", "packed-refs", *UNDER_WAY})
_ROOT_NAMES = frozenset({INSTANCES, STRATEGIES, ".git"})

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Times in milliseconds and seconds.

    A burst of changes is one hint, given `step_ms` after its last change and `debounce_ms` after its first
    at the latest. Every `check_s` the watcher makes sure that it still watches the right folders. After a
    fault it tries again after `retry_s`, then twice that, up to `retry_limit_s`.
    """

    step_ms: int = 10
    debounce_ms: int = 50
    check_s: float = 5.0
    retry_s: float = 1.0
    retry_limit_s: float = 60.0


class Watcher:
    """Calls `on_change` from a thread of its own, soon after a file of the fleet or the repository's HEAD changed.

    Only a hint: it may call for nothing, and may miss a change. What keeps it from watching (the limit of
    inotify watches, a missing root) goes to `on_fault` as a sentence, once, and is retried; `on_fault("")`
    says that it is over.
    """
