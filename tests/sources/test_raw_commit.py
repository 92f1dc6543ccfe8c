from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import SourceError
from reconciler.records.snapshot import MergedChange, SignedBy
from reconciler.sources.raw_commit import LIMIT_BYTES, RawCommit, parsed

TREE = b"tree " + b"a" * 40
PEOPLE = b"author Ann <ann@desk.example> 1700000000 +0100\ncommitter Bo <bo@desk.example> 1700000060 -0500"


def read(data: bytes) -> RawCommit:
    return parsed(hashlib.sha1(b"commit %d\0%b" % (len(data), data)).hexdigest(), data)


def of(message: bytes, headers: bytes = b"", people: bytes = PEOPLE) -> RawCommit:
    return read(TREE + b"\nparent " + b"b" * 40 + b"\n" + people + headers + b"\n\n" + message)


def test_a_commit_becomes_the_change_that_a_generation_keeps() -> None:
    raw = of(b"Raise btc (#12)\n\nBecause.\n\nReviewed-by: Cy <cy@desk.example>\nSigned-off-by: Ann <a@b>\n")
    signer = SignedBy("ann@desk.example", "SHA256:x")
    change = raw.change(signer)
    assert change == MergedChange(
        commit=raw.commit,
        author="Ann",
        author_email="ann@desk.example",
        committer="Bo",
        committed_at="2023-11-14T22:14:20.000Z",
        subject="Raise btc (#12)",
        pull_request="#12",
        signed_by=signer,
        claimed_approvals=("Cy <cy@desk.example>",),
    )
    assert MergedChange.from_json(change.to_json()) == change


def test_what_is_not_known_is_null() -> None:
    told = of(b"x", people=PEOPLE.replace(b"1700000060", b"99999999999999")).change(None).to_json()
    unknown = ("committed_at", "merge_commit", "pull_request", "signed_by")
    assert [told[name] for name in unknown] == [None] * 4
    assert told["claimed_approvals"] == []


def test_a_merge_tells_itself_as_the_merge_commit() -> None:
    data = TREE + b"\nparent " + b"b" * 40 + b"\nparent " + b"c" * 40 + b"\n" + PEOPLE + b"\n\nMerge\n"
    raw = read(data)
    assert raw.parents == ("b" * 40, "c" * 40)
    assert raw.change(None).merge_commit == raw.commit


@pytest.mark.parametrize(
    ("subject", "claimed"),
    [
        ("Raise btc (#12)", "#12"),
        ("Raise btc (#3) again (#12)", "#12"),
        ("Merge pull request #12 from desk/raise", "#12"),
        ("Merge pull request 'Raise' (#12) from raise into main", "#12"),
        ("Merged in raise (pull request #12)", "#12"),
        ("Merged PR 12: Raise btc", "#12"),
        ("Revert what #12 did", ""),
        ("Raise (#1234567890)", ""),
        ("Raise (#) (#x)", ""),
        ("", ""),
    ],
)
def test_the_pull_request_is_what_the_subject_claims_in_the_words_of_forges(subject: str, claimed: str) -> None:
    assert of(subject.encode()).pull_request == claimed


def test_the_subject_is_the_first_paragraph_on_one_line() -> None:
    assert of(b"\n\nRaise\nbtc\n  \nBody").subject == "Raise btc"
    assert of(b"").subject == ""


def test_claimed_approvals_are_each_told_once_and_not_without_end() -> None:
    lines = b"reviewed-by: A\nReviewed-by:\nAPPROVED-BY:  A \nAcked-by: B\n> Reviewed-by: quoted\n"
    assert of(b"x\n\n" + lines).claimed_approvals == ("A", "B")
    many = b"".join(b"Acked-by: %d\n" % n for n in range(100))
    assert len(of(b"x\n\n" + many).claimed_approvals) == 20


def test_what_acts_on_readers_is_made_visible_and_what_is_long_is_cut() -> None:
    people = b"author \x1b[31mAnn\x07 <a\xff@b> 1 +0000\ncommitter " + b"B" * 3000 + b" <b> 1 +0000"
    change = of("Raise\u202e \x1b]0;x\x07".encode() + b"x" * 3000, people=people).change(None)
    assert change.author == r"\x1b[31mAnn\x07"
    assert change.author_email == "a\ufffd@b"
    assert change.subject.startswith(r"Raise\u202e \x1b]0;x\x07x")
    assert (len(change.subject), len(change.committer)) == (200, 120)
    assert change.subject.endswith("…")


def test_an_encoding_is_followed_where_people_use_it_and_else_it_is_utf_8() -> None:
    assert of(b"caf\xe9", b"\nencoding ISO-8859-1").subject == "café"
    assert of(b"caf\xe9", b"\nencoding iso-8859-99").subject == "caf\ufffd"
    assert of(b"\\x41", b"\nencoding unicode_escape").subject == "\\x41"


def test_a_commit_without_a_message_is_read() -> None:
    raw = read(TREE + b"\n" + PEOPLE + b"\n")
    assert (raw.parents, raw.subject, raw.committer.email, raw.fault) == ((), "", "bo@desk.example", "")


def test_the_signature_is_taken_out_and_all_else_stays_as_it_was() -> None:
    signed = of(b"x\n\n  \n", b"\nmergetag object y\n gpgsig z\ngpgsig one\n two\n \n three\nx-more y")
    assert signed.signature == b"one\ntwo\n\nthree"
    assert signed.payload == of(b"x\n\n  \n", b"\nmergetag object y\n gpgsig z\nx-more y").payload


def test_what_looks_like_a_signature_in_the_message_is_none() -> None:
    raw = of(b"x\n\ngpgsig -----BEGIN SSH SIGNATURE-----\n x\n")
    assert raw.signature == b""


def test_other_bytes_than_the_ids_are_an_error() -> None:
    with pytest.raises(SourceError, match="its object is not what its id says; run `git fsck`"):
        parsed("0" * 40, TREE)


def test_of_one_that_is_too_large_nothing_counts_as_signed() -> None:
    for data in (b"x" * (LIMIT_BYTES + 1), TREE + b"\n" + PEOPLE + b"\ngpgsig x\n\n" + b"x" * LIMIT_BYTES):
        found = parsed("0" * 40, data)
        assert (found.fault, found.signature) == ("is larger than 1024 KiB, which is more than is read", b"")


@given(st.binary(max_size=400))
def test_whatever_stands_in_a_commit_is_read_without_failing(data: bytes) -> None:
    for before in (b"", TREE + b"\n", TREE + b"\n" + PEOPLE + b"\n", TREE + b"\n" + PEOPLE + b"\n\n"):
        change = read(before + data).change(None)
        for text in (change.author, change.author_email, change.committer, change.subject, *change.claimed_approvals):
            assert text.isprintable()
            text.encode()
        assert MergedChange.from_json(change.to_json()) == change
