"""Who may sign, as one commit has it: the allowed signers, asked of ssh-keygen; a forge's own key, asked of gpg where
that is installed. The only place that runs either.

ssh-keygen alone decides whether a signature counts: `ssh-keygen -Y verify`, with the file as it is, at a time that is
told. What is read here besides only finds the principal to ask for. gpg has a home of its own for each version of the
key, thrown away afterwards: no key, setting, trust or agent of anyone else has a say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.clock import utc
from reconciler.records.snapshot import SignedBy
from reconciler.visible import storable, visible

NAMESPACE: Final = "git"
"""What git signs commits for. A signature of a file or a letter, made for another one, is none of a commit."""

_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----"
_END: Final = b"-----END SSH SIGNATURE-----"
_TIMEOUT_S: Final = 20.0
_TRIED: Final = 8
"""So many principals of one key are tried: any more would be a way to keep the engine busy."""
_KEY_TYPE: Final = re.compile(r"(?:ssh-|ecdsa-|sk-)[\w.@-]+$")
_WILD: Final = re.compile(r"[*?!,\s\"]")
_LINE_OF: Final = re.compile(r"^(?:\S*/)?signers:([0-9]+): ")
UNCHECKED: Final = "cannot be checked"
"""What stands in a reason that says nothing of the commit, but of who was to look at it."""
_NO_SSH_KEYGEN: Final = f"{UNCHECKED}: ssh-keygen is not installed; install openssh-client"


@dataclass(frozen=True, slots=True)
class SshSignature:
    """The armour as a commit has it, and the key in it by which it claims to be. `is_certificate`: an authority
    signed that key."""

    armour: bytes
    key: bytes
    is_certificate: bool

    @property
    def fingerprint(self) -> str:
        """Of a plain key, as `ssh-keygen -l` writes it; of a certificate only its kind can be told."""
        if self.is_certificate:
            return "a certificate"
        return f"SHA256:{base64.b64encode(hashlib.sha256(self.key).digest()).decode().rstrip('=')}"


def ssh_signature(armour: bytes) -> SshSignature | None:
    """What the armour holds; None where it is not exactly one signature and nothing else."""
    told = armour.strip()
    if not told.startswith(_BEGIN) or not told.endswith(_END) or told.count(b"-----BEGIN") != 1:
        return None
    try:
        blob = base64.b64decode(b"".join(told[len(_BEGIN) : -len(_END)].split()), validate=True)
        magic, rest = blob[:10], blob[10:]
        key = _string(rest)
        kind = _string(key).decode("ascii")
    except (ValueError, binascii.Error):
        return None
    if magic != b"SSHSIG\0\0\0\1":
        return None
    return SshSignature(told + b"\n", key, "-cert-" in kind)


def _string(data: bytes) -> bytes:
    """The first string of SSH's wire format: a length of four bytes, then the bytes. Raises ValueError."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size:
        raise ValueError("ends within a string")
    return data[4 : 4 + size]


@dataclass(frozen=True, slots=True)
class _Line:
    """The `number`th line of the file. `names` are its principals as written, one text; `key` is what ssh calls the
    key's blob."""

    number: int
    text: bytes
    names: str
    key: bytes

    @property
    def literals(self) -> Iterator[str]:
        return (name for name in self.names.split(",") if name and _WILD.search(name) is None)


