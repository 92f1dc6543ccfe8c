"""What a strategy's forked child lets go of: the lock, the database, listeners, connections, signals."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.ending import in_children, let_go, let_go_files, let_go_loop
from reconciler.errors import StoreLocked
from reconciler.store import Store
from reconciler.store.files import EngineLock

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that forks with threads are risky


class Child:
    """A process that was forked, and lives until it is told to end. `told` is what it found out."""

    def __init__(self, look: Callable[[], str] = str) -> None:
        self._end, parents_end = os.pipe()
        answer, self._answer = os.pipe()
        self._parents_end = parents_end
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(parents_end)
                os.write(self._answer, look().encode())
                os.close(self._answer)
                os.read(self._end, 1)
            finally:
                os._exit(0)
        os.close(self._answer)
        os.close(self._end)
        with os.fdopen(answer) as told:
            self.told = told.read()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._parents_end)
        os.waitpid(self.pid, 0)


def test_a_database_is_free_again_although_a_child_lives(tmp_path: Path) -> None:
    path, clock = tmp_path / "state" / "reconciler.db", FakeClock()

    def opened() -> str:
        files = {str(file) for file in path.parent.iterdir()}
        return ",".join(sorted(files & {os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")}))

    with Store.open(path, clock):
        assert opened()
        with Child(opened) as child:
            assert child.told == ""
            with pytest.raises(StoreLocked, match=rf"another engine \(pid {os.getpid()}\)"):
                Store.open(path, clock)
    with Store.open(path, clock):
        pass


def test_a_lock_that_a_child_holds_all_the_same_is_told_with_the_child(tmp_path: Path) -> None:
    """One that was not forked by Python, so that nobody asked it to let go."""
    path, ended = tmp_path / "lock", 2**22 + 1  # no system has such a pid
    lock = EngineLock(path)
    with lock._kept:
        pass
    with Child() as child:
        path.write_text(str(ended))
        lock.release()
        expected = rf"the engine \(pid {ended}\) has ended, and its lock is held by its child, pid {child.pid} \(.+\): "
        with pytest.raises(StoreLocked, match=f"{expected}end that first: kill {child.pid}"):
            EngineLock(path)
    EngineLock(path).release()


def test_a_listener_takes_no_connection_once_its_engine_has_ended() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with in_children(lambda: let_go([listener.fileno()])), Child():
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


def test_connections_of_the_loop_end_with_the_engine_and_others_stay_a_childs_own() -> None:
    async def connect() -> str:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        mine, other = socket.socketpair()
        there.settimeout(10)
        with closing(there), closing(other), closing(mine):
            _, writer = await asyncio.open_connection(sock=here)
            with in_children(lambda: let_go_loop(loop)), Child(lambda: str(mine.send(b"hello"))) as child:
                assert (child.told, other.recv(5)) == ("5", b"hello")
                writer.transport.abort()
                return await asyncio.to_thread(lambda: str(there.recv(1)))

    assert asyncio.run(connect()) == "b''"


def test_what_was_let_go_leads_nowhere_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    file = (tmp_path / "file").open("wb", buffering=0)

    def write() -> str:
        with (tmp_path / "other").open("wb", buffering=0) as other:
            file.write(b"of the engine")
            other.write(b"of the child")
        return "done"

    with closing(file), in_children(lambda: let_go_files(tmp_path)), Child(write) as child:
        assert child.told == "done"
    assert (tmp_path / "file").read_bytes() == b""
    assert (tmp_path / "other").read_bytes() == b"of the child"


def test_a_child_is_ended_by_a_signal_that_the_engine_handles_also_by_one_that_comes_at_once() -> None:
    async def end_a_child() -> int | None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        with in_children(lambda: None):
            process = multiprocessing.get_context("fork").Process(target=signal.pause)
            process.start()
            process.terminate()
            await asyncio.to_thread(process.join, 20)
        return process.exitcode

    assert asyncio.run(end_a_child()) == -signal.SIGTERM
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
