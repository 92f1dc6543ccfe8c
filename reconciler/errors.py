"""What can go wrong: the exception tree, and `Problem`, the value for what is wrong with a user's file.

Expected failures are values (`Problem`, the outcomes in `records`); exceptions are for what a caller
could not foresee. The tree:

    ReconcilerError
    ├── SettingsError          the settings file cannot be used; carries its problems
    ├── SourceError            the instance files cannot be read at all
    ├── StoreError             the database cannot be used
    │   ├── StoreLocked        another engine holds it
    │   └── StoreFenced        another engine took it over, or it was removed: this one must end
    ├── ExecError              an exec-mcp call did not succeed
    │   ├── ExecRejected       the server answered, and said no: nothing happened
    │   ├── ExecUnavailable    certainly nothing was sent
    │   └── ExecUnknown        it may or may not have happened (time-out, lost connection)
    ├── CapabilityUnavailable  the server has no such tool; names it
    ├── CannotDrill            there is nothing to try the kill switch with
    └── TradingClosed          `place` was called where nothing may be placed
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a user's file.

    `line` and `column` count from 1; 0 means the file as a whole. `pointer` names the value as people
    write it (`config.levels`, `accounts[2].name`), empty for the document. `rule` is a stable
    identifier of the rule that was broken (`yaml-duplicate-key`, `schema-type`, `mode-step`).
    """

    path: str
    line: int
    column: int
    pointer: str
    message: str
    hint: str = ""
    rule: str = ""

    def __str__(self) -> str:
        """`path:line:column: pointer: message`, the way editors and terminals parse it, hint excluded."""
        where = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{where}: {self.pointer}: {self.message}" if self.pointer else f"{where}: {self.message}"

    def to_json(self) -> dict[str, str | int]:
        """The item of `/api/v1/problems` and of `validate --format json`."""
        return {
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "pointer": self.pointer,
            "message": self.message,
            "hint": self.hint,
            "rule": self.rule,
        }


class ReconcilerError(Exception):
    """The root: everything this package raises on purpose."""


class SettingsError(ReconcilerError):
    """The settings cannot be used. `problems` says all that is wrong with them."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(p) + (f" ({p.hint})" if p.hint else "") for p in problems))


class SourceError(ReconcilerError):
    """The place the instance files come from cannot be read."""


class StoreError(ReconcilerError):
    """The database cannot be used."""


class StoreLocked(StoreError):
    """Another engine holds this database, or a child that outlived it: then `has_ended`."""

    has_ended = False


class StoreFenced(StoreError):
    """The database is not ours any more: another engine took it over, or it was removed. This one must end."""


class ExecError(ReconcilerError):
    """An exec-mcp call did not succeed."""


class ExecRejected(ExecError):
    """The server answered and refused: it is certain that nothing happened."""


class ExecUnavailable(ExecError):
    """There is no usable connection and it is certain that nothing was sent."""


class ExecUnknown(ExecError):
    """The call was handed to the transport and no answer is known: it may have happened."""


class CapabilityUnavailable(ReconcilerError):
    """The server that reaches this account has no such tool. `tool` is its name in the contract, `why` says more."""

    def __init__(self, tool: str, server: str, why: str = "") -> None:
        self.tool = tool
        self.server = server
        self.why = why
        super().__init__(f"exec-mcp server {server!r} offers no {tool!r}: {why or 'this strategy cannot use it there'}")


class CannotDrill(ReconcilerError):
    """There is nothing to try the kill switch with."""


class TradingClosed(ReconcilerError):
    """`place` was called outside `on_tick`, after its deadline, or from another thread."""
