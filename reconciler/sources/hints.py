"""The watcher: tells at once that something changed, and nothing more. The only importer of watchfiles.

It watches folders one by one, never a whole tree: a virtual environment below the root would exhaust the
system's inotify watches, and a recursive watch stays silent once its folder is deleted and made anew or
replaced by a rename. When a folder comes, goes or is replaced, it starts over with the folders of that
moment. The settings are watched wherever they really are: limits hold from the pass that reads them, and where
they are mounted, their name is a link to a link. Whatever it misses, the full pass on the timer finds.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchfiles._rust_notify import RustNotify  # the documented Rust backend: its constructor returns watching

from reconciler.clock import Clock
from reconciler.sources.folder import Identity
from reconciler.sources.git import UNDER_WAY, locate
from reconciler.sources.layout import INSTANCES, SETTINGS, STRATEGIES, is_editor_temporary

_GIT_NAMES = frozenset({"HEAD", "index", "packed-refs", *UNDER_WAY})
_ATTEMPTS = 5
_ROOT_NAMES = frozenset({INSTANCES, STRATEGIES, ".git"})
_LINKS = 40
"""So many links, one leading to the next, are followed, as the system does."""


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
    """Calls `on_change` from a thread of its own, soon after a file of the fleet, its settings or HEAD changed.

    Only a hint: it may call for nothing, and may miss a change. What keeps it from watching (the limit of
    inotify watches, a missing root) goes to `on_fault` as a sentence, once, and is retried; `on_fault("")`
    says that it is over.
    """

    def __init__(
        self,
        root: Path,
        on_change: Callable[[], None],
        on_fault: Callable[[str], None],
        clock: Clock,
        options: WatchOptions | None = None,
    ) -> None:
        self._root = os.path.abspath(root)
        self._on_change = on_change
        self._on_fault = on_fault
        self._clock = clock
        self._options = options or WatchOptions()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._notify: RustNotify | None = None
        self._watched: dict[str, Identity] = {}
        self._git_dir = ""
        self._settings: tuple[str, ...] = ()
        """The settings' file, and every link on the way to it."""
        self._elsewhere: set[str] = set()
        """Folders that are watched for the settings alone."""
        self._fault = ""

    def start(self) -> None:
        """Begin to watch. What changes after this returns is seen, unless `on_fault` was called."""
        self._watch_anew()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching and wait for the thread; neither callback is called afterwards."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        retry_s = self._options.retry_s
        while not self._stop.is_set():
            if self._notify is None:
                if self._clock.wait(self._stop, retry_s):
                    break
                retry_s = min(2 * retry_s, self._options.retry_limit_s)
                if self._watch_anew():
                    self._on_change()
                continue
            retry_s = self._options.retry_s
            changed = self._next_changes(self._notify)
            if changed is None:
                continue
            is_astray = self._is_astray(changed)
            if is_astray:
                self._watch_anew()
            if (is_astray or any(map(self._matters, changed))) and not self._stop.is_set():
                self._on_change()
        self._close()

    def _next_changes(self, notify: RustNotify) -> set[str] | None:
        """The paths of the next burst, none after `check_s` without one; None where watching failed or ended."""
        options = self._options
        try:
            answer = notify.watch(options.debounce_ms, options.step_ms, int(options.check_s * 1000), self._stop)
        except (OSError, RuntimeError) as error:
            self._fail(str(error))
            return None
        return {path for _, path in answer} if isinstance(answer, set) else set()

    def _watch_anew(self) -> bool:
        """Watch the folders of this moment instead of those before; False, with the fault said, where that failed."""
        self._close()
        try:
            for _ in range(_ATTEMPTS):
                wanted = self._wanted()
                if wanted == self._watched:
                    break
                with suppress(FileNotFoundError):  # a folder was removed since: look again
                    self._notify = RustNotify(list(wanted), False, False, 0, False, True)
                    self._watched = wanted
        except (OSError, RuntimeError) as error:
            self._fail(str(error))
            return False
        if self._notify is None:
            self._fail("its folders come and go")
            return False
        self._say("")
        return True

    def _close(self) -> None:
        if self._notify is not None:
            self._notify.close()
        self._notify = None
        self._watched = {}

    def _fail(self, reason: str) -> None:
        self._close()
        self._say(f"changes below {self._root} are noticed only by the timer: {reason}")

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            self._on_fault(fault)

    def _wanted(self) -> dict[str, Identity]:
        """The folders to watch, and which folder stands at each path now. Raises OSError where the root is missing."""
        status = os.stat(self._root)
        wanted = {self._root: (status.st_dev, status.st_ino)}
        where = locate(Path(self._root))
        self._git_dir = "" if where is None else str(where.git_dir)
        git = () if where is None else (self._git_dir, f"{self._git_dir}/logs")
        self._settings = tuple(_way_to(self._root, SETTINGS))
        own = (self._root, f"{self._root}/{STRATEGIES}", *git, *_folders(f"{self._root}/{INSTANCES}"))
        theirs = {folder for path in self._settings if os.access(folder := os.path.dirname(path), os.R_OK)}
        self._elsewhere = theirs.difference(own)
        for path in (*own, *self._elsewhere):
            identity = _identity(path)
            if identity is not None:
                wanted[path] = identity
        return wanted

    def _is_astray(self, changed: set[str]) -> bool:
        """True where a watched folder was replaced or removed, or one appeared that should be watched."""
        if any(_identity(path) != was for path, was in self._watched.items()):
            return True
        where = locate(Path(self._root))  # `.git` appears before it is a repository
        if self._git_dir != ("" if where is None else str(where.git_dir)):
            return True
        is_led_elsewhere = not changed.isdisjoint(self._settings)
        if not is_led_elsewhere and not any(path not in self._watched and os.path.isdir(path) for path in changed):
            return False
        try:
            return self._wanted() != self._watched
        except OSError:  # the root went just now
            return True

    def _matters(self, path: str) -> bool:
        if path in self._settings:
            return True
        folder, name = os.path.split(path)
        if folder in self._elsewhere:
            return False
        if folder == self._root:
            return name in _ROOT_NAMES
        if folder == self._git_dir:
            return name in _GIT_NAMES
        return not is_editor_temporary(name) and name != "__pycache__"


def _folders(top: str) -> Iterator[str]:
    """`top` and the folders below it, links not followed; those that cannot be listed are passed over."""
    yield top
    for folder, names, _ in os.walk(top):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (f"{folder}/{name}" for name in names)


def _way_to(folder: str, name: str) -> Iterator[str]:
    """Every link that is followed from `folder` to what `name` is there, and that at last, whether it exists or not."""
    left, links = deque([name]), 0
    while left:
        if (part := left.popleft()) in ("", "."):
            continue
        path = os.path.dirname(folder) if part == ".." else os.path.join(folder, part)
        try:
            target = os.readlink(path)
        except OSError:  # no link, or nothing at all
            folder = path
            continue
        yield path
        links += 1
        if links > _LINKS:
            return
        folder = "/" if target.startswith("/") else folder
        left.extendleft(reversed(target.split("/")))
    yield folder


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