class AllowedSigners:
    """One version of the file, at `path` from the top of the repository, in the commit that `commit` names."""

    def __init__(self, text: bytes | None, path: str, commit: str, folder: Path) -> None:
        """`folder` is this version's own, and gone with whoever made it. `text` is None where the commit has no such
        file: then nobody is allowed."""
        self.where = f"{path} of {commit[:12]}"
        self._file = folder / "signers"
        self._folder = folder
        self._is_there = text is not None
        self._lines = tuple(_lines(text or b""))
        self._file.write_bytes(text or b"")
        self._lock = threading.Lock()

    def judge(self, signature: SshSignature, payload: bytes, committer_email: str, at_s: float) -> SignedBy | str:
        """Whose signature of `payload` it is, as of `at_s`; or why it is nobody's, in words that go on with a commit.

        A line that names people stands for them. One that has only patterns stands for the committer whom it fits, and
        is told as the pattern: whoever has its key could have called himself any of them. A certificate stands for a
        principal that both it and its authority's line name.
        """
        if not self._is_there:
            return f"is signed, but {self.where} does not exist, so nobody may sign"
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.write(signature.armour)
            file.flush()
            moment = utc(at_s).strftime("%Y%m%d%H%M%S")
            about = ("-s", file.name, f"-Overify-time={moment}")
            found = self._principals(signature, about, committer_email)
            if isinstance(found, str):
                return found
            why = self._unnamed(signature, committer_email)
            for asked, shown, where in found[:_TRIED]:
                done = _run("verify", "-n", NAMESPACE, "-I", asked, "-f", str(where), *about, told=payload)
                if isinstance(done, str):
                    return done
                if done.returncode == 0:
                    return SignedBy(visible(shown), _fingerprint(done.stdout), "ssh")
                if done.stderr.strip():
                    why = f"is signed by {signature.fingerprint}: {self._reason(done.stderr)}"
        return why

    def _unnamed(self, signature: SshSignature, committer_email: str) -> str:
        patterns = [line.names for line in self._lines if line.key == signature.key]
        if not patterns:
            return f"is signed by {signature.fingerprint}, which {self.where} does not name"
        return visible(
            f"is signed by {signature.fingerprint}, which {self.where} allows for {' or '.join(patterns[:3])}, "
            f"and its committer is {committer_email or 'nobody'}"
        )

    def _principals(
        self, signature: SshSignature, about: Sequence[str], committer_email: str
    ) -> list[tuple[str, str, Path]] | str:
        """Each principal to ask for, as what it is shown, and in which file: the committer first where one names him.

        A plain key is asked for line by line: else one line would lend its principals to another one's key.
        """
        wanted = committer_email if committer_email and _WILD.search(committer_email) is None else ""
        if signature.is_certificate:
            done = _run("find-principals", "-f", str(self._file), *about)
            if isinstance(done, str):
                return done
            found = done.stdout.decode("utf-8", "replace").replace("\n", ",").split(",")
            names = [name for name in found if name and _WILD.search(name) is None]
            named = dict.fromkeys(names or [wanted or "nobody"])  # where it finds none, verify says why
            return [(name, name, self._file) for name in sorted(named, key=lambda name: name != wanted)]
        lines = [line for line in self._lines if line.key == signature.key]
        asked = [(name, name, self._alone(line)) for line in lines for name in line.literals]
        asked.sort(key=lambda one: one[0] != wanted)
        patterns = [line for line in lines if not any(line.literals)]
        return asked + [(wanted, line.names, self._alone(line)) for line in patterns if wanted]

    def _alone(self, line: _Line) -> Path:
        """A file that has that line where it stands, and no other."""
        folder = self._folder / str(line.number)
        with self._lock:
            if not folder.exists():
                folder.mkdir()
                (folder / self._file.name).write_bytes(b"\n" * (line.number - 1) + line.text + b"\n")
        return folder / self._file.name

    def _reason(self, stderr: bytes) -> str:
        said = [line for line in storable(os.fsdecode(stderr)).splitlines() if line.strip()]
        line = said[-1].strip() if said else "ssh-keygen said no"
        placed = _LINE_OF.sub(lambda found: f"{self.where}, line {found[1]}: ", line)
        return visible(placed.replace(str(self._folder), ""))[:300]


def _lines(data: bytes) -> Iterator[_Line]:
    for number, text in enumerate(data.split(b"\n"), 1):
        names, rest = _token(text.decode("utf-8", "replace").strip(" \t\r"))
        if not names or names.startswith("#"):
            continue
        rest = rest.lstrip(" \t")
        kind, after = _token(rest)
        if _KEY_TYPE.match(kind) is None:
            kind, after = _token(_past_options(rest))
        try:
            key = base64.b64decode(_token(after)[0], validate=True)
        except (ValueError, binascii.Error):
            continue
        yield _Line(number, text, names, key)


def _token(text: str) -> tuple[str, str]:
    """What stands before the next space, without quotes around it, and what comes after."""
    text = text.lstrip(" \t")
    if text.startswith('"'):
        token, _, rest = text[1:].partition('"')
        return token, rest
    parts = text.split(None, 1)
    return (parts[0] if parts else ""), (parts[1] if len(parts) > 1 else "")


def _past_options(text: str) -> str:
    is_quoted = False
    for at, letter in enumerate(text):
        if letter == '"' and text[at - 1 : at] != "\\":
            is_quoted = not is_quoted
        elif letter in " \t" and not is_quoted:
            return text[at:]
    return ""


