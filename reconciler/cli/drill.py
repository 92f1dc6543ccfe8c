"""`reconciler drill`: the kill switch, tried on paper money through a running engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.output import CouldNotRun, print_json, say, tell
from reconciler.cli.place import Engine, NoAnswer, NoEngine, Place

if TYPE_CHECKING:
    from reconciler.clock import Clock
    from reconciler.records.accounts import Accounts

WHY = "a drill of the kill switch"
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class DrillStep:
    """One thing that was tried: whether it held, and what happened."""

    name: str
    held: bool
    message: str


@click.command(
    epilog="""\b
Examples:
  reconciler drill
  reconciler drill --account paper --timeout 120 --format json"""
)
@click.option("--account", metavar="ID", help="One account of paper money. All of them where it is left out.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How long cancels and closing may take, each.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def drill(place: Place, account: str | None, timeout_s: float, form: str) -> None:
    """Try the kill switch, on paper money: place, halt, count what still left, cancel, flatten, lift the halt.

    What instances of the account hold is closed, too, for that is what is tried. What happened is kept in
    .reconciler/drills. Exit code 0: all held. 1: something did not. 2: it could not be tried.
    """
    from reconciler.clock import SystemClock, iso

    clock = SystemClock()
    accounts = place.engine_settings().accounts
    engine = place.engine()
    try:
        chosen = [account] if account else _on_paper(engine, accounts)
        if real := [one for one in chosen if accounts.is_real(one)]:
            raise CouldNotRun(f"{real[0]} is real money: a drill places orders, on paper alone")
        if not chosen:
            raise CouldNotRun("no instance trades on an account of paper money")
        started_at = iso(clock.time())
        found = {one: _Drill(place, engine, one, clock, timeout_s).run() for one in chosen}
    except NoEngine:
        raise CouldNotRun("no engine is running here: there is no kill switch to try") from None
    except NoAnswer as error:
        raise CouldNotRun(str(error)) from None
    held = all(step.held for steps in found.values() for step in steps)
    report = {
        "at": started_at,
        "held": held,
        "items": [{"account_id": one, "steps": [asdict(step) for step in steps]} for one, steps in found.items()],
    }
    kept = place.state_dir() / "drills" / f"{started_at.replace(':', '')}.json"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    kept.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if form == "json":
        print_json(report)
    else:
        for one, steps in found.items():
            tell(*(f"{one}  {'held' if step.held else 'DID NOT HOLD'}  {step.name}: {step.message}" for step in steps))
    say(f"kept in {kept}")
    if not held:
        raise SystemExit(1)


def _on_paper(engine: Engine, accounts: Accounts) -> list[str]:
    """The accounts of paper money on which an instance trades."""
    ids = {item["account"]["account_id"] for item in engine.items("/api/v1/instances")}
    return sorted(id_ for id_ in ids if not accounts.is_real(id_))


def _of_cancelling(name: str, halt: Mapping[str, Any]) -> list[str]:
    return list(halt["cancelling"][name])


class _Drill:
    """One account, step by step. Whatever happens, the halt that it made is lifted in the end."""

    def __init__(self, place: Place, engine: Engine, account: str, clock: Clock, timeout_s: float) -> None:
        self._fleet = place
        self._engine = engine
        self._account = account
        self._clock = clock
        self._timeout_s = timeout_s
        self._steps: list[DrillStep] = []

    def run(self) -> list[DrillStep]:
        if any(halt["scope"] == "all" or halt["id"] == self._account for halt in self._halts()):
            raise CouldNotRun(f"account {self._account} is halted already: a drill would lift that")
        for name, takes in (("place an order that fills", True), ("place an order that rests", False)):
            placed, said = self._place(takes)
            self._note(name, placed, said)
        if not all(step.held for step in self._steps):
            return self._steps
        try:
            self._try_out()
        finally:
            answer = self._engine.post("/v1/unhalt", {"scope": "account", "id": self._account, "reason": WHY})
            self._note("lift the halt", not answer.get("failed"), "lifted" if not answer.get("failed") else str(answer))
        return self._steps

    def _try_out(self) -> None:
        self._halt("halt", {})
        placed, said = self._place(takes=True)
        self._note("nothing leaves under the halt", not placed, said)
        before = self._newest()
        self._halt("halt in full, cancel all", {"full": True, "cancel": "all"})
        left = partial(_of_cancelling, "left")
        self._wait("all is cancelled", lambda halt: not left(halt), left)
        self._halt("flatten", {"full": True, "cancel": "all", "flatten": "0.05"})
        self._wait("all is closed", lambda halt: not self._held(), partial(_of_cancelling, "flattening"))
        sent = [
            order["client_order_id"]
            for order in self._orders()
            if order["client_order_id"] not in before
            and order["outcome"] not in ("rejected", "shadow")
            and order["provenance"] == "strategy"
        ]
        self._note("no strategy's order left meanwhile", not sent, ", ".join(sent) or "none")

    def _place(self, takes: bool) -> tuple[bool, str]:
        answer = self._engine.post("/v1/drill", {"account": self._account, "takes": takes, "reason": WHY})
        failed = answer.get("failed") or []
        return not failed, failed[0]["message"] if failed else f"{answer['done'][0]}: {answer.get('note', '')}"

    def _halt(self, name: str, more: Mapping[str, Any]) -> None:
        begun_s = self._clock.monotonic()
        answer = self._engine.post("/v1/halt", {"scope": "account", "id": self._account, "reason": WHY, **more})
        took_ms = (self._clock.monotonic() - begun_s) * 1000
        failed = answer.get("failed") or []
        self._note(name, not failed, failed[0]["message"] if failed else f"in force after {took_ms:.0f} ms")

    def _wait(self, name: str, is_over: Callable[[Any], bool], left: Callable[[Any], Any]) -> None:
        begun_s = self._clock.monotonic()
        while True:
            cancelling = [halt for halt in self._halts() if halt["id"] == self._account and halt["cancelling"]]
            took_s = self._clock.monotonic() - begun_s
            if cancelling and is_over(cancelling[-1]):
                self._note(name, True, f"after {took_s:.1f} s")
                return
            if took_s >= self._timeout_s:
                told = left(cancelling[-1]) if cancelling else "no such halt is in force"
                self._note(name, False, f"not within {self._timeout_s:g} s: {told}")
                return
            self._clock.wait(threading.Event(), LOOK_S)

    def _halts(self) -> list[Any]:
        return list((self._engine.get("/api/v1/engine") or {"halts": []})["halts"])

    def _orders(self) -> list[Any]:
        found = self._engine.get("/api/v1/orders", {"limit": 1000}) or {"items": []}
        return [order for order in found["items"] if order["account_id"] == self._account]

    def _newest(self) -> set[str]:
        return {order["client_order_id"] for order in self._orders()}

    def _held(self) -> list[str]:
        reader = self._fleet.reader()
        try:
            rows = reader.rows()
            holding = [id_ for id_, held in reader.books(False) if held.quantity and id_ in rows]
            return [id_ for id_ in holding if rows[id_].record.identity.account_id == self._account]
        finally:
            reader.close()

    def _note(self, name: str, held: bool, message: str) -> None:
        self._steps.append(DrillStep(name, held, message))
