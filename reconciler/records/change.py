"""A merged change: who brought a generation about, when, why, and who signed it. Pure; hostile text comes in clean.

What a commit says of its author, its pull request and its approvals is a claim of whoever wrote it. `signed_by` alone
is proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

SignedAs = Literal["ssh", "forge"]
"""By a key of the allowed signers; or by the forge's own, which proves that the forge made the commit, and no more."""


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Whose signature it is. `principal` is as the file of signers has it, a pattern where it has a pattern there;
    for a forge's key its user id. `fingerprint` is the key's: `SHA256:…`, or 40 hex digits for OpenPGP."""

    principal: str
    fingerprint: str
    kind: SignedAs = "ssh"

    def __str__(self) -> str:
        return f"{self.principal} ({'forge, ' if self.kind == 'forge' else ''}{self.fingerprint})"

    def to_json(self) -> dict[str, str]:
        return {"principal": self.principal, "fingerprint": self.fingerprint, "kind": self.kind}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        return cls(told["principal"], told["fingerprint"], told["kind"])


@dataclass(frozen=True, slots=True)
class MergedChange:
    """One step of a branch, as `change` of a generation. All texts are printable, on one line, and bounded.

    `committed_at` is UTC, ISO 8601, empty where the commit's time is none that a calendar has. `merge_commit` is the
    commit itself where it is a merge, else empty. `pull_request` is what the subject claims (`#123`), or empty;
    `claimed_approvals` are the people of its `Reviewed-by`, `Approved-by` and `Acked-by` lines.
    """

    commit: str
    author: str
    author_email: str
    committer: str
    committed_at: str
    subject: str
    merge_commit: str = ""
    pull_request: str = ""
    signed_by: SignedBy | None = None
    claimed_approvals: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The item `change` of instances and history; what is not known is null."""
        return {
            "commit": self.commit,
            "author": self.author,
            "author_email": self.author_email,
            "committer": self.committer,
            "committed_at": self.committed_at or None,
            "subject": self.subject,
            "merge_commit": self.merge_commit or None,
            "pull_request": self.pull_request or None,
            "signed_by": None if self.signed_by is None else self.signed_by.to_json(),
            "claimed_approvals": list(self.claimed_approvals),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What `to_json` wrote. Raises KeyError where it did not."""
        signed_by = told["signed_by"]
        return cls(
            told["commit"],
            told["author"],
            told["author_email"],
            told["committer"],
            told["committed_at"] or "",
            told["subject"],
            told["merge_commit"] or "",
            told["pull_request"] or "",
            None if signed_by is None else SignedBy.from_json(signed_by),
            tuple(told["claimed_approvals"]),
        )