def _run(what: str, *arguments: str, told: bytes = b"") -> subprocess.CompletedProcess[bytes] | str:
    """Times without a zone are UTC, in the file and in what is asked alike: each machine answers the same."""
    try:
        return subprocess.run(
            ("ssh-keygen", "-Y", what, *arguments),
            input=told,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC", "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        return _NO_SSH_KEYGEN
    except subprocess.TimeoutExpired:
        return f"{UNCHECKED}: ssh-keygen took longer than {_TIMEOUT_S:g} s"


def _fingerprint(stdout: bytes) -> str:
    """The last word of `Good "git" signature for NAME with ED25519 key SHA256:…`."""
    words = stdout.decode("ascii", "replace").split()
    return words[-1] if words and words[-1].startswith("SHA256:") else ""


_PGP_BEGIN: Final = b"-----BEGIN PGP SIGNATURE-----"
_PGP_END: Final = b"-----END PGP SIGNATURE-----"
_NO_GPG: Final = f"is signed by OpenPGP, which {UNCHECKED}: gpg is not installed; install gnupg"
_GPG_OPTIONS: Final = (
    "--batch",
    "--no-tty",
    "--no-options",
    "--no-autostart",
    "--disable-dirmngr",
    "--no-auto-key-retrieve",
    "--no-auto-check-trustdb",
    "--trust-model=always",
    "--weak-digest=SHA1",
    "--ignore-time-conflict",  # the forge's clock may be ahead of ours by seconds; keys end when they end
    "--display-charset=utf-8",
)
_GPG_BAD: Final = {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NODATA", "UNEXPECTED", "FAILURE"}
_GPG_WHY: Final = {
    "BADSIG": "the signature does not fit what was signed",
    "NO_PUBKEY": "by a key that is not in it",
    "ERRSIG": "the signature cannot be checked",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key has expired",
    "REVKEYSIG": "the key was revoked",
}


def is_openpgp(armour: bytes) -> bool:
    return armour.strip().startswith(_PGP_BEGIN)


class ForgeKey:
    """One version of the file with the forge's public key, at `path`, in the commit that `commit` names."""

    def __init__(self, text: bytes | None, path: str, commit: str, folder: Path) -> None:
        """`folder` is this version's own. `text` is None where the commit has no such file."""
        self.where = f"{path} of {commit[:12]}"
        self._home = folder
        self._home.chmod(0o700)
        self._fault = "" if text is not None else f"is signed by OpenPGP, and {self.where} does not exist"
        if text is not None:
            done = self._run("--import", told=text)
            if isinstance(done, str):
                self._fault = done
            elif done.returncode != 0 or "IMPORT_OK" not in _status(done):
                self._fault = f"is signed by OpenPGP, and {self.where} is no public key that gpg can read"

    def judge(self, armour: bytes, payload: bytes, at_s: float) -> SignedBy | str:
        """Whether the forge signed `payload`, its key being good as of `at_s`; or why not."""
        if self._fault:
            return self._fault
        told = armour.strip()
        if not told.endswith(_PGP_END) or told.count(b"-----BEGIN") != 1:
            return "is signed by more than one OpenPGP signature, or by a broken one"
        with tempfile.NamedTemporaryFile(dir=self._home) as file:
            file.write(told + b"\n")
            file.flush()
            moment = utc(at_s).strftime("%Y%m%dT%H%M%S")
            done = self._run("--faked-system-time", moment, "--verify", file.name, "-", told=payload)
        if isinstance(done, str):
            return done
        status = _status(done)
        good = status.get("GOODSIG", [])
        valid = status.get("VALIDSIG", [])
        if done.returncode != 0 or len(good) != 1 or len(valid) != 1 or _GPG_BAD & status.keys():
            why = next((_GPG_WHY[word] for word in _GPG_WHY if word in status), "gpg says no")
            return f"is signed by OpenPGP, which {self.where} does not allow: {why}"
        name = good[0].partition(" ")[2].strip()
        return SignedBy(visible(name)[:120], valid[0].split()[-1], "forge")

    def _run(self, *arguments: str, told: bytes) -> subprocess.CompletedProcess[bytes] | str:
        command = ("gpg", *_GPG_OPTIONS, "--homedir", str(self._home), "--status-fd", "1", *arguments)
        try:
            return subprocess.run(
                command,
                input=told,
                capture_output=True,
                timeout=_TIMEOUT_S,
                env={"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC", "LC_ALL": "C"},
                check=False,
            )
        except FileNotFoundError:
            return _NO_GPG
        except subprocess.TimeoutExpired:
            return f"is signed by OpenPGP, which {UNCHECKED}: gpg took longer than {_TIMEOUT_S:g} s"


def _status(done: subprocess.CompletedProcess[bytes]) -> dict[str, list[str]]:
    """gpg's status lines: each word with what it says, as often as it says it."""
    told: dict[str, list[str]] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith("[GNUPG:] "):
            word, _, rest = line.removeprefix("[GNUPG:] ").partition(" ")
            told.setdefault(word, []).append(rest)
    return told
