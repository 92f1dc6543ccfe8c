"""The command line's way to a running engine: JSON over its control socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reconciler.cli.output import Failure

PAGE = 1000
TIMEOUT_S = 30.0


class NoEngine(Exception):
    """Nobody listens on the control socket."""


class NoAnswer(Failure):
    """Somebody has the control socket, and it did not do what was asked: nobody knows whether it ever will."""


class Engine:
    """Speaks to the engine behind `socket_path`; each call raises NoEngine where none is running."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """What the read-only API answers at `path`; None where it says that there is no such thing."""
        return self._ask("GET", path, query, None)

    def items(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Every item of a list, page after page."""
        offset = 0
        while True:
            page = self.get(path, {**(query or {}), "limit": PAGE, "offset": offset})
            yield from page["items"]
            offset += PAGE
            if len(page["items"]) < PAGE:
                return

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Any:
        """What a command answers. NoAnswer where none comes in time, or the engine fails at it."""
        return self._ask("POST", path, None, body, timeout_s)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        self._require_engine(timeout_s)
        import httpx

        # No TLS on this way: certificates, which take long to read, are not needed.
        transport = httpx.HTTPTransport(uds=str(self._socket_path), verify=False)
        try:
            with httpx.Client(transport=transport, base_url="http://localhost", timeout=timeout_s) as client:
                # What somebody typed may stand in it: whatever it is, the engine says that there is no such thing.
                answer = client.request(method, quote(path, errors="surrogateescape"), params=query, json=body)
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
