"""Signed commits in real repositories, by keys made here, and attacks on them: each must be held."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.errors import SourceError
from reconciler.records.snapshot import SignedBy
from reconciler.sources.command import Git
from reconciler.sources.signatures import Signatures, SignedRange, SigningRules

Run = Callable[..., str]
NOW = 1_900_000_000.0  # 2030-03-17
RULES = SigningRules("allowed_signers")

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`key("alice")`: the private key of that name, its public half beside it; the same one all along."""
    folder = tmp_path_factory.mktemp("keys")

    def made(name: str) -> Path:
        if not (folder / name).exists():
            keygen("-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
        return folder / name

    return made


def keygen(*arguments: str) -> None:
    subprocess.run(("ssh-keygen", *arguments), check=True, capture_output=True)


def public(key: Path) -> str:
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    told = subprocess.run(("ssh-keygen", "-lf", f"{key}.pub"), check=True, capture_output=True, text=True)
    return told.stdout.split()[1]


@dataclass
class Desk:
    """A repository whose signers are at first alice alone, as of `first`, which she signed."""

    top: Path
    git: Run
    key: Callable[[str], Path]
    first: str = ""

    def allow(self, *lines: str) -> None:
        (self.top / "allowed_signers").write_text("".join(f"{line}\n" for line in lines))

    def line(self, name: str, options: str = "", principals: str = "") -> str:
        return f"{principals or f'{name}@desk.example'} {options}{' ' if options else ''}{public(self.key(name))}"

    def commit(self, signer: str | None, message: str = "A change", email: str = "", **environment: str) -> str:
        """Commit all there is, or nothing; by the key of `signer`, who is the committer, or by none."""
        self.git(self.top, "add", "-A")
        who = email or f"{signer or 'nobody'}@desk.example"
        author = {} if email else {"GIT_AUTHOR_EMAIL": who}
        people = {"GIT_COMMITTER_EMAIL": who, **author, **environment}
        return self.run(signer, "commit", "-q", "--allow-empty", "-m", message, **people)

    def run(self, signer: str | None, *arguments: str, **environment: str) -> str:
        """git, signing with that key; gives the id of the commit that HEAD then is."""
        signing = () if signer is None else ("-c", f"user.signingkey={self.key(signer)}", "-c", "commit.gpgsign=true")
        command = ("git", "-c", "gpg.format=ssh", "-c", "user.name=Test", "-c", "user.email=test@desk.example")
        done = subprocess.run(
            (*command, *signing, *arguments),
            cwd=self.top,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return self.git(self.top, "rev-parse", "HEAD")

    def check(
        self, new: str, applied: str = "", seen: dict[str, float] | None = None, rules: SigningRules = RULES
    ) -> SignedRange:
        return Signatures(Git(self.top, is_alone=True), rules).check(applied or self.first, new, seen or {}, NOW)

    def write_commit(self, raw: bytes) -> str:
        """A commit object of just these bytes."""
        command = ("git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
        return subprocess.run(command, cwd=self.top, input=raw, capture_output=True, check=True).stdout.decode().strip()

    def raw(self, commit: str) -> bytes:
        command = ("git", "cat-file", "commit", commit)
        return subprocess.run(command, cwd=self.top, capture_output=True, check=True).stdout


@pytest.fixture(params=["sha1"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, git: Run, key: Callable[[str], Path]) -> Desk:
    top = tmp_path / "desk"
    top.mkdir()
    git(top, "init", "-q", f"--object-format={request.param}")
    desk = Desk(top, git, key)
    desk.allow(desk.line("alice"))
    desk.first = desk.commit("alice", "The first")
    return desk


def test_a_range_of_commits_by_an_allowed_key_is_not_held(desk: Desk) -> None:
    first, second = desk.commit("alice"), desk.commit("alice")
    told = desk.check(second)
    assert told.held == ""
    assert told.steps == (first, second)
    assert told.signed_by(second) == SignedBy("alice@desk.example", fingerprint(desk.key("alice")))


@pytest.mark.parametrize("desk", ["sha256"], indirect=True)
def test_a_repository_of_sha_256_is_checked_likewise(desk: Desk) -> None:
    good, bad = desk.commit("alice"), desk.commit(None)
    assert desk.check(good).held == ""
    assert f"commit {bad[:12]} is not signed" in desk.check(bad).held


def test_without_anything_applied_the_newest_commit_is_judged_by_its_own_signers(desk: Desk) -> None:
    checked = Signatures(Git(desk.top, is_alone=True), RULES)
    assert checked.check(None, desk.first, {}, NOW).held == ""
    assert "is not signed" in checked.check(None, desk.commit(None), {}, NOW).held


def test_an_unsigned_commit_in_mid_range_holds_the_range(desk: Desk) -> None:
    desk.commit("alice")
    unsigned = desk.commit(None)
    assert (
        desk.check(desk.commit("alice")).held == f"commit {unsigned[:12]} is not signed; sign it with `git commit -S`"
    )


def test_a_signer_added_in_the_range_that_uses_it_is_held(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("mallory"))
    own = desk.commit("mallory", "I may")
    told = desk.check(desk.commit("mallory", "And use it"))
    assert [one.raw.commit for one in told.commits if one.signed_by is None] == [own]
    assert (
        f"is signed by {fingerprint(desk.key('mallory'))}, which allowed_signers of {desk.first[:12]} does not"
        in told.held
    )


def test_a_signer_whom_another_signer_added_may_sign_the_next_step(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob"))
    desk.commit("alice", "Bob joins")
    assert desk.check(desk.commit("bob")).held == ""


def test_a_key_taken_out_later_in_the_range_is_revoked_for_what_it_signed_before(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob"))
    both = desk.commit("alice", "Bob joins")
    by_bob = desk.commit("bob")
    desk.allow(desk.line("alice"))
    left = desk.commit("alice", "Bob leaves")
    assert desk.check(by_bob, both).held == "", "seen before he left, it was applied"
    assert f"commit {by_bob[:12]} is signed by {fingerprint(desk.key('bob'))}" in desk.check(left, both).held


def test_a_revoked_key_stays_revoked_for_a_backdated_commit(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob"))
    desk.commit("alice", "Bob joins")
    desk.allow(desk.line("alice"))
    left = desk.commit("alice", "Bob leaves")
    past = "2001-01-01T00:00:00Z"
    backdated = desk.commit("bob", GIT_COMMITTER_DATE=past, GIT_AUTHOR_DATE=past)
    assert f"commit {backdated[:12]} is signed by" in desk.check(backdated, left).held


def test_an_expired_key_is_judged_by_when_the_engine_saw_the_commit_and_not_by_the_commit(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob", 'valid-before="20300101"'))
    joined = desk.commit("alice", "Bob joins until 2030")
    past = "2029-06-01T00:00:00Z"
    late = desk.commit("bob", GIT_COMMITTER_DATE=past, GIT_AUTHOR_DATE=past)
    assert "allowed_signers of" in (held := desk.check(late, joined).held)
    assert ", line 2: key has expired" in held
    assert desk.check(late, joined, {late: NOW - 365 * 86_400}).held == "", "seen while it was good"


def test_a_key_is_not_good_before_its_time(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob", 'valid-after="20310101Z"'))
    joined = desk.commit("alice", "Bob joins in 2031")
    assert "key is not yet valid" in desk.check(desk.commit("bob"), joined).held


def test_times_without_a_zone_are_utc_on_every_machine(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.allow(desk.line("alice"), desk.line("bob", 'valid-before="20300317174640"'))  # NOW
    joined = desk.commit("alice", "Bob joins")
    by_bob = desk.commit("bob")
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        assert desk.check(by_bob, joined, {by_bob: NOW}).held == ""
        assert "key has expired" in desk.check(by_bob, joined, {by_bob: NOW + 1}).held


def test_a_key_for_another_namespace_signs_no_commits(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob", 'namespaces="file,email"'))
    joined = desk.commit("alice", "Bob signs letters")
    assert "key is not permitted for use in signature namespace" in desk.check(desk.commit("bob"), joined).held
    desk.allow(desk.line("alice"), desk.line("bob", 'namespaces="file,git"'))
    joined = desk.commit("alice", "And commits")
    assert desk.check(desk.commit("bob"), joined).held == ""


def test_a_signature_made_for_a_file_is_none_of_a_commit(desk: Desk, tmp_path: Path) -> None:
    payload = desk.raw(desk.commit(None))
    (tmp_path / "payload").write_bytes(payload)
    keygen("-Y", "sign", "-n", "file", "-f", str(desk.key("alice")), str(tmp_path / "payload"))
    armour = (tmp_path / "payload.sig").read_bytes().strip().replace(b"\n", b"\n ")
    head, _, message = payload.partition(b"\n\n")
    assert "is signed by" in desk.check(desk.write_commit(head + b"\ngpgsig " + armour + b"\n\n" + message)).held


def test_an_older_signed_history_put_back_does_not_lead_on(desk: Desk) -> None:
    older = desk.commit("alice")
    newer = desk.commit("alice")
    assert "does not lead on" in desk.check(older, newer).held
    desk.git(desk.top, "checkout", "-q", "--detach", older)
    aside = desk.commit("alice", "Another way")
    assert "does not lead on" in desk.check(aside, newer).held
    merged = desk.run("alice", "merge", "-q", "--no-ff", "-m", "Foxtrot", newer)
    assert "along first parents" in desk.check(merged, newer).held, "what was applied is only its second parent"


def test_an_older_file_of_signers_put_back_lets_nobody_in_who_was_taken_out(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("mallory"))
    desk.commit("alice")
    desk.allow(desk.line("alice"))
    without = desk.commit("alice", "Mallory leaves")
    desk.allow(desk.line("alice"), desk.line("mallory"))
    back = desk.commit("mallory", "As it was")
    assert f"commit {back[:12]} is signed by" in desk.check(back, without).held


def _branch(desk: Desk, signer: str | None) -> str:
    desk.git(desk.top, "checkout", "-q", "-B", "change", desk.first)
    (desk.top / "change").write_text("x")
    change = desk.commit(signer, "On a branch")
    desk.git(desk.top, "checkout", "-q", "-B", "main", desk.first)
    return change


def test_a_merge_by_a_stranger_is_held(desk: Desk) -> None:
    _branch(desk, "alice")
    merge = desk.run("mallory", "merge", "-q", "--no-ff", "-m", "Merge", "change")
    told = desk.check(merge)
    assert told.steps == (merge,)
    assert [one.raw.commit for one in told.commits if one.signed_by is None] == [merge]


def test_what_a_merge_brings_in_must_be_signed_too(desk: Desk) -> None:
    strange = _branch(desk, "mallory")
    merge = desk.run("alice", "merge", "-q", "--no-ff", "-m", "Merge", "change")
    told = desk.check(merge)
    assert [(one.raw.commit, one.step) for one in told.commits] == [(strange, merge), (merge, merge)]
    assert f"commit {strange[:12]} is signed by" in told.held
    good = _branch(desk, "alice")
    merge = desk.run("alice", "merge", "-q", "--no-ff", "-m", "Merge", "change")
    assert desk.check(merge).held == ""
    assert desk.check(merge).signed_by(good) is not None


def test_a_merged_commit_by_a_signer_of_its_own_branch_is_judged_by_the_signers_before_the_merge(desk: Desk) -> None:
    desk.git(desk.top, "checkout", "-q", "-B", "change", desk.first)
    desk.allow(desk.line("alice"), desk.line("mallory"))
    desk.commit("mallory", "I join")
    own = desk.commit("mallory", "And sign")
    desk.git(desk.top, "checkout", "-q", "-B", "main", desk.first)
    merge = desk.run("alice", "merge", "-q", "--no-ff", "-m", "Merge", "change")
    assert {one.raw.commit for one in desk.check(merge).commits if one.signed_by is None} >= {own}


def test_a_signature_on_a_tag_only_is_none_of_the_commit(desk: Desk) -> None:
    bare = desk.commit(None)
    desk.run("alice", "tag", "-s", "-m", "Release", "v1")
    assert f"commit {bare[:12]} is not signed" in desk.check(bare).held


def test_a_merge_of_a_signed_tag_carries_the_tags_signature_and_none_of_its_own(desk: Desk) -> None:
    _branch(desk, "alice")
    desk.run("alice", "tag", "-s", "-m", "Release", "v1", "change")
    merge = desk.run(None, "merge", "-q", "--no-ff", "-m", "Merge", "v1")
    assert b"\nmergetag " in desk.raw(merge)
    assert desk.check(merge).held.startswith(f"commit {merge[:12]} is not signed, a merge;")
    desk.git(desk.top, "reset", "-q", "--hard", desk.first)
    merge = desk.run("alice", "merge", "-q", "--no-ff", "-m", "Merge", "v1")
    assert b"\nmergetag " in desk.raw(merge)
    assert desk.check(merge).held == ""


def test_a_replace_ref_hides_nothing(desk: Desk) -> None:
    unsigned = desk.commit(None, "Bad")
    desk.git(desk.top, "checkout", "-q", "--detach", desk.first)
    signed = desk.commit("alice", "Good")
    desk.git(desk.top, "replace", unsigned, signed)
    assert desk.git(desk.top, "log", "-1", "--format=%s", unsigned) == "Good", "git itself is deceived"
    assert f"commit {unsigned[:12]} is not signed" in desk.check(unsigned).held


def test_a_graft_hides_nothing(desk: Desk) -> None:
    unsigned = desk.commit(None)
    new = desk.commit("alice")
    (desk.top / ".git" / "info").mkdir(exist_ok=True)
    (desk.top / ".git" / "info" / "grafts").write_text(f"{new} {desk.first}\n")
    assert f"commit {unsigned[:12]} is not signed" in desk.check(new).held


def test_a_shallow_boundary_hides_nothing_and_says_what_to_do(desk: Desk) -> None:
    desk.commit(None)
    new = desk.commit("alice")
    (desk.top / ".git" / "shallow").write_text(f"{new}\n")
    with pytest.raises(SourceError, match=r"shallow clone; run `git fetch --unshallow`$"):
        desk.check(new)


def test_a_hostile_configuration_of_the_repository_is_not_obeyed(desk: Desk, tmp_path: Path) -> None:
    new = desk.commit("mallory")
    trap = tmp_path / "trap"
    trap.write_text(
        f"#!/bin/sh\ntouch {tmp_path}/sprung\necho 'Good \"git\" signature for x with ED25519 key SHA256:x'\n"
    )
    trap.chmod(0o755)
    (desk.top / ".git" / "other_signers").write_text(f"{desk.line('mallory')}\n")
    settings = {
        "gpg.program": trap,
        "gpg.ssh.program": trap,
        "gpg.ssh.allowedSignersFile": desk.top / ".git" / "other_signers",
        "gpg.ssh.defaultKeyCommand": trap,
        "core.fsmonitor": trap,
        "core.hooksPath": tmp_path,
        "core.pager": trap,
        "core.sshCommand": trap,
        "log.showSignature": "true",
        "alias.rev-list": f"!{trap}",
        "alias.cat-file": f"!{trap}",
        "core.useReplaceRefs": "true",
    }
    for name, value in settings.items():
        desk.git(desk.top, "config", name, str(value))
    assert f"commit {new[:12]} is signed by" in desk.check(new).held
    assert not (tmp_path / "sprung").exists()


def test_configuration_of_users_and_variables_of_git_reach_nothing(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = desk.commit("mallory")
    (tmp_path / "config").write_text("[core]\n\trepositoryformatversion = 99\n[this is no configuration\n")
    other = tmp_path / "other"
    desk.git(tmp_path, "init", "-q", str(other))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "nonsense")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other))
    assert f"commit {new[:12]} is signed by" in desk.check(new).held


def test_a_wildcard_stands_for_the_committers_whom_it_fits_and_is_told_as_it_is(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob", principals="*@desk.example,!boss@desk.example"))
    joined = desk.commit("alice", "Bob's machine signs for the desk")
    fits = desk.commit("bob", email="carol@desk.example")
    assert desk.check(fits, joined).signed_by(fits) == SignedBy(
        "*@desk.example,!boss@desk.example", fingerprint(desk.key("bob"))
    ), "whoever has the key could have called himself carol"
    for email in ("carol@evil.example", "boss@desk.example", "*@desk.example", "*", "a@evil.example,b@desk.example"):
        desk.git(desk.top, "reset", "-q", "--hard", joined)
        held = desk.check(desk.commit("bob", email=email), joined).held
        assert "allows for *@desk.example,!boss@desk.example, and its committer is" in held, email


def test_one_line_lends_its_principals_to_no_other(desk: Desk) -> None:
    expired = desk.line("bob", 'valid-before="20200101"', principals="boss@desk.example")
    desk.allow(desk.line("alice"), expired, desk.line("bob", principals="*@desk.example"))
    joined = desk.commit("alice", "Bob was the boss, and signs for the desk")
    fits = desk.commit("bob")
    assert desk.check(fits, joined).signed_by(fits) == SignedBy("*@desk.example", fingerprint(desk.key("bob")))
    stranger = desk.commit("bob", email="x@evil.example")
    assert ", line 2: key has expired" in desk.check(stranger, joined).held


def test_a_named_signer_is_told_by_name_whomever_the_commit_claims(desk: Desk) -> None:
    new = desk.commit("alice", email="boss@desk.example")
    signer = desk.check(new).signed_by(new)
    assert signer is not None
    assert signer.principal == "alice@desk.example"


def test_a_signer_is_told_as_he_was_named_before_the_step(desk: Desk) -> None:
    desk.allow(desk.line("alice", principals="boss@desk.example"))
    new = desk.commit("alice", "Now I am the boss")
    signer = desk.check(new).signed_by(new)
    assert signer is not None
    assert signer.principal == "alice@desk.example"


def _certificate(desk: Desk, name: str, authority: str, principals: str, validity: str = "always:forever") -> None:
    """Make commits by `name` signed with a certificate of that authority; git takes it where it lies beside the key."""
    keygen("-q", "-s", str(desk.key(authority)), "-I", name, "-n", principals, "-V", validity, f"{desk.key(name)}.pub")


def by_certificate(desk: Desk, name: str, **more: str) -> str:
    signing = ("-c", f"user.signingkey={desk.key(name)}-cert.pub")
    desk.git(desk.top, "add", "-A")
    shutil.copy(desk.key(name), f"{desk.key(name)}-cert")
    people = {"GIT_COMMITTER_EMAIL": f"{name}@desk.example", **more}
    return desk.run(name, *signing, "commit", "-q", "--allow-empty", "-m", "x", **people)


def test_a_certificate_of_a_named_authority_signs_for_the_principals_of_both(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("authority", "cert-authority", principals="*@desk.example"))
    named = desk.commit("alice", "The desk has an authority")
    _certificate(desk, "carol", "authority", "carol@desk.example,carol@elsewhere.example")
    new = by_certificate(desk, "carol")
    assert desk.check(new, named).signed_by(new) == SignedBy("carol@desk.example", fingerprint(desk.key("carol")))


@pytest.mark.parametrize(
    ("authority", "principals", "validity", "why"),
    [
        ("another", "dave@desk.example", "always:forever", "is signed by a certificate, which allowed_signers of"),
        ("authority", "dave@evil.example", "always:forever", "name is not a listed principal"),
        ("authority", "*@desk.example", "always:forever", "name is not a listed principal"),
        ("authority", "dave@desk.example", "20200101:20210101", "Certificate invalid: expired"),
        ("authority", "dave@desk.example", "20310101:20320101", "Certificate invalid: not yet valid"),
    ],
    ids=["of an authority that no line names", "for others", "for a pattern", "expired", "not yet valid"],
)
def test_a_certificate_is_held(desk: Desk, authority: str, principals: str, validity: str, why: str) -> None:
    desk.allow(desk.line("alice"), desk.line("authority", "cert-authority", principals="*@desk.example"))
    named = desk.commit("alice", "The desk has an authority")
    _certificate(desk, "dave", authority, principals, validity)
    past = "2020-06-01T00:00:00Z"
    assert why in desk.check(by_certificate(desk, "dave", GIT_COMMITTER_DATE=past), named).held
    desk.git(desk.top, "reset", "-q", "--hard", named)
    pattern = by_certificate(desk, "dave", GIT_COMMITTER_EMAIL="*@desk.example", GIT_COMMITTER_DATE=past)
    assert desk.check(pattern, named).signed_by(pattern) is None


def test_an_authority_that_is_named_as_a_plain_key_signs_for_itself_alone(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("authority", principals="*@desk.example"))
    named = desk.commit("alice")
    _certificate(desk, "erin", "authority", "erin@desk.example")
    assert "is signed by a certificate" in desk.check(by_certificate(desk, "erin"), named).held


def test_an_authority_signs_no_commits_itself(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("authority", "cert-authority", principals="*@desk.example"))
    named = desk.commit("alice")
    assert "is signed by" in desk.check(desk.commit("authority"), named).held


def test_a_header_beside_the_signature_is_part_of_what_was_signed(desk: Desk) -> None:
    good = desk.raw(desk.commit("alice"))
    for extra in (b"gpgsigx more", b"x-reviewed-by boss", b"encoding latin1"):
        forged = good.replace(b"\ngpgsig ", b"\n" + extra + b"\ngpgsig ", 1)
        assert "Signature verification failed" in desk.check(desk.write_commit(forged)).held, extra


def test_the_signature_of_the_twin_in_the_other_hash_is_left_out_of_what_was_signed(desk: Desk) -> None:
    good = desk.raw(desk.commit("alice"))
    twin = good.replace(b"\ngpgsig ", b"\ngpgsig-sha256 one\n more\ngpgsig ", 1)
    assert desk.check(desk.write_commit(twin)).held == ""
    alone = good.replace(b"\ngpgsig ", b"\ngpgsig-sha256 ", 1)
    assert "is not signed" in desk.check(desk.write_commit(alone)).held


def test_of_two_signatures_neither_counts(desk: Desk) -> None:
    good = desk.raw(desk.commit("alice"))
    head, _, message = good.partition(b"\n\n")
    signature = head[head.index(b"\ngpgsig ") :]
    twice = desk.write_commit(head + signature + b"\n\n" + message)
    assert "has more than one signature" in desk.check(twice).held
    within = signature.replace(b"\ngpgsig ", b"\n ", 1)
    assert "in a form that is not checked here" in desk.check(desk.write_commit(head + within + b"\n\n" + message)).held


def test_headers_that_readers_may_read_differently_are_held_though_signed(desk: Desk, tmp_path: Path) -> None:
    payload = desk.raw(desk.commit(None))
    tree = payload[:46]
    for forged in (
        tree + payload,
        payload.replace(b"\ncommitter ", b"\nauthor Boss <boss@desk.example> 1 +0000\ncommitter ", 1),
        payload.replace(b"\n\n", b"\nx-note\n\n", 1).replace(b"\nauthor ", b"\nx-other y\nauthor ", 1),
    ):
        assert forged != payload
        (tmp_path / "payload").write_bytes(forged)
        keygen("-Y", "sign", "-n", "git", "-f", str(desk.key("alice")), str(tmp_path / "payload"))
        armour = (tmp_path / "payload.sig").read_bytes().strip().replace(b"\n", b"\n ")
        (tmp_path / "payload.sig").unlink()
        head, _, message = forged.partition(b"\n\n")
        new = desk.write_commit(head + b"\ngpgsig " + armour + b"\n\n" + message)
        assert "has headers that git does not write so" in desk.check(new).held


def test_an_object_that_is_not_what_its_id_says_is_an_error(desk: Desk) -> None:
    new = desk.commit(None)
    desk.git(desk.top, "reset", "-q", "--hard", desk.first)
    good = desk.commit("alice")
    place = desk.top / ".git" / "objects"
    (place / new[:2] / new[2:]).chmod(0o644)
    shutil.copy(place / good[:2] / good[2:], place / new[:2] / new[2:])
    with pytest.raises(SourceError, match=f"^commit {new[:12]}: its object is not what its id says"):
        desk.check(new)


def test_an_object_that_is_gone_is_an_error(desk: Desk) -> None:
    gone = desk.commit("alice")
    new = desk.commit("alice")
    (desk.top / ".git" / "objects" / gone[:2] / gone[2:]).unlink()
    with pytest.raises(SourceError):
        desk.check(new)


def test_without_the_file_of_signers_nobody_may_sign(desk: Desk) -> None:
    (desk.top / "allowed_signers").unlink()
    gone = desk.commit("alice")
    assert f"allowed_signers of {gone[:12]} does not exist" in desk.check(gone).held


def test_lines_that_nobody_can_read_let_nobody_in_and_keep_nobody_out(desk: Desk) -> None:
    desk.allow(
        "# comment", "", "nonsense", "x@y nonsense", "x@y ssh-ed25519 !!!", "\x00\x01", '"a b@x', desk.line("alice")
    )
    odd = desk.commit("alice")
    assert desk.check(desk.commit("alice"), odd).held == ""
    assert "does not name" in desk.check(desk.commit("mallory"), odd).held


def test_options_and_quotes_of_a_line_are_read_as_ssh_keygen_reads_them(desk: Desk) -> None:
    options = 'namespaces="git, file",valid-after="20200101Z",valid-before="20400101"'
    desk.allow(
        desk.line("alice"), f'"zed@desk.example,bob@desk.example" {options}\t{public(desk.key("bob"))} a comment'
    )
    joined = desk.commit("alice")
    new = desk.commit("bob")
    assert desk.check(new, joined).signed_by(new) == SignedBy("bob@desk.example", fingerprint(desk.key("bob")))


def test_without_ssh_keygen_it_is_held_with_the_reason(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = desk.commit("alice")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(tools))
    assert desk.check(new).held == (
        f"commit {new[:12]} cannot be checked: ssh-keygen is not installed; install openssh-client"
    )


def test_after_enough_that_nobody_signed_no_more_are_asked_about(desk: Desk) -> None:
    for _ in range(24):
        desk.commit(None)
    told = desk.check(desk.commit("alice"))
    assert told.commits[-1].why_not == "was not looked at: 20 others are held already"
    assert "is not signed" in told.held
    assert told.held.endswith("; and 22 more")
    assert len(told.commits) == 25


def test_many_unsigned_commits_are_told_by_the_first_and_counted(desk: Desk) -> None:
    for _ in range(5):
        new = desk.commit(None)
    assert desk.check(new).held.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("Raise it", "as a forge's rebase button does, which drops signatures; merge with a merge commit or squash"),
        ("Raise it (#12)", "as a forge's squash does where the forge signs nothing; merge with one that does"),
    ],
    ids=["rebase", "squash"],
)
def test_what_a_forges_buttons_leave_unsigned_is_told_by_its_shape(desk: Desk, subject: str, told: str) -> None:
    assert told in desk.check(desk.commit(None, subject, email="noreply@forge.example")).held


def test_a_merge_button_that_signs_nothing_is_told_by_its_shape(desk: Desk) -> None:
    _branch(desk, "alice")
    merge = desk.run(None, "merge", "-q", "--no-ff", "-m", "Merge pull request #12 from desk/raise", "change")
    assert desk.check(merge).held == (
        f"commit {merge[:12]} is not signed, a merge; merge with a forge's button whose key is named, "
        "or by hand with `git merge -S`"
    )


def test_a_merge_queue_moves_the_branch_to_what_it_made_ahead_and_that_is_judged_like_the_rest(desk: Desk) -> None:
    """Two changes, merged one upon the other on a branch of the queue's own, and main moved there at once."""
    desk.git(desk.top, "checkout", "-q", "-b", "queue", desk.first)
    for name in ("one", "two"):
        desk.git(desk.top, "checkout", "-q", "-b", name, desk.first)
        (desk.top / name).write_text("x")
        desk.commit("alice", name)
        desk.git(desk.top, "checkout", "-q", "queue")
        last = desk.run("alice", "merge", "-q", "--no-ff", "-m", f"Merge {name}", name)
    told = desk.check(last)
    assert (told.held, len(told.steps), len(told.commits)) == ("", 2, 4)


def test_a_proposal_is_judged_as_one_step_by_the_signers_of_base_and_newest(desk: Desk) -> None:
    desk.allow(desk.line("alice"), desk.line("bob"))
    base = desk.commit("alice", "Bob joins")
    desk.git(desk.top, "checkout", "-q", "-b", "change")
    by_bob = desk.commit("bob")
    desk.git(desk.top, "checkout", "-q", "main")
    later = desk.commit("alice", "Elsewhere")
    desk.git(desk.top, "checkout", "-q", "change")
    updated = desk.run("bob", "merge", "-q", "--no-ff", "-m", "Update", "main")
    bare = desk.commit(None)

    def told(base: str, head: str) -> dict[str, bool]:
        found = Signatures(Git(desk.top), RULES).of_proposal(base, head, NOW)
        return {one.raw.commit: one.signed_by is not None for one in found}

    assert told(later, bare) == {by_bob: True, updated: True, bare: False}
    assert list(told(later, bare)) == [by_bob, updated, bare], "the oldest first"
    assert told(desk.first, by_bob) == {base: True, by_bob: False}, "the base does not know bob"
    desk.git(desk.top, "checkout", "-q", "--detach", later)
    trial = desk.run(None, "merge", "-q", "--no-ff", "-m", "On trial", "change")
    assert told(later, trial) == {by_bob: True, updated: True, bare: False}, "as forges make it for their checks"
    desk.git(desk.top, "reset", "-q", "--hard", later)
    signed = desk.run("alice", "merge", "-q", "--no-ff", "-m", "By hand", "change")
    assert told(later, signed)[signed] is True


@pytest.mark.parametrize("seed", range(4))
def test_over_random_histories_a_commit_counts_where_the_rule_says_so(desk: Desk, seed: int) -> None:
    """People come and go on the branch and beside it, merge, and forget to sign: the rule, told a second time."""
    chance = random.Random(seed)
    people = ("alice", "bob", "carol")
    allowed = {desk.first: frozenset({"alice"})}
    signer: dict[str, str | None] = {}
    parents: dict[str, tuple[str, ...]] = {desk.first: ()}
    lines = [desk.first]

    def add(*above: str) -> str:
        signers = frozenset(chance.sample(people, chance.choice((1, 2, 2, 3)))) if chance.random() < 0.4 else None
        now = signers or allowed[above[0]]
        who = chance.choice((*people, *people, None))
        desk.allow(*(desk.line(name) for name in sorted(now)))
        desk.git(desk.top, "add", "-A")
        tree = desk.git(desk.top, "write-tree")
        signing = () if who is None else ("-c", "gpg.format=ssh", "-c", f"user.signingkey={desk.key(who)}")
        sign = () if who is None else ("-S",)
        onto = (word for parent in above for word in ("-p", parent))
        new = desk.git(desk.top, *signing, "commit-tree", *sign, *onto, "-m", f"{len(parents)}", tree)
        allowed[new], signer[new], parents[new] = now, who, above
        return new

    main = [desk.first]
    for _ in range(9):
        kind = chance.choice(("step", "step", "aside", "merge"))
        if kind == "aside":
            lines.append(add(chance.choice(lines)))
        elif kind == "merge" and len(lines) > 1:
            main.append(add(main[-1], chance.choice(lines[1:])))
        else:
            main.append(add(main[-1]))

    told = desk.check(main[-1])
    known = {desk.first}
    expected = {}
    for before, step in itertools.pairwise(main):
        left = [step]
        while left:
            at = left.pop()
            if at not in known:
                known.add(at)
                left += parents[at]
                expected[at] = signer[at] in allowed[before] & allowed[main[-1]]
    assert {one.raw.commit: one.signed_by is not None for one in told.commits} == expected
    assert told.steps == tuple(main[1:])
    assert (told.held == "") is all(expected.values())


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of gpg's, with a key of a forge, and one of somebody else."""
    if shutil.which("gpg") is None:
        pytest.skip("needs gpg")
    home = tmp_path_factory.mktemp("gpg", numbered=True)
    home.chmod(0o700)
    for name, ends in (("Forge <noreply@forge.example>", "20300601T000000"), ("Other <other@example.com>", "never")):
        gpg(home, "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", ends)
    yield home
    subprocess.run(("gpgconf", "--homedir", str(home), "--kill", "all"), check=False, capture_output=True)


def gpg(home: Path, *arguments: str) -> bytes:
    command = ("gpg", "--homedir", str(home), "--batch", "--no-tty", "--pinentry-mode", "loopback", *arguments)
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_forge(desk: Desk, forge: Path, who: str, *arguments: str) -> str:
    desk.git(desk.top, "add", "-A")
    signing = ("-c", "gpg.format=openpgp", "-c", f"user.signingkey={who}", "-c", "commit.gpgsign=true")
    return desk.run(None, *signing, *arguments, GNUPGHOME=str(forge), GIT_COMMITTER_EMAIL="noreply@forge.example")


FORGE = SigningRules("allowed_signers", "forge.asc")


def test_a_merge_that_the_forge_signed_counts_where_its_key_is_named_before_and_after(desk: Desk, forge: Path) -> None:
    (desk.top / "forge.asc").write_bytes(gpg(forge, "--armor", "--export", "noreply@forge.example"))
    named = desk.commit("alice", "Take the forge's merges")
    desk.git(desk.top, "checkout", "-q", "-B", "change", named)
    change = desk.commit("alice", "On a branch")
    desk.git(desk.top, "checkout", "-q", "-B", "main", named)
    merge = by_forge(desk, forge, "noreply@forge.example", "merge", "-q", "--no-ff", "-m", "Merge", "change")
    told = desk.check(merge, named, rules=FORGE)
    assert told.held == ""
    signed, by = told.signed_by(change), told.signed_by(merge)
    assert signed is not None
    assert by is not None
    assert (signed.kind, by.kind, by.principal) == ("ssh", "forge", "Forge <noreply@forge.example>")
    assert len(by.fingerprint) == 40

    assert "no forge's key is named" in desk.check(merge, named).held
    assert "the key has expired" in desk.check(merge, named, {merge: NOW + 365 * 86_400}, FORGE).held
    assert "forge.asc of" in desk.check(merge, desk.first, rules=FORGE).held or desk.check(merge).held

    stranger = by_forge(desk, forge, "other@example.com", "commit", "-q", "--allow-empty", "-m", "I merge")
    assert "by a key that is not in it" in desk.check(stranger, merge, rules=FORGE).held
    forged = desk.write_commit(desk.raw(merge).replace(b"Merge", b"Marge"))
    assert "does not fit what was signed" in desk.check(forged, named, rules=FORGE).held


def test_a_forges_key_added_in_the_range_that_uses_it_is_held(desk: Desk, forge: Path) -> None:
    (desk.top / "forge.asc").write_bytes(gpg(forge, "--armor", "--export", "other@example.com"))
    new = by_forge(desk, forge, "other@example.com", "commit", "-q", "-m", "I am the forge")
    assert f"forge.asc of {desk.first[:12]} does not exist" in desk.check(new, rules=FORGE).held


def test_without_gpg_what_a_forge_signed_is_held_with_the_reason(
    desk: Desk, forge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.top / "forge.asc").write_bytes(gpg(forge, "--armor", "--export", "noreply@forge.example"))
    named = desk.commit("alice")
    new = by_forge(desk, forge, "noreply@forge.example", "commit", "-q", "--allow-empty", "-m", "Merge")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("git", "ssh-keygen"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    monkeypatch.setenv("PATH", str(tools))
    assert "gpg is not installed; install gnupg" in desk.check(new, named, rules=FORGE).held


def test_a_file_that_is_no_forges_key_allows_nothing(desk: Desk, forge: Path) -> None:
    (desk.top / "forge.asc").write_text("no key")
    named = desk.commit("alice")
    new = by_forge(desk, forge, "noreply@forge.example", "commit", "-q", "--allow-empty", "-m", "Merge")
    assert "is no public key that gpg can read" in desk.check(new, named, rules=FORGE).held


@pytest.mark.parametrize(
    ("written", "allows"),
    [
        ("{p} {k}\r", True),
        ("{p}  \t {k} a comment with ssh-ed25519 in it", True),
        ('"{p}" {k}', True),
        ('{p} namespaces="file,git" {k}', True),
        ('{p} namespaces="*" {k}', True),
        ('{p} namespaces="file" {k}', False),
        ('{p} namespaces="file,email" {k}', False),
        ('{p} NAMESPACES="git" {k}', True),
        ('{p} valid-before="20200101" {k}\n{p} {k}', True),
        ('{p} {k}\n{p} valid-before="20200101" {k}', True),
        ('{p} valid-before="20200101" {k}\n{p} valid-after="20400101" {k}', False),
        ('{p} valid-before="nonsense" {k}', False),
        ('{p} unknown-option="1" {k}', False),
        ("#{p} {k}", False),
        ("{p}", False),
        ("{k}", False),
        ("!{p} {k}", False),
        ("!{p},*@desk.example {k}", False),
        ("*@desk.example,!{p} {k}", False),
        ("*@desk.example,!bob@desk.example {k}", True),
        ("*@else.example {k}", False),
        ("\ufeff{p} {k}", True),
        ("{p} cert-authority {k}", False),
        ("{p} {k}\x00", False),
    ],
)  # fmt: skip
def test_each_way_to_write_a_line_allows_what_ssh_keygen_says(desk: Desk, written: str, allows: bool) -> None:
    text = written.format(p="alice@desk.example", k=public(desk.key("alice")))
    (desk.top / "allowed_signers").write_bytes(f"{text}\n".encode())
    first = desk.commit("alice", "The file")
    checked = desk.check(desk.commit("alice"), first)
    assert (checked.held == "") is allows, checked.held


@pytest.mark.parametrize(
    "kind", [("ed25519",), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "521"), ("rsa", "-b", "3072")], ids=" ".join
)
def test_every_kind_of_key_signs(desk: Desk, tmp_path: Path, kind: tuple[str, ...]) -> None:
    path = tmp_path / "made"
    keygen("-q", "-t", kind[0], *kind[1:], "-N", "", "-f", str(path))
    desk.key = lambda name: path
    desk.allow(desk.line("alice"))
    first = desk.commit("alice", "The file")
    new = desk.commit("alice")
    checked = desk.check(new, first)
    assert checked.held == ""
    signed_by = checked.signed_by(new)
    assert signed_by is not None
    assert signed_by.fingerprint == fingerprint(path)


@pytest.mark.parametrize("what", ["gone", "link", "folder", "empty", "large"])
def test_signers_that_the_range_takes_away_or_makes_something_else_allow_nobody(desk: Desk, what: str) -> None:
    path = desk.top / "allowed_signers"
    text = path.read_text()
    path.unlink()
    if what == "link":
        (desk.top / "others").write_text(text)
        path.symlink_to("others")
    elif what == "folder":
        path.mkdir()
        (path / "x").write_text(text)
    elif what in ("empty", "large"):
        path.write_text("" if what == "empty" else text + "#" * (1024 * 1024))
    taken = desk.commit("alice", "Away")
    assert f"commit {taken[:12]}" in desk.check(taken).held
    shutil.rmtree(path) if what == "folder" else path.unlink(missing_ok=True)
    path.write_text(text)
    back = desk.commit("alice", "Back")
    held = desk.check(back).held
    assert f"commit {back[:12]}" in held, "nobody was allowed before its step"
    assert f"commit {taken[:12]}" not in held, "who took it away was allowed before and is again"


def test_neither_a_tag_nor_a_branch_of_that_name_nor_a_ref_named_like_an_id_leads_elsewhere(desk: Desk) -> None:
    good = desk.commit("alice", "Good")
    bad = desk.commit(None, "Bad")
    for name in (good, f"refs/tags/{good}", "HEAD~1", f"{good}:allowed_signers"):
        command = ("git", "update-ref", f"refs/heads/{name}", bad)
        subprocess.run(command, cwd=desk.top, capture_output=True, check=False)
    assert desk.check(good).held == ""
    assert bad[:12] in desk.check(bad).held
