"""A client of yaml-language-server over stdio: just enough of the protocol to be an editor with one window."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, BinaryIO

PATIENCE_S = 30
"""How long any one message may take to arrive."""


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """What the editor underlines: `line` and `column` count from 1, as we do."""

    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class Window:
    """One open document. A `|` in `text` is where the cursor stands, and is not part of it."""

    server: LanguageServer
    uri: str
    text: str

    @property
    def _position(self) -> dict[str, Any]:
        before = self.text.partition("|")[0]
        line = before.count("\n")
        position = {"line": line, "character": len(before) - (before.rfind("\n") + 1)}
        return {"textDocument": {"uri": self.uri}, "position": position}

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What is wrong with the document, in order."""
        starts = [(found["range"]["start"], found["message"]) for found in self.server.published(self.uri)]
        return tuple(sorted(Diagnostic(at["line"] + 1, at["character"] + 1, message) for at, message in starts))

    def completions(self) -> dict[str, dict[str, Any]]:
        """What may be written at the cursor, by label."""
        answer = self.server.ask("textDocument/completion", self._position)
        return {item["label"]: item for item in answer["items"]}

    def hover(self) -> str:
        """What is told of the word at the cursor, in markdown; empty where nothing is."""
        answer = self.server.ask("textDocument/hover", self._position)
        return str(answer["contents"]["value"]) if answer else ""


@dataclass(slots=True)
class LanguageServer:
    """The running server with `folder` as its workspace and `settings` as the user's."""

    process: subprocess.Popen[bytes]
    folder: Path
    settings: Mapping[str, Any]
    _messages: Queue[dict[str, Any] | None]
    _reader: Thread
    _opened: set[str] = field(default_factory=set)
    _published: dict[str, list[Any]] = field(default_factory=dict)
    _last_id: int = 0

    @classmethod
    def start(cls, command: list[str], folder: Path, settings: Mapping[str, Any]) -> LanguageServer:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        messages: Queue[dict[str, Any] | None] = Queue()
        reader = Thread(target=_read, args=(process.stdout, messages), daemon=True)
        reader.start()
        server = cls(process, folder, settings, messages, reader)
        folders = [{"uri": folder.as_uri(), "name": "fleet"}]
        capabilities = {"workspace": {"configuration": True, "workspaceFolders": True}}
        start = {"processId": None, "rootUri": folder.as_uri(), "workspaceFolders": folders}
        server.ask("initialize", {**start, "capabilities": capabilities})
        server._send("initialized", {})
        server._send("workspace/didChangeConfiguration", {"settings": None})
        server._take_until(lambda message: message.get("method") == "workspace/configuration")
        return server

    def stop(self) -> None:
        self.ask("shutdown", None)
        self._send("exit", None)
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def open(self, path: str, text: str) -> Window:
        """A document at `path`, relative to the folder, where nothing need be; each path once."""
        uri = (self.folder / path).as_uri()
        assert uri not in self._opened, "what the server says of a document does not tell which version it means"
        self._opened.add(uri)
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text.replace("|", "", 1)}
        self._send("textDocument/didOpen", {"textDocument": document})
        return Window(self, uri, text)

    def ask(self, method: str, parameters: Any) -> Any:
        """The result of a request."""
        self._last_id += 1
        self._write({"id": self._last_id, "method": method, "params": parameters})
        answer = self._take_until(lambda message: message.get("id") == self._last_id and "method" not in message)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def published(self, uri: str) -> list[Any]:
        """The diagnostics of a document; it takes a fifth of a second from its opening until there are any."""
        if uri not in self._published:
            self._take_until(lambda _: uri in self._published)
        return self._published[uri]

    def _send(self, method: str, parameters: Any) -> None:
        self._write({"method": method, "params": parameters})

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def _take_until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message that is `wanted`; whatever comes before it is dealt with."""
        while True:
            try:
                message = self._messages.get(timeout=PATIENCE_S)
            except Empty:
                raise TimeoutError(f"the language server said nothing for {PATIENCE_S} s") from None
            assert message is not None, "the language server has ended"
            self._deal_with(message)
            if wanted(message):
                return message

    def _deal_with(self, message: Mapping[str, Any]) -> None:
        if message.get("method") == "textDocument/publishDiagnostics":
            self._published[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif message.get("method") == "workspace/configuration":
            self._write({"id": message["id"], "result": [self._section(i) for i in message["params"]["items"]]})
        elif "method" in message and "id" in message:
            self._write({"id": message["id"], "result": None})

    def _section(self, item: Mapping[str, Any]) -> dict[str, Any]:
        prefix = f"{item['section']}."
        values = {key.removeprefix(prefix): value for key, value in self.settings.items() if key.startswith(prefix)}
        return dict(_nested(values))


def _nested(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """`schemaStore.enable: x` as `schemaStore: {enable: x}`, as editors hand settings on."""
    for key, value in values.items():
        name, dot, rest = key.partition(".")
        yield name, {rest: value} if dot else value


def _read(stream: BinaryIO, messages: Queue[dict[str, Any] | None]) -> None:
    """Every message of the server into the queue, None at its end."""
    while header := stream.readline():
        if header.lower().startswith(b"content-length:"):
            stream.readline()
            messages.put(json.loads(stream.read(int(header.partition(b":")[2]))))
    messages.put(None)
