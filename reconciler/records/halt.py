"""A halt: the kill switch for everything, an account or an instance. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

HaltScope = Literal["all", "account", "instance"]


@dataclass(frozen=True, slots=True)
class Halt:
    """No new exposure within `scope` until it is lifted.

    `id` is the account_id or instance id, empty where the scope is `all`. `full` stops own cancels and
    reductions too. `by` says who halted (an operator's uid, or the engine), `at` when (ISO 8601).
    """

    scope: HaltScope
    id: str
    full: bool
    reason: str
    by: str
    at: str

    def __post_init__(self) -> None:
        if self.scope not in ("all", "account", "instance"):
            raise ValueError(f"scope: expected all, account or instance, was {self.scope!r}")
        if (self.scope == "all") != (not self.id):
            raise ValueError(f"id: expected {'none' if self.id else 'one'} for a halt of scope {self.scope}")

    def forbids(self, account_id: str, instance_id: str) -> bool:
        """True where this halt covers that instance trading on that account."""
        match self.scope:
            case "all":
                return True
            case "account":
                return self.id == account_id
            case "instance":
                return self.id == instance_id

    def to_json(self) -> dict[str, Any]:
        return {
            "scope": self.scope,
            "id": self.id,
            "full": self.full,
            "reason": self.reason,
            "by": self.by,
            "at": self.at,
        }
