"""How one exec-mcp server is reached, as frozen options. The settings make them; nothing here connects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from reconciler.documents.document import Document, parse
from reconciler.exec_mcp.words import CONTRACT, Reference, ServerWords
from reconciler.validation.secrets import parts

PAPER = "paper"
"""The name of the embedded paper exchange where the settings name no server."""


Value = str | Callable[[], str]
"""A header or a variable: a text, or how to read the secret that it is."""


def resolved(values: Mapping[str, Value]) -> dict[str, str]:
    """The texts, secrets read now. Raises SettingsError where one leads nowhere."""
    return {name: value if isinstance(value, str) else value() for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """One server: its transport, its words, its accounts.

    `kind` http needs `url`; stdio needs `command`; paper needs nothing. Secrets in `headers` and `env` are read at
    each connecting, and never printed, and so are `secrets`, those that constants of the mapping refer to. `words` is
    the mapping, `mapping_id` another text for another mapping or address, `accounts` the account_ids declared under the
    server.
    `timeout_s` bounds every call, `start_timeout_s` what a stdio server may take until it is there. Reconnecting waits
    `reconnect_min_s`, doubling to `reconnect_max_s`. A connection that was silent for `probe_after_s` is probed, so
    that a dead server is noticed before the next order is meant for it; every `look_every_s` at most its tools are
    listed again.
    """

    name: str
    kind: Literal["paper", "http", "stdio"]
    url: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, Value] = field(default_factory=dict, repr=False)
    headers: Mapping[str, Value] = field(default_factory=dict, repr=False)
    timeout_s: float = 5.0
    start_timeout_s: float = 30.0
    reconnect_min_s: float = 0.25
    reconnect_max_s: float = 10.0
    probe_after_s: float = 15.0
    look_every_s: float = 60.0
    words: ServerWords = field(default=CONTRACT, repr=False)
    secrets: Mapping[Reference, Callable[[], str]] = field(default_factory=dict, repr=False)
    mapping_id: str = ""
    accounts: tuple[str, ...] = ()

    def opened(self) -> tuple[ServerOptions, tuple[str, ...]]:
        """The options with their secrets read now, and what nothing that is shown may hold.

        Raises SettingsError where a secret leads nowhere, or cannot be sent.
        """
        headers, env = resolved(self.headers), resolved(self.env)
        referred = {where: read() for where, read in self.secrets.items()}
        secrets = [
            *referred.values(),
            *(
                texts[name]
                for values, texts in ((self.headers, headers), (self.env, env))
                for name, value in values.items()
                if not isinstance(value, str)
            ),
        ]
        words = self.words.revealed(referred)
        return replace(self, headers=headers, env=env, words=words), parts(secrets)


def embedded() -> ServerOptions:
    """What holds where there are no settings: the paper exchange alone."""
    return ServerOptions(PAPER, "paper")


FOLDER: Final = Path(__file__).parent / "mappings"


def names() -> tuple[str, ...]:
    """What may stand after `mapping:`."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def ready(name: str) -> dict[str, Any]:
    """`{bind, tools}` of the ready-made mapping of that name. Do not change what you are given."""
    path = FOLDER / f"{name}.yaml"
    document = parse(path.read_bytes(), path.name)
    assert isinstance(document, Document), document
    return dict(document.values)
