"""The control socket: the only way to command a running engine. HTTP over a Unix socket that only its owner may open.

    POST /v1/pause | /v1/resume   {"ids": [...]} or {"all": true}, "reason"      → {"done", "failed"}
    POST /v1/halt                 "scope", "id", "full", "cancel", "flatten", "reason" → {"done", "failed"}
    POST /v1/drill                "account", "takes", "reason"                   → {"done", "failed"}
    POST /v1/cancel               "client_order_id", "reason"                    → {"done", "failed"}
    POST /v1/unhalt               "scope", "id", "reason"                        → {"done", "failed"}
    POST /v1/resolve              "client_order_id", "as", "reason" (and more)   → {"done", "failed"}
    POST /v1/accept       "server", "reason"                                     → {"done", "failed"}
    POST /v1/mark                 "id", "price", "reason"                         → {"done", "failed"}
    POST /v1/limits/lift          "scope", "reason"                               → {"done", "failed"}
    POST /v1/book                 "id", "quantity", "price", "reason" (and fee)  → {"done", "failed"}
    POST /v1/settle               "account", "reason" (and "assign", "outside")  → {"done", "failed"}
    POST /v1/placing              "account", "order", "reason"                   → {"done", "failed"}
    GET  /v1/prune                                                              → {"digest", "held"}
    POST /v1/prune                "digest" (and "reason")                        → {"done", "failed"}
    POST /v1/source/accept        "commit", "reason"                             → {"done", "failed"}
    POST /v1/beats/forget         "reason"                                       → {"done", "failed"}
    POST /v1/reconcile                                                          → {"done": [], "failed": []}

Beside them stand the read-only routes of the page's API, handed in by whoever wires the parts. Errors have the
API's one shape, `{"error": {"code", "message"}}`. Who asks is read from the kernel, never from the request.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from reconciler.connections import BoundedProtocol
from reconciler.control.chronicle import named
from reconciler.control.operator import CommandResult, Commands
from reconciler.errors import ReconcilerError
from reconciler.orders.news import WORDS, Correction, Shares, Verdict
from reconciler.orders.order import to_amount
from reconciler.records.halt import REASON_LIMIT, Cancelling, Halt, HaltScope, collar_of
from reconciler.visible import is_storable

PATH_LIMIT_BYTES = 107
"""What a Unix socket's address holds on Linux, its closing zero excluded."""

BODY_LIMIT_BYTES = 1024 * 1024

_UCRED = struct.Struct("3i")
_SCOPES = ("all", "account", "instance")


class ControlSocketError(ReconcilerError):
    """The control socket cannot be opened."""


def bind_control_socket(path: Path) -> socket.socket:
    """A bound socket at `path`, mode 0600; what a dead engine left there is replaced.

    Call it only under the database's lock: then nobody living owns what stands there. Nobody can connect
    before it listens, which uvicorn makes it do; given the path, uvicorn would make the file 0666. Raises
    ControlSocketError where the path is too long or something else than a socket stands there.
    """
    size = len(os.fsencode(path))
    if size > PATH_LIMIT_BYTES:
        raise ControlSocketError(
            f"{path}: expected a socket path of at most {PATH_LIMIT_BYTES} bytes, was {size}; "
            "move the repository to a shorter path, or set state_dir to one"
        )
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlSocketError(f"{path}: expected a socket or nothing, was another kind of file; move it away")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise ControlSocketError(f"{path}: cannot open the control socket: {error.strerror}") from error
    return listener


