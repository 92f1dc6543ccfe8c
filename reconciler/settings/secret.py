"""A secret that the settings refer to, and what it must look like where it is used. Read late, never shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.errors import Problem, SettingsError

SHORTEST_TOKEN = 16
"""Characters of the page's token."""


_ONE_SECRET = {"writeOnly": True}
"""The schema of a value that is a secret itself."""


@dataclass(frozen=True, slots=True)
class Secret:
    """`{env: NAME}` or `{file: PATH}`, unread, and where it stands."""

    reference: Mapping[str, str]
    place: Problem

    def read(self, root: Path, environ: Mapping[str, str]) -> str:
        """What it refers to, a relative file looked up under `root`; SettingsError where that leads nowhere.

        It is read by the one rule that holds for the secrets of instances, too.
        """
        from reconciler.runtime.performer import SecretUnavailable, resolver

        try:
            _, (secret,) = resolver(root, environ)(dict(self.reference), _ONE_SECRET)
        except SecretUnavailable as error:
            _, _, message = str(error).partition(": ")  # what comes before says where, as `place` does better
            raise SettingsError((replace(self.place, message=message),)) from None
        return secret

    def read_header(self, root: Path, environ: Mapping[str, str]) -> str:
        """The same, for a header of HTTP: SettingsError, which does not hold it, where none can carry it."""
        return self._fit(self.read(root, environ), header_fault, "an HTTP header can carry")

    def read_token(self, root: Path, environ: Mapping[str, str]) -> str:
        """The same, for the page: one that can be guessed keeps nobody out."""
        return self._fit(self.read(root, environ), _token_fault, f"is at least {SHORTEST_TOKEN} characters long")

    def read_variable(self, root: Path, environ: Mapping[str, str]) -> str:
        """The same, for an environment variable."""
        return self._fit(self.read(root, environ), _variable_fault, "an environment variable can hold")

    def _fit(self, secret: str, fault_of: Callable[[str], str], wanted: str) -> str:
        if not (fault := fault_of(secret)):
            return secret
        ((kind, name),) = self.reference.items()
        raise SettingsError((replace(self.place, message=f"{{{kind}: {name}}}: expected what {wanted}, {fault}"),))


def header_fault(value: str) -> str:
    """Why no HTTP header can carry `value`, without saying any of it; empty where one can."""
    if "\n" in value or "\r" in value:
        return "had a line break"
    if not value.isascii():
        return "had a character that is not ASCII"
    if not value.isprintable():
        return "had a control character"
    where = "beginning" if value.startswith(" ") else "end" if value.endswith(" ") else ""
    return f"had a space at its {where}" if where else ""


def _token_fault(value: str) -> str:
    return f"had {len(value)}" if len(value) < SHORTEST_TOKEN else ""


def _variable_fault(value: str) -> str:
    return "had a NUL" if "\0" in value else ""
