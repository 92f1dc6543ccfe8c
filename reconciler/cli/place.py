"""Where a command works: the folder that holds `instances/`, its settings, and the engine that may run there, spoken to
in JSON over its control socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reconciler.cli.output import Failure, of_settings, say
from reconciler.documents.wording import did_you_mean
from reconciler.errors import ReconcilerError, SettingsError, SourceError, StoreError, StoreLocked
from reconciler.sources.layout import INSTANCES

if TYPE_CHECKING:
    from reconciler.control.chronicle import Bookkeeping
    from reconciler.execution.settlement import Settlement
    from reconciler.records.accounts import Accounts
    from reconciler.records.followed import Followed
    from reconciler.records.snapshot import Snapshot
    from reconciler.settings import Settings
    from reconciler.sources.compared import Base
    from reconciler.store import Reader, Store
    from reconciler.strategy.catalogue import Catalogue


class Place:
    """Found once per command. `asked` is what --root named, None for the current folder or the nearest above.

    `follows`: it is to be a repository whose commits count; there need be no files of a fleet.
    """

    def __init__(self, asked: Path | None, *, follows: bool = False) -> None:
        self._asked = asked
        self._follows = follows

    def root(self) -> Path:
        """The folder that holds `instances/`; Failure where there is none."""
        start = _as_given(self._asked or Path())
        above = [] if self._asked else list(start.parents)
        for folder in (start, *above):
            if (folder / INSTANCES).is_dir():
                return folder
        for folder in (start, *above):
            if self._is_clone(folder):
                return folder
        self._refuse_lacking(start, False)
        raise Failure(
            f"{start}: expected a folder {INSTANCES}/ here{'' if self._asked else ' or above'}, found none; "
            "name the right place with --root DIR"
        )

    def _is_clone(self, folder: Path) -> bool:
        """A repository that an engine follows, or is about to, needs no files beside it."""
        from reconciler.settings.live_settings import hosts_state_dir
        from reconciler.sources.git import locate_bare

        if locate_bare(folder) is not None:
            return True
        has_state = self._follows or hosts_state_dir(folder, os.environ).is_dir()
        return has_state and (folder / ".git").exists()

    def way(self) -> str:
        """The way from the current folder to the fleet, `""` or ending in a `/`: what stands before a path there."""
        real = os.path.realpath(self.root())
        way = os.path.relpath(real, os.path.realpath(os.curdir))
        return "" if way == os.curdir else f"{min(way, real, key=len)}/"

    def prefix(self) -> str:
        """The way from the top of the repository to the fleet, `""` or ending in a `/`; empty without a repository."""
        from reconciler.sources.git import locate

        where = locate(self.root())
        return "" if where is None else where.prefix

    def settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """What reconciler.yaml, the environment and `flags` (by dotted name) say; Failure where they cannot be used."""
        from reconciler.settings import load

        try:
            return load(self.root(), os.environ, flags or {})
        except SettingsError as error:
            raise of_settings(error) from error

    def following(self) -> Place:
        """The same place, where commits are to be the source."""
        return Place(self._asked, follows=True)

    def engine_settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """What an engine here goes by: a commit, where it follows a branch. Failure where it cannot be used."""
        from reconciler.clock import SystemClock
        from reconciler.settings.live_settings import engine_settings

        try:
            return engine_settings(self.root(), os.environ, flags or {}, SystemClock())
        except SettingsError as error:
            raise of_settings(error) from error
        except ReconcilerError as error:
            raise Failure(str(error)) from error

    def followed(self) -> Followed | None:
        """What an engine here follows; None where none ever did, or nobody can tell."""
        from reconciler.settings.live_settings import follows

        with contextlib.suppress(StoreError):  # whoever needs it is told
            return follows(self.root(), os.environ)
        return None

    def servers_settings(self) -> Settings:
        """What says which servers an engine here speaks with: a commit, where it has followed a branch already."""
        followed = self.followed()
        return self.settings() if followed is None or followed.applied is None else self.engine_settings()

    def state_dir(self) -> Path:
        """Where the engine keeps its state. Broken settings do not keep anybody from a running engine's kill switch."""
        from reconciler.settings import STATE_DIR, load
        from reconciler.settings.live_settings import hosts_state_dir

        followed = self.followed()
        if followed is not None and followed.kind == "git":
            return hosts_state_dir(self.root(), os.environ)
        try:
            return load(self.root(), os.environ, {}).state_dir
        except SettingsError as error:
            assumed = os.environ.get("RECONCILER_STATE_DIR", STATE_DIR)
            say(str(error.problems[0]), f"the settings cannot be used: looking for the engine's state in {assumed}")
            return self.root() / assumed

    def database(self) -> Path:
        """The engine's database, whether it is there or not."""
        from reconciler.settings import DATABASE

        return self.state_dir() / DATABASE

    def snapshot(self, *, asks_git: bool = True) -> Snapshot:
        """The files of this moment, as they are on disk; and what git says of them, where it is asked."""
        from reconciler.clock import SystemClock
        from reconciler.sources.worktree import Worktree, WorktreeOptions

        return Worktree(self.root(), SystemClock(), WorktreeOptions(asks_git=asks_git)).read()

    def catalogue(self) -> Catalogue:
        """An empty catalogue that imports for as long as the engine would, which the settings say where they can."""
        from reconciler.strategy.catalogue import Catalogue

        try:
            return Catalogue(self.settings().runtime.import_deadline_seconds)
        except Failure:
            return Catalogue()

    def refuse_lacking(self, found: Snapshot) -> None:
        """Failure where HEAD has records that are not among the files found here."""
        self._refuse_lacking(self.root(), bool(found.instances))

    def _refuse_lacking(self, root: Path, has_records: bool) -> None:
        from reconciler.clock import SystemClock
        from reconciler.sources.compared import refuse_lacking

        try:
            refuse_lacking(root, has_records, SystemClock())
        except SourceError as error:
            raise Failure(str(error)) from error

    def base(self, ref: str, head: Snapshot) -> Base:
        """The fleet where the files of `head` left `ref`, told by git; Failure where git cannot say."""
        from reconciler.clock import SystemClock
        from reconciler.sources.compared import read_base

        try:
            return read_base(self.root(), ref, head, SystemClock())
        except SourceError as error:
            raise Failure(str(error)) from error

    def accounts_at(self, base: Base, now: Accounts) -> Accounts:
        """The accounts that the base declares: `now` itself where they are the same, or nobody can tell."""
        from reconciler.records.accounts import Accounts
        from reconciler.settings import accounts_in

        if doubt := self.doubt_of_accounts_at(base):
            say(doubt)
            return now
        there = Accounts() if base.settings is None else accounts_in(base.settings)
        return now if there is None or there == now else there

    def doubt_of_accounts_at(self, base: Base) -> str:
        """Why the accounts that the base declares cannot be told; empty where they can."""
        from reconciler.settings import accounts_in
        from reconciler.visible import visible

        fault = base.settings_fault
        if not fault and (base.settings is None or accounts_in(base.settings) is not None):
            return ""
        why = f" ({visible(fault)})" if fault else ""
        return f"reconciler.yaml of {base.commit[:8]} cannot be used{why}: its accounts are taken to be those of now"

    def engine(self) -> Engine:
        """The way to the engine that may be running here."""
        from reconciler.settings import CONTROL_SOCKET

        return Engine(self.state_dir() / CONTROL_SOCKET)

    def reader(self) -> Reader:
        """The database, read-only; Failure where no engine has ever run here."""
        from reconciler.store import Reader

        path = self.database()
        if not path.exists():
            raise Failure(f"{path}: expected the engine's database, found none; start it once with: reconciler run")
        try:
            return Reader.open(path)
        except StoreError as error:
            raise Failure(str(error)) from error


