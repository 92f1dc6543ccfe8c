"""Secrets at load: references are read. What they hold is kept out of everything that is shown by `records.scrub`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from reconciler.errors import ReconcilerError
from reconciler.records.record import Values
from reconciler.records.secrets import SecretReference, secret_references, with_secrets
from reconciler.records.validation import compile_config_schema

Resolve: TypeAlias = Callable[[Values, Mapping[str, Any]], tuple[Values, tuple[str, ...]]]
"""(effective config, CONFIG_SCHEMA) → the config with its references resolved, and the secrets put into it."""

_SIZE_BYTES = 65_536


class SecretUnavailable(ReconcilerError):
    """A reference leads nowhere. Names the reference, never what was found."""


def no_secrets(config: Values, schema: Mapping[str, Any]) -> tuple[Values, tuple[str, ...]]:
    """The `Resolve` of a fleet without secrets."""
    return config, ()


def resolver(base: Path, environment: Mapping[str, str]) -> Resolve:
    """A `Resolve` that looks into `environment` and into files, a relative path under `base`.

    What it returns raises SecretUnavailable where a reference leads to nothing, or to nothing readable.
    """

    def resolve(config: Values, schema: Mapping[str, Any]) -> tuple[Values, tuple[str, ...]]:
        if not compile_config_schema(schema).has_secrets:
            return config, ()
        found = {at: _read(at, reference, base, environment) for at, reference in secret_references(config, schema)}
        return with_secrets(config, found), tuple(found.values())

    return resolve


def _read(at: str, reference: SecretReference, base: Path, environment: Mapping[str, str]) -> str:
    where = f"config.{at}: {{{reference.kind}: {reference.name}}}"
    if reference.kind == "file":
        return _read_file(where, base / reference.name)
    secret = environment.get(reference.name, "")
    if not secret:
        raise SecretUnavailable(f"{where}: expected an environment variable with a secret, was not set")
    return secret


def _read_file(where: str, path: Path) -> str:
    """The secret in a file, the end of its last line taken off."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SecretUnavailable(f"{where}: expected a readable file, was refused: {reason}") from None
    if len(data) > _SIZE_BYTES:
        raise SecretUnavailable(f"{where}: expected at most {_SIZE_BYTES:,} bytes, was more")
    try:
        secret = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretUnavailable(f"{where}: expected UTF-8, was not") from None
    if not secret:
        raise SecretUnavailable(f"{where}: expected a secret, was an empty file")
    return secret
