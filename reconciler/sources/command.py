"""Running git: one environment, one deadline, one way to fail. The only place from which git is run."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from reconciler.errors import SourceError

_SETTINGS = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "safe.bareRepository=explicit")
_UNAIDED = ("core.commitGraph=false", "gc.auto=0", "maintenance.auto=false", "protocol.ext.allow=never")
"""What else is set where nothing but objects count: a commit-graph may name other parents than the commits do."""
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # nothing is fetched by an older git either, whatever a configuration allows
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": f"{os.devnull}/none",
    "LC_ALL": "C",
    "LANGUAGE": "",
}
_ALONE = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_GLOBAL": os.devnull}
"""What keeps the configuration of users and machine away."""
WHOLE_CLONE = "clone without --filter, or run `git fetch --refetch --no-filter`"
"""How to mend a clone that lacks objects. They are never fetched on the way: that may take any time."""

_REACHING = {
    "GIT_ALLOW_PROTOCOL": "file:git:ssh:http:https",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
}
"""For who asks another repository: nobody is there to be asked for a password."""
_COMPLAINTS_BYTES = 64 * 1024
_TALK_BYTES = 4 * 1024 * 1024
"""No command says more about how it goes; another repository may have it say as much as it likes."""
_GLANCE_S = 0.1
_TIMEOUT_S = 10.0
_SKIPPED_BYTES = 16 * 1024 * 1024
"""No more than this is read past for what comes after it; what is larger is not held in memory by git either."""
_ASKED_AT_ONCE = 128
"""So many ids fit into the smallest pipe: git can be asked for them all before the first answer is read."""


class Git:
    """Git at work in the repository whose work tree is `top`, and paths are from there.

    Git is left to find it by itself, since only then it refuses one that another user owns; started at `top`, it
    finds `.git` there before it looks for anything else. Nowhere below is it ever started: what is committed there
    may look like a repository.
    """

    def __init__(self, top: Path, *, is_alone: bool = False, is_bare: bool = False) -> None:
        """`is_alone`: nothing configures it but the repository itself and what stands here; else users may, too.
        `is_bare`: `top` is the repository itself."""
        self._top = top
        self._is_alone = is_alone
        settings = (*_SETTINGS, *(_UNAIDED if is_alone else ()), *(("safe.bareRepository=all",) if is_bare else ()))
        self._options = ("--no-optional-locks", *(word for setting in settings for word in ("-c", setting)))

    def text(
        self,
        *arguments: str,
        ok: tuple[int, ...] = (0,),
        told: str = "",
        index: Path | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """What git answers, `told` being its stdin. Raises SourceError in one sentence, with the mend where there is
        a known one. `index` is a file to use as the index, instead of the repository's."""
        timeout_s = timeout_s or _TIMEOUT_S
        try:
            done = subprocess.run(
                self._command(arguments),
                input=os.fsencode(told),
                capture_output=True,
                timeout=timeout_s,
                env=self._environment() | ({} if index is None else {"GIT_INDEX_FILE": str(index)}),
                check=False,
            )
        except FileNotFoundError:
            raise _not_installed() from None
        except subprocess.TimeoutExpired:
            raise _too_slow(arguments[0], timeout_s) from None
        if done.returncode in ok:
            return os.fsdecode(done.stdout)
        raise self._failure(arguments[0], done.stderr)

    def reach(
        self,
        *arguments: str,
        settings: Sequence[str] = (),
        silent_s: float,
        most_s: float,
        goes_on: Callable[[float, float], bool] = lambda taken_s, silent_s: True,
    ) -> None:
        """Run a command that asks another repository, and tells how it goes; ended with all it started where it was
        silent for `silent_s`, or takes longer than `most_s`. `settings` are set beside the repository's own. `goes_on`
        is asked all along, with how long it has taken and been silent, whether to wait on.

        Raises SourceError in one sentence.
        """
        environment = self._environment() | _REACHING
        with tempfile.TemporaryFile() as complaints:
            try:
                process = subprocess.Popen(
                    self._command((*(word for setting in settings for word in ("-c", setting)), *arguments)),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=complaints,
                    env=environment,
                    start_new_session=True,  # a group of its own to be ended, and no terminal to ask on
                )
            except FileNotFoundError:
                raise _not_installed() from None
            try:
                code = _awaited(process, complaints, _Patience(_verb(arguments), silent_s, most_s, goes_on))
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            if code:
                complaints.seek(max(0, os.fstat(complaints.fileno()).st_size - _COMPLAINTS_BYTES))
                raise self._failure(_verb(arguments), complaints.read(_COMPLAINTS_BYTES))

    def blobs(self) -> Blobs:
        """A process to read blobs from, for as long as its context."""
        return Blobs(self)

    def _command(self, arguments: Sequence[str]) -> tuple[str, ...]:
        return ("git", *self._options, "-C", str(self._top), *arguments)

    def _environment(self) -> dict[str, str]:
        return _environment(self._is_alone) | {"GIT_CEILING_DIRECTORIES": str(self._top.parent)}

    def _failure(self, command: str, stderr: bytes) -> SourceError:
        told = os.fsdecode(stderr)
        said = next((found for word in ("fatal", "error") if (found := _line(told, f"{word}: "))), "")
        if "dubious ownership" in said:
            mend = f"run `git config --global --add safe.directory {self._top}`"
            if self._is_alone:
                mend = "give it to the user that runs the engine: `chown -R`"
            return SourceError(f"git refuses {self._top}, which another user owns: {mend}")
        if "promisor remote" in said:
            return SourceError(f"git {command}: {said}, which is not asked; {WHOLE_CLONE}")
        return SourceError(f"git {command} failed: {said or told.strip() or 'it said nothing'}")