def _as_given(path: Path) -> Path:
    """The absolute path, its links kept, which others may replace; but for those that a `..` leads back from."""
    *_, last = (-1, *(index for index, part in enumerate(path.parts) if part == ".."))
    led = Path(_here(), *path.parts[: last + 1])
    return Path(led.resolve() if last >= 0 else led, *path.parts[last + 1 :])


def _here() -> Path:
    """The current folder as the shell calls it, where that is true (as `pwd -L`): the system itself forgets links."""
    said, here = os.environ.get("PWD", ""), Path.cwd()
    is_usable = os.path.isabs(said) and os.path.normpath(said) == said and os.path.isdir(said)
    return Path(said) if is_usable and os.path.samefile(said, here) else here


def require_known(reader: Reader, instance_id: str) -> None:
    """Raises Failure where no instance of that id is, or ever was, in the database."""
    if reader.row(instance_id) is None:
        raise no_such(instance_id, reader.ids())


def no_such(instance_id: str, ids: Iterable[str]) -> Failure:
    """What to say of an id that is none of `ids`."""
    near = did_you_mean(instance_id, ids)
    return Failure(f"{instance_id}: there is no such instance; {near or 'all there are: reconciler status'}")


@dataclass(frozen=True, slots=True)
class Owned:
    """The database, held by the command line for a moment while no engine runs: the store, and the uid that acts."""

    store: Store
    uid: int

    @property
    def by(self) -> str:
        """Who acts, as halts and orders keep it."""
        from reconciler.control.chronicle import named

        return named(self.uid)

    @property
    def books(self) -> Bookkeeping:
        from reconciler.control.chronicle import Bookkeeping

        return Bookkeeping(self.store)

    @property
    def settlement(self) -> Settlement:
        """Books a person's word on orders. Nothing else is in doubt here: nobody waits for an answer."""
        from reconciler.clock import SystemClock
        from reconciler.execution.settlement import Settlement
        from reconciler.execution.watch import OrderWatch

        return Settlement(self.store.ledger, OrderWatch(SystemClock()), self.store.halts, self.store.events)


