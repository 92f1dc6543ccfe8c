"""One commit as git keeps it: its headers, what of it was signed, and what people read of it. Pure.

It is read from the bytes of the object itself, which are held against its id: nothing that git is told elsewhere
(replace refs, grafts, a shallow boundary, a commit-graph) has a say in who its parents are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from reconciler.clock import iso
from reconciler.errors import SourceError
from reconciler.records.snapshot import MergedChange, SignedBy
from reconciler.visible import visible

LIMIT_BYTES: Final = 1024 * 1024
"""No more than this is read of a commit: people and forges write some hundred bytes."""

_READ_BYTES: Final = 64 * 1024
"""So much of a message is looked at."""
_SUBJECT, _NAME, _APPROVALS = 200, 120, 20

_SIGNATURES: Final = {"sha1": b"gpgsig", "sha256": b"gpgsig-sha256"}
"""The header that holds the signature of this very object, by the repository's hash; the other one is for its twin in
a repository of the other hash."""
_ONCE: Final = (b"tree", b"author", b"committer")
_PERSON: Final = re.compile(rb"^(?P<name>[^<>]*)<(?P<email>[^<>]*)>(?: (?P<at>-?[0-9]{1,15}) [+-][0-9]{1,8})?$")
_ENCODINGS: Final = re.compile(
    r"utf-?8|(?:us-)?ascii|iso-?8859-?\d{1,2}|latin-?1|(?:windows|cp)-?125\d|koi8-[ru]|"
    r"euc-(?:jp|kr)|shift_?jis|gbk|gb2312|gb18030|big5",
    re.IGNORECASE,
)
"""Encodings that people's commits have. Python knows more, some of which take long on what is made for that."""
_PULL_REQUESTS: Final = (
    re.compile(r"^Merge pull request #([0-9]{1,9})\b"),
    re.compile(r"^Merged PR ([0-9]{1,9}):"),
    re.compile(r"\(pull request #([0-9]{1,9})\)"),
    re.compile(r"\(#([0-9]{1,9})\)(?:$| (?:from|into) )"),
)
_APPROVAL: Final = re.compile(r"^(?:Reviewed|Approved|Acked)-by:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Person:
    """`name <email> seconds zone` of a commit: what it claims. `at_s` is None where no time stands there."""

    name: str
    email: str
    at_s: int | None


@dataclass(frozen=True, slots=True)
class RawCommit:
    """`payload` is what was signed: the object without its signatures. `signature` is empty where there is none, or
    where `fault` says why none of it can count."""

    commit: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str
    payload: bytes
    signature: bytes
    fault: str

    @property
    def subject(self) -> str:
        """Its first paragraph on one line, harmless and bounded."""
        paragraph = re.split(r"\n[ \t\r]*\n", self.message.strip(), maxsplit=1)[0]
        return _clean(paragraph, _SUBJECT)

    @property
    def pull_request(self) -> str:
        """`#123` where the subject claims one."""
        subject = self.subject
        return next((f"#{found[1]}" for form in _PULL_REQUESTS if (found := form.search(subject))), "")

    @property
    def claimed_approvals(self) -> tuple[str, ...]:
        people = (_clean(found[1], _NAME) for found in _APPROVAL.finditer(self.message))
        return tuple(dict.fromkeys(people))[:_APPROVALS]

    def change(self, signed_by: SignedBy | None) -> MergedChange:
        """What a generation keeps of it."""
        return MergedChange(
            self.commit,
            _clean(self.author.name, _NAME),
            _clean(self.author.email, _NAME),
            _clean(self.committer.name, _NAME),
            _moment(self.committer.at_s),
            self.subject,
            self.commit if len(self.parents) > 1 else "",
            self.pull_request,
            signed_by,
            self.claimed_approvals,
        )


def parsed(commit: str, data: bytes) -> RawCommit:
    """The commit of that id. Of one that is larger than is read, `fault` says so, and what stands there is a claim: it
    cannot be held against its id. Raises SourceError where these are not its bytes."""
    object_format = "sha256" if len(commit) == 64 else "sha1"
    is_whole = len(data) <= LIMIT_BYTES
    if (
        is_whole
        and hashlib.new(object_format, b"commit %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
        != commit
    ):
        raise SourceError(f"commit {commit[:12]}: its object is not what its id says; run `git fsck`")
    head, ends, message = data.partition(b"\n\n")
    head = head if ends else head.removesuffix(b"\n")  # without a message there is no empty line
    headers = tuple(_headers(head))
    fault = _fault(headers) if is_whole else f"is larger than {LIMIT_BYTES // 1024} KiB, which is more than is read"
    wanted = _SIGNATURES[object_format]
    signatures = [_value(lines) for name, lines in headers if name == wanted]
    if len(signatures) > 1:
        fault = fault or "has more than one signature, of which only one could be checked"
    text = _text(message[:_READ_BYTES], headers)
    return RawCommit(
        commit,
        _first(headers, b"tree").decode("ascii", "replace"),
        tuple(_value(lines).decode("ascii", "replace") for name, lines in headers if name == b"parent"),
        _person(_first(headers, b"author"), headers),
        _person(_first(headers, b"committer"), headers),
        text,
        data if not signatures or fault else _payload(headers, data[len(head) :]),
        b"" if fault or not signatures else signatures[0],
        fault,
    )


_Headers = tuple[tuple[bytes, tuple[bytes, ...]], ...]
"""Each header's name, with its line and those that go on with it, as they stand there."""


def _headers(head: bytes) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    lines: list[bytes] = []
    for line in head.split(b"\n"):
        if line.startswith(b" ") and lines:
            lines.append(line)
            continue
        if lines:
            yield lines[0].partition(b" ")[0], tuple(lines)
        lines = [line]
    yield lines[0].partition(b" ")[0], tuple(lines)


def _value(lines: tuple[bytes, ...]) -> bytes:
    return b"\n".join((lines[0].partition(b" ")[2], *(line[1:] for line in lines[1:])))


def _first(headers: _Headers, name: bytes) -> bytes:
    return next((_value(lines) for one, lines in headers if one == name), b"")


def _payload(headers: _Headers, rest: bytes) -> bytes:
    kept = (line for name, lines in headers if name not in _SIGNATURES.values() for line in lines)
    return b"\n".join(kept) + rest


def _fault(headers: _Headers) -> str:
    """Why readers may differ about what this commit says: a signature would then prove what nobody reads."""
    names = [name for name, _ in headers]
    parents = names.count(b"parent")
    twice = next((name for name in _ONCE if names.count(name) != 1), None)
    if twice is not None or names[: parents + 3] != [b"tree", *[b"parent"] * parents, b"author", b"committer"]:
        return f"has headers that git does not write so{f' ({twice.decode()})' if twice else ''}"
    if any(b"\0" in line for _, lines in headers for line in lines):
        return "has a NUL among its headers"
    return ""


def _person(told: bytes, headers: _Headers) -> Person:
    found = _PERSON.match(told[:4096])
    if found is None:
        return Person(_text(told[:4096], headers), "", None)
    at = found["at"]
    name, email = (_text(found[part].strip(), headers) for part in ("name", "email"))
    return Person(name, email, None if at is None else int(at))


def _text(data: bytes, headers: _Headers) -> str:
    named = _first(headers, b"encoding").decode("ascii", "replace").strip()
    encoding = named if _ENCODINGS.fullmatch(named) else "utf-8"
    try:
        return data.decode(encoding, "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def _clean(text: str, limit: int) -> str:
    seen = visible(" ".join(text[: limit * 4].split()))
    return seen if len(seen) <= limit else f"{seen[: limit - 1]}…"


def _moment(at_s: int | None) -> str:
    try:
        return "" if at_s is None else iso(at_s)
    except (ValueError, OverflowError, OSError):
        return ""
