"""A snapshot: the files of one moment, as values. `sources` takes it; everything later reads only this. Pure.

And the merged change that it may be: who brought a generation about, when, why, and who signed it; hostile text comes
in clean. What a commit says of its author, its pull request and its approvals is a claim of whoever wrote it.
`signed_by` alone is proven.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from reconciler.documents import wording as literals
from reconciler.documents.document import Document, parse
from reconciler.documents.wording import spell
from reconciler.errors import Problem
from reconciler.visible import said

SignedAs = Literal["ssh", "forge"]
"""By a key of the allowed signers; or by the forge's own, which proves that the forge made the commit, and no more."""
HALT_FILES = ("_halt.yaml", "_halt.yml")
"""Either counts: a kill switch must not fail for a letter."""
TEMPLATES_FOLDER = "_templates"


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


def named_id(path: str) -> str:
    """The id that a file must hold, or the template it is, by its name: `btc` for `instances/majors/btc.yaml`."""
    return path.rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")


NO_RECORD: Final = "was a file that is none by its name"
"""The error of a file that looks as if it were meant as a record, or as the halt."""
_MEANT: Final = re.compile(r"\.ya?ml(?:$|[^A-Za-z0-9].*$)|^_halts?(?:$|[^A-Za-z0-9].*$)", re.IGNORECASE)


def is_meant_as_record(name: str) -> bool:
    """True for the name of a file that looks as if it were meant as a record, or as the halt, and is none: the
    extension in other letters, one more behind it (`btc.yaml.txt`, `btc.yaml.bak`), `_halt.YAML`.

    Of those that do not count anyway.
    """
    return _MEANT.search(name) is not None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file. `path` is relative to the repository, with `/`; `digest` is its git blob id (SHA-1, hex).

    `data` is None exactly where `error` says why the file could not be read or was refused (a link that
    leaves the directory): unreadable is neither absent nor invalid. `is_unfinished`: it is still open for writing, so
    that nobody knows whether this is all of it.
    """

    path: str
    data: bytes | None
    digest: str
    committed: bool
    error: str = ""
    is_unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All files of one moment, each tuple sorted by path.

    Unchanged files are the same objects from one snapshot to the next, and a tuple in which nothing
    changed is the same tuple: `is` answers "did anything change". `whole` is False where the read cannot
    prove that a missing file is really gone (`not_whole` says why); such a snapshot may only lower modes.
    `git_problem` says why git cannot tell what is committed, empty where it can or there is no repository.
    """

    instances: tuple[SourceFile, ...]
    templates: tuple[SourceFile, ...]
    strategies: tuple[SourceFile, ...]
    halt: SourceFile | None
    revision: str | None
    clean: bool
    whole: bool
    not_whole: str = ""
    git_problem: str = ""
    git_note: str = ""
    """What else is to be said of them and git: that there is no repository, or that nothing of HEAD is checked out."""
    head: MergedChange | None = None
    """What `revision` says of itself, None where that is not known."""
    settings_unfinished: bool = False
    """True while the settings beside these files are still open for writing: they are looked at again soon."""
    lost: str = ""
    """Why nothing can be said of the records at all, empty where it can: `instances/` is missing or shut."""

    def has_unfinished(self) -> bool:
        """True where a file is still open for writing: nobody tells when it is closed."""
        halt = () if self.halt is None else (self.halt,)
        return any(file.is_unfinished for file in (*self.instances, *self.templates, *self.strategies, *halt))


_REVOKE: Final = "revoke it, it may have been seen; name a secret, {env: NAME} or {file: PATH}, and keep it elsewhere"


_COUNTS_BY: Final = "a record's name ends in .yaml; begin it with _ or . where it is only kept"
_HALTS_BY: Final = "it halts nothing: call it instances/_halt.yaml"


def document_of(file: SourceFile) -> Document | tuple[Problem, ...]:
    """The document, or every problem that keeps it from being one; what looks like a key is then among them."""
    if file.error == NO_RECORD:
        is_halt = file.path.rpartition("/")[2].lower().startswith("_halt")
        expected, hint = ("the halt file", _HALTS_BY) if is_halt else ("a record", _COUNTS_BY)
        return (Problem(file.path, 0, 0, "", f"expected {expected}, {NO_RECORD}", hint, "no-record"),)
    if file.data is None:
        return (Problem(file.path, 0, 0, "", f"expected a readable file: {file.error}", "", "file-unreadable"),)
    document = parse(file.data, file.path)
    return document if isinstance(document, Document) else (*document, *leaks(file, None))


def leaks(file: SourceFile, document: Document | None) -> Iterator[Problem]:
    """Everything in the file, comments included, that looks like a key; `document` names the values it is in."""
    text = (file.data or b"").decode(errors="replace").removeprefix("\ufeff")
    for what, line, column in literals.find(text):
        pointer = "" if document is None else spell(document.path_at(line, column))
        message = f"expected no secrets, was what looks like {what}"
        yield Problem(file.path, line, column, pointer, message, _REVOKE, "secret-literal")


_log = logging.getLogger(__name__)


def engine_fault(path: str, error: Exception) -> Problem:
    """The problem of the file at `path`; the traceback goes to the log. For the boundaries of foreign input only."""
    _log.error("the engine failed on a file", extra={"path": path}, exc_info=error)
    hint = "the other files are not affected; the engine's log has the details, which its authors would like to see"
    return Problem(path, 0, 0, "", f"the engine failed on it: {said(error)}", hint, "engine-fault")