@contextlib.contextmanager
def owned_store(place: Place) -> Iterator[Owned]:
    """The store under its lock; Failure where an engine holds it after all."""
    from reconciler.clock import SystemClock
    from reconciler.store import Store

    try:
        with Store.open(place.database(), SystemClock()) as store:
            say(*store.tell_opened(place.database()))
            yield Owned(store, os.getuid())
    except StoreLocked as error:
        told = () if error.has_ended else ("its control socket does not answer this user",)
        raise Failure(str(error), *told) from error
    except StoreError as error:
        raise Failure(str(error)) from error


PAGE = 1000
TIMEOUT_S = 30.0
"""How long a command may take. Its outcome is not known where no answer comes, so it is worth waiting for."""
READ_S = 10.0
"""An answer that only tells takes milliseconds: who does not give it by then is stopped, or far too busy."""


class NoEngine(Exception):
    """Nobody listens on the control socket."""


class NoAnswer(Failure):
    """Somebody has the control socket, and it did not do what was asked: nobody knows whether it ever will."""


class Engine:
    """Speaks to the engine behind `socket_path`; each call raises NoEngine where none is running."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def get(self, path: str, query: Mapping[str, Any] | None = None, timeout_s: float | None = None) -> Any:
        """What the read-only API answers at `path`; None where it says that there is no such thing."""
        return self._ask("GET", path, query, None, READ_S if timeout_s is None else timeout_s)

    def items(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Every item of a list, page after page."""
        offset = 0
        while True:
            page = self.get(path, {**(query or {}), "limit": PAGE, "offset": offset})
            yield from page["items"]
            offset += PAGE
            if len(page["items"]) < PAGE:
                return

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        """What a command answers. NoAnswer where none comes in time, or the engine fails at it."""
        return self._ask("POST", path, None, body, TIMEOUT_S if timeout_s is None else timeout_s)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        timeout_s: float,
    ) -> Any:
        self._require_engine(timeout_s)
        import httpx

        # No TLS on this way: certificates, which take long to read, are not needed.
        transport = httpx.HTTPTransport(uds=str(self._socket_path), verify=False)
        try:
            with httpx.Client(transport=transport, base_url="http://localhost", timeout=timeout_s) as client:
                # What somebody typed may stand in it: whatever it is, the engine says that there is no such thing.
                answer = client.request(method, quote(path, errors="surrogateescape"), params=query, json=body)
        except httpx.TimeoutException as error:
            why = "it is stopped, or far too busy; look at its log"
            doubt = "" if method == "GET" else "; it may still do it when it goes on: look at reconciler status then"
            raise NoAnswer(f"the engine did not answer within {timeout_s:g} s: {why}{doubt}") from error
        except httpx.HTTPError as error:
            raise NoAnswer(f"the engine did not answer: {error}; look at its log") from error
        if answer.status_code == 404 and method == "GET":
            return None
        if answer.is_server_error:
            raise NoAnswer(_message(answer))
        if answer.is_error:
            raise Failure(_message(answer))
        return answer.json()

    def _require_engine(self, timeout_s: float) -> None:
        """Knock first: a socket file may be left over, and httpx leaves a socket open where nobody answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.settimeout(timeout_s)
            try:
                knock.connect(str(self._socket_path))
            except PermissionError as error:
                raise Failure(
                    f"{self._socket_path}: belongs to another user; run this as the user the engine runs as"
                ) from error
            except (TimeoutError, BlockingIOError) as error:
                raise NoAnswer(f"{self._socket_path}: somebody has it open, and takes no connection") from error
            except OSError as error:
                raise NoEngine from error


def _message(answer: Any) -> str:
    try:
        return f"the engine refused: {answer.json()['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return f"the engine failed with status {answer.status_code}; look at its log"