class PeerProtocol(BoundedProtocol):
    """HTTP that knows who is at the other end: `request.state.peer_uid`, from the kernel (SO_PEERCRED)."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer: socket.socket = transport.get_extra_info("socket")
        _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        self.app_state = {**self.app_state, "peer_uid": uid}


class _Refused(Exception):
    """The request is malformed; the text says how it should be."""

    def __init__(self, message: str, status: int = 400, code: str = "bad_request") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class _Body:
    """The JSON object a command came with, read field by field."""

    values: Mapping[str, Any]

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if not isinstance(value, str) or not value.strip():
            raise _Refused(f"{name}: expected a text that says something, was {_shown(value)}")
        return value.strip()

    def reason(self) -> str:
        """Why, in so many characters at most: it stands on pages, and in what is recorded."""
        reason = self.text("reason")
        if len(reason) > REASON_LIMIT:
            raise _Refused(f"reason: expected at most {REASON_LIMIT} characters, was {len(reason)}")
        return reason

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise _Refused(f"{name}: expected true or false, was {_shown(value)}")
        return value

    def ids(self) -> tuple[str, ...] | None:
        """The ids named, or None for all; naming neither or both is refused."""
        ids = self.values.get("ids")
        if self.flag("all") == (ids is not None):
            raise _Refused('expected either "ids" or "all": true')
        if ids is None:
            return None
        if not isinstance(ids, list) or not ids or not all(isinstance(id_, str) for id_ in ids):
            raise _Refused(f"ids: expected a list of instance ids, was {_shown(ids)}")
        return tuple(dict.fromkeys(ids))

    def verdict(self, by: str) -> Verdict:
        """What is said of an order."""
        word = self.values.get("as")
        if word not in WORDS:
            raise _Refused(f"as: expected one of {', '.join(WORDS)}, was {_shown(word)}")
        exchange_order_id = self.text("exchange_order_id") if "exchange_order_id" in self.values else None
        return Verdict(
            word,
            self.reason(),
            by,
            self._amount("filled_quantity"),
            self._amount("average_price"),
            self._amount("fee"),
            exchange_order_id,
            self.text("fee_currency") if "fee_currency" in self.values else None,
        )

    def correction(self, by: str) -> Correction:
        """What an instance holds."""
        currency = self.text("fee_currency") if "fee_currency" in self.values else None
        return Correction(
            self.amount("quantity"), self.amount("price"), self.reason(), by, self._amount("fee"), currency
        )

    def shares(self, by: str) -> Shares:
        """Whose is what an account holds: `assign` {id: {quantity, price}}, `outside` {symbol: quantity}."""
        reason = self.reason()
        assigned = {
            id_: Correction(_Body(said).amount("quantity"), _Body(said).amount("price"), reason, by)
            for id_, said in self._object("assign").items()
        }
        outside = _Body(self._object("outside"))
        return Shares(reason, by, assigned, {symbol: outside.amount(symbol) for symbol in outside.values})

    def _object(self, name: str) -> Mapping[str, Any]:
        value = self.values.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(one, dict) or name == "outside" for one in value.values()):
            raise _Refused(f"{name}: expected an object, was {_shown(value)}")
        return value

    def amount(self, name: str) -> Decimal:
        found = self._amount(name)
        if found is None:
            raise _Refused(f"{name}: expected a decimal, was nothing")
        return found

    def _amount(self, name: str) -> Decimal | None:
        value = self.values.get(name)
        if value is None:
            return None
        try:
            return to_amount(value, name)
        except (TypeError, ValueError) as error:
            raise _Refused(str(error)) from None

    def halt(self, scope: str, id: str) -> Halt:
        """The halt that is asked for, in nobody's name yet."""
        full, reason = self.flag("full"), self.reason()
        try:
            cancel, collar = Cancelling.of(self.values.get("cancel", False)), collar_of(self.values.get("flatten"))
            return Halt(cast(HaltScope, scope), id, full, reason, "", "", cancel, collar)
        except ValueError as error:
            raise _Refused(str(error)) from None

    def scope(self) -> tuple[str, str]:
        """What a halt covers, and the id that goes with it: empty for all."""
        scope = self.values.get("scope")
        if scope not in _SCOPES:
            raise _Refused(f"scope: expected one of {', '.join(_SCOPES)}, was {_shown(scope)}")
        return scope, "" if scope == "all" else self.text("id")


_Command = Callable[[_Body, int], CommandResult]