class Blobs:
    """One `git cat-file --batch` process, answering within the deadline of any other command. Not thread-safe."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._begin()

    def _begin(self) -> None:
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                self._git._command(("-c", f"core.bigFileThreshold={_SKIPPED_BYTES}", "cat-file", "--batch")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env=self._git._environment(),
            )
        except FileNotFoundError:
            self._complaints.close()
            raise _not_installed() from None
        self._is_late = self._is_left = False
        self._deadline = threading.Timer(_TIMEOUT_S, self._give_up)
        self._deadline.daemon = True
        self._deadline.start()

    def __enter__(self) -> Blobs:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _end(self) -> None:
        self._deadline.cancel()
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was asked and not sent is of no matter
                if pipe is not None:
                    pipe.close()
        self._process.wait()
        self._complaints.close()

    def read(self, ids: Sequence[str], limit_bytes: int) -> Iterator[tuple[str, bytes | None]]:
        """Each blob's id with its first bytes, at most `limit_bytes`; None where it is not in this repository. Objects
        of other kinds are read likewise, and `COMMIT:PATH` names what stands there.

        Raises SourceError.
        """
        left = iter(ids)
        while asked := list(islice(left, _ASKED_AT_ONCE)):
            self._ask(asked)
            for number, blob_id in enumerate(asked, 1):
                data = self._answer(limit_bytes)
                if self._is_left:
                    self._end()
                    self._begin()
                    self._ask(asked[number:])
                yield blob_id, data

    def _ask(self, ids: Sequence[str]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("".join(f"{blob_id}\n" for blob_id in ids).encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _answer(self, limit_bytes: int) -> bytes | None:
        """`<id> <type> <size>`, a line, the content, a line; or `<what was asked> missing`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        header = line.split()
        if line.endswith(b" missing\n") and not os.fstat(self._complaints.fileno()).st_size:
            return None  # it complains of what is there and damaged, and calls that missing too
        if len(header) != 3:
            raise self._ended()
        left = int(header[2]) + 1
        data = self._process.stdout.read(min(left, limit_bytes + 1))
        left -= len(data)
        if left > _SKIPPED_BYTES and len(data) > limit_bytes:
            self._is_left = True  # whoever committed some gigabytes is not to keep everybody waiting for them
            return data[:limit_bytes]
        while left and (skipped := self._process.stdout.read(min(left, 1 << 20))):
            left -= len(skipped)
        if left:
            raise self._ended()
        return data[: min(limit_bytes, int(header[2]))]

    def _ended(self) -> SourceError:
        self._process.kill()
        self._process.communicate()
        if self._is_late:
            return _too_slow("cat-file", _TIMEOUT_S)
        self._complaints.seek(0)
        return self._git._failure("cat-file", self._complaints.read())

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()


class _Patience(NamedTuple):
    """How long a command may be silent, and take; and who says whether to wait on."""

    command: str
    silent_s: float
    most_s: float
    goes_on: Callable[[float, float], bool]


def _awaited(process: subprocess.Popen[bytes], told: IO[bytes], patience: _Patience) -> int:
    """Its exit code. Raises SourceError where it was not worth waiting for. What it tells is how it goes."""
    taken_s = silent_s = 0.0
    size = 0
    while True:
        try:
            return process.wait(_GLANCE_S)
        except subprocess.TimeoutExpired:
            taken_s, silent_s = taken_s + _GLANCE_S, silent_s + _GLANCE_S
        now = os.fstat(told.fileno()).st_size
        if now != size:
            size, silent_s = now, 0.0
        if silent_s >= patience.silent_s:
            raise SourceError(f"git {patience.command} heard nothing for {patience.silent_s:g} s")
        if taken_s >= patience.most_s:
            raise _too_slow(patience.command, patience.most_s)
        if size > _TALK_BYTES:
            raise SourceError(f"git {patience.command} was told more than {_TALK_BYTES >> 20} MiB of talk, and no end")
        if not patience.goes_on(taken_s, silent_s):
            raise SourceError(f"git {patience.command} was given up after {taken_s:.0f} s: it is begun anew")


def _line(text: str, start: str) -> str:
    """The rest of the first line that begins so."""
    return next((line.removeprefix(start) for line in text.splitlines() if line.startswith(start)), "")


def _not_installed() -> SourceError:
    return SourceError("git is not installed, so nothing counts as committed")


def _verb(arguments: Sequence[str]) -> str:
    """What people know a command by: behind the settings that it is given."""
    return next(word for at, word in enumerate(arguments) if word != "-c" and arguments[at - 1 : at] != ("-c",))


def _too_slow(command: str, timeout_s: float) -> SourceError:
    mend = "; run `git commit-graph write --reachable --changed-paths`, which makes it fast" if command == "log" else ""
    return SourceError(f"git {command} took longer than {timeout_s:g} s{mend}")


def _environment(is_alone: bool) -> dict[str, str]:
    """This process's, without what would point git at another repository (`GIT_DIR` and its like)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    if is_alone:
        return kept | _ENVIRONMENT | _ALONE
    configuration = {name: value for name, value in os.environ.items() if name.startswith("GIT_CONFIG_")}
    return kept | configuration | _ENVIRONMENT
