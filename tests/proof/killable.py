"""The engine, with kill points: what is asked for on a line of standard input, `["POINT", "run", …]` in JSON, is
`reconciler run …` in a process of its own that kills itself at POINT. Answered with its pid, and its status at its end.

They are forked off this one, which has imported all that an engine needs and does nothing else: a start costs a
tenth of what it would otherwise.

A point is `phase/step:n`: the n-th time that the step is reached in that phase. A process recovers until it writes its
first order down, and trades from then on. Steps are those of `WRITES` (to the ledger: before them, within their
transaction, after their commit) and `SENDS` (before the request leaves, and after its answer came). Of orders, only
those of the instance `trader` count. Without a point it runs on.

Each placing is noted in the file that PLACED names before it leaves, so that a test can see what was sent twice:
the exchange would hide it, for it takes every order once.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import httpx2
from sqlite_utils import Database

from reconciler.cli import main
from reconciler.exec_mcp.http_pool import HttpPool, Parcel
from reconciler.execution import watch as doubts
from reconciler.orders.order import prefix
from reconciler.store.ledger import Ledger
from reconciler.store.scope_book import Differences
from reconciler.store.writer import GroupWriter

TRADER = "trader"
SENDS = ("place_order", "cancel_order", "get_order", "list_orders", "get_positions")
WRITES: dict[str, tuple[str, Callable[..., bool]]] = {
    "appending": ("append", lambda order: order.instance_id == TRADER),
    "refuse": ("refuse", lambda order: order.instance_id == TRADER),
    "settling": ("settle", lambda client_order_id, *_: client_order_id.startswith(prefix(TRADER))),
    "mark_unknown_on_startup": ("mark", lambda: True),
    "keep": ("keep", lambda account_id, agreed: True),
}
"""The steps that write, by the ledger's method, or that of its differences: their names, and whether one is about the
trader."""
OWNERS = (Ledger, Differences)


class Points:
    """How often each was reached; the process dies at the one wanted."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._reached: Counter[str] = Counter()
        self._phase = "recovering"

    def reach(self, step: str) -> None:
        with self._lock:
            if step == "append.before":
                self._phase = "trading"
            name = f"{self._phase}/{step}"
            self._reached[name] += 1
            if f"{name}:{self._reached[name]}" == self._wanted:
                os.kill(os.getpid(), signal.SIGKILL)


def watch_writes(points: Points) -> None:
    """Points around the ledger's writes, and between their statements and their commit."""
    submit = GroupWriter.submit
    current = threading.local()

    def submitted(writer: GroupWriter, job: Callable[[Database], Any], *more: Any) -> Any:
        step = getattr(current, "step", None)
        if step is None:
            return submit(writer, job, *more)

        def watched(db: Database) -> Any:
            done = job(db)
            points.reach(f"{step}.within")
            return done

        return submit(writer, watched, *more)

    def around(name: str, step: str, is_traders: Callable[..., bool]) -> None:
        owner = next(owner for owner in OWNERS if name in vars(owner))
        inner = getattr(owner, name)

        def outer(ledger: Any, *args: Any, **kwargs: Any) -> Any:
            if not is_traders(*args):
                return inner(ledger, *args, **kwargs)
            points.reach(f"{step}.before")
            current.step = step
            try:
                done = inner(ledger, *args, **kwargs)
            finally:
                current.step = None
            if isinstance(done, Future):  # whoever waits for it is told after this, where it is committed
                done.add_done_callback(lambda _: points.reach(f"{step}.after"))
            else:
                points.reach(f"{step}.after")
            return done

        setattr(owner, name, outer)

    GroupWriter.submit = submitted  # type: ignore[method-assign, assignment]
    for name, (step, is_traders) in WRITES.items():
        around(name, step, is_traders)


def watch_sends(points: Points, placed: str) -> None:
    """Points around the requests that carry an order, a cancel or a look-up."""
    inner, posted = HttpPool.handle_async_request, HttpPool.post

    async def outer(transport: Any, request: httpx2.Request) -> httpx2.Response:
        called = json.loads(await request.aread() or b"null") if request.method == "POST" else None
        call = called.get("params", {}) if isinstance(called, dict) and called.get("method") == "tools/call" else {}
        step = call.get("name")
        if step not in SENDS:
            return await inner(transport, request)
        points.reach(f"{step}.before")
        if step == "place_order":
            note(placed, call["arguments"]["client_order_id"])
        response = await inner(transport, request)
        answer = await response.aread()
        points.reach(f"{step}.after")
        kind = response.headers.get("content-type", "")
        return httpx2.Response(response.status_code, headers={"content-type": kind}, content=answer, request=request)

    async def short(transport: Any, parcel: Parcel, *args: Any) -> bytes | httpx2.Response:
        call = json.loads(parcel.body)["params"]
        if call["name"] not in SENDS:
            return await posted(transport, parcel, *args)
        points.reach(f"{call['name']}.before")
        if call["name"] == "place_order":
            note(placed, call["arguments"]["client_order_id"])
        answer = await posted(transport, parcel, *args)
        points.reach(f"{call['name']}.after")
        return answer

    HttpPool.handle_async_request = outer  # type: ignore[method-assign, assignment]
    HttpPool.post = short  # type: ignore[method-assign, assignment]


def note(path: str, line: str) -> None:
    with open(path, "a", encoding="utf-8") as lines:
        lines.write(line + "\n")


def forked(point: str, arguments: Sequence[str]) -> int:
    """A new process that is the engine; its pid."""
    pid = os.fork()
    if not pid:
        points = Points(point)
        watch_writes(points)
        watch_sends(points, os.environ["PLACED"])
        main(arguments)
    return pid


if __name__ == "__main__":
    doubts.SPREAD_S = float(sys.argv[1])  # half a minute of answers, otherwise
    for module in ("reconciler.app", "reconciler.exec_mcp.wire", "reconciler.paper.tools"):
        importlib.import_module(module)
    assert threading.active_count() == 1, "a fork keeps none but the thread that forks"
    for line in sys.stdin:
        wanted, *argv = json.loads(line)
        engine = forked(wanted, argv)
        print(engine, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(engine, 0)[1]), flush=True)