def create_control_app(commands: Commands, read_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The app behind the control socket: the commands above, and `read_routes` as they are."""

    def pause(body: _Body, uid: int) -> CommandResult:
        return commands.pause(body.ids(), body.reason(), uid)

    def resume(body: _Body, uid: int) -> CommandResult:
        return commands.resume(body.ids(), body.reason(), uid)

    def halt(body: _Body, uid: int) -> CommandResult:
        scope, id_ = body.scope()
        return commands.halt(body.halt(scope, id_), uid)

    def drill(body: _Body, uid: int) -> CommandResult:
        return commands.drill(body.text("account"), body.flag("takes"), body.reason(), uid)

    def cancel(body: _Body, uid: int) -> CommandResult:
        return commands.cancel(body.text("client_order_id"), body.reason(), uid)

    def unhalt(body: _Body, uid: int) -> CommandResult:
        scope, id_ = body.scope()
        return commands.unhalt(scope, id_, body.reason(), uid)

    def resolve(body: _Body, uid: int) -> CommandResult:
        return commands.resolve(body.text("client_order_id"), body.verdict(named(uid)), uid)

    def correct(body: _Body, uid: int) -> CommandResult:
        return commands.correct(body.text("id"), body.correction(named(uid)), uid)

    def mark(body: _Body, uid: int) -> CommandResult:
        price = body.amount("price")
        if price < 0:
            raise _Refused(f"price: expected none below zero, was {price}")
        return commands.mark(body.text("id"), price, body.reason(), uid)

    def lift_limit(body: _Body, uid: int) -> CommandResult:
        return commands.lift_limit(body.text("scope"), body.reason(), uid)

    def settle(body: _Body, uid: int) -> CommandResult:
        return commands.settle(body.text("account"), body.shares(named(uid)), uid)

    def accept(body: _Body, uid: int) -> CommandResult:
        return commands.accept_tools(body.text("server"), body.reason(), uid)

    def note_placing(body: _Body, uid: int) -> CommandResult:
        return commands.note_placing(body.text("account"), body.text("order"), body.reason(), uid)

    def confirm_prune(body: _Body, uid: int) -> CommandResult:
        reason = body.reason() if "reason" in body.values else ""
        return commands.confirm_prune(body.text("digest"), reason, uid)

    def forget_beats(body: _Body, uid: int) -> CommandResult:
        return commands.forget_beats(body.reason(), uid)

    def accept_commit(body: _Body, uid: int) -> CommandResult:
        return commands.accept_commit(body.text("commit"), body.reason(), uid)

    def reconcile(body: _Body, uid: int) -> CommandResult:
        commands.full_pass()
        return CommandResult()

    async def prune(request: Request) -> Response:
        return _Json((await run_in_threadpool(commands.prune)).to_json())

    return Starlette(
        routes=[
            _command("/v1/pause", pause),
            _command("/v1/resume", resume),
            _command("/v1/halt", halt),
            _command("/v1/unhalt", unhalt),
            _command("/v1/cancel", cancel),
            _command("/v1/drill", drill),
            _command("/v1/resolve", resolve),
            _command("/v1/settle", settle),
            _command("/v1/book", correct),
            _command("/v1/mark", mark),
            _command("/v1/limits/lift", lift_limit),
            _command("/v1/accept", accept),
            _command("/v1/placing", note_placing),
            Route("/v1/prune", prune, methods=["GET"]),
            _command("/v1/prune", confirm_prune),
            _command("/v1/beats/forget", forget_beats),
            _command("/v1/source/accept", accept_commit),
            _command("/v1/reconcile", reconcile),
            *read_routes,
        ],
        exception_handlers={HTTPException: _http_error, ReconcilerError: _engine_error, Exception: _crashed},
    )


def _command(path: str, command: _Command) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            body = _Body(await _read_object(request))
            result = await run_in_threadpool(command, body, request.state.peer_uid)
        except _Refused as refused:
            return _error(refused.status, refused.code, str(refused))
        return _Json(result.to_json())

    return Route(path, endpoint, methods=["POST"])


async def _read_object(request: Request) -> Mapping[str, Any]:
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > BODY_LIMIT_BYTES:
                raise _Refused(f"expected a body of at most {BODY_LIMIT_BYTES} bytes", 413, "content_too_large")
    except ClientDisconnect:
        raise _Refused("expected a whole body, was cut off") from None
    try:
        values = json.loads(data or b"{}")
        is_text = is_storable(json.dumps(values, ensure_ascii=False))
    except (ValueError, RecursionError):
        raise _Refused("expected a JSON object, was something that is no JSON") from None
    if not isinstance(values, dict):
        raise _Refused(f"expected a JSON object, was {_shown(values)}")
    if not is_text:
        raise _Refused("expected text, was half a character: a lone surrogate")
    return values


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)[:80]


class _Json(JSONResponse):
    """In ASCII: file names and what strategies say may hold what UTF-8 cannot."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


def _error(status: int, code: str, message: str) -> Response:
    return _Json({"error": {"code": code, "message": message}}, status_code=status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    return _error(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}")


async def _crashed(request: Request, error: Exception) -> Response:
    """The last resort. Starlette raises the error again behind the answer, so that it is logged."""
    return _error(500, "internal_error", f"{request.method} {request.url.path} failed; the engine's log says why")


async def _engine_error(request: Request, error: Exception) -> Response:
    return _error(503, "engine_error", str(error))
