"""Scrubbing: no secret, no word and no line of one, is left in what is shown, in whatever form it comes."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.validation.secrets import HIDDEN, parts, scrub, scrub_values

SECRET = 'k3y"with\\quotes/+&<>é=0123456789abcdef'
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----"
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode()),
    "json": json.dumps,
    "json in utf-8": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps([text])),
    "json of php": lambda text: json.dumps(text).replace("/", "\\/"),
    "html": html.escape,
    "percent": urllib.parse.quote,
    "percent, all": lambda text: urllib.parse.quote(text, safe=""),
    "percent, small": lambda text: urllib.parse.quote(text, safe="").lower(),
    "every byte in percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "form": urllib.parse.quote_plus,
    "query": lambda text: urllib.parse.urlencode({"key": text}),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(text.encode() * 3).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex in capitals": lambda text: text.encode().hex().upper(),
    "hex, bytes apart": lambda text: text.encode().hex(":"),
    "hex, as in C": lambda text: ", ".join(f"0x{byte:02x}" for byte in text.encode()),
    "hex, as in Python": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "hex with commas": lambda text: text.encode().hex(","),
    "every character as in JSON": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "every character as in HTML": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "html in ascii": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "percent, twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "base64 in percent": lambda text: urllib.parse.quote(base64.b64encode(text.encode()), safe="").rstrip("%3D"),
    "base64 of php": lambda text: json.dumps(base64.b64encode(text.encode()).decode()).replace("/", "\\/"),
    "capitals": str.upper,
    "small": str.lower,
}


def left(text: str, said: str, length: int = 8) -> list[str]:
    """What of `said`, a form of a secret, is to be seen in `text`."""
    return [said[at : at + length] for at in range(len(said) - length) if said[at : at + length] in text]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [SECRET, "abcdefgh", "A1-b2_C3.d4", "schlüssel-für-alles"])
def test_no_form_of_a_secret_is_left(form: str, secret: str) -> None:
    said = FORMS[form](secret)
    shown = scrub(f"GET /x?sig={said}&y=1 failed", (secret,))
    assert HIDDEN in shown
    assert shown.startswith("GET /x?")
    assert shown.endswith("&y=1 failed")
    assert len(shown) < len("GET /x?sig=&y=1 failed") + 22
    assert left(shown, said) in ([], ["sig="]) or form == "json in json"


LAYERS: dict[str, Callable[[str], str]] = {
    "repr": repr,
    "json": json.dumps,
    "bytes": lambda text: repr(text.encode()),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", ["repr", "ascii", "bytes", "json", "json in utf-8", "base64 in lines"])
@pytest.mark.parametrize("secret", [SECRET, 'it\'s"quoted",and\\slashed\\'])
def test_no_form_within_another_is_left(layer: str, form: str, secret: str) -> None:
    shown = scrub(f"failed: {LAYERS[layer](FORMS[form](secret))} and more", (secret,))
    assert HIDDEN in shown
    assert len(shown.replace(HIDDEN, "")) < len("failed:  and more") + 26


def test_what_is_packed_is_found_each_time_and_what_stands_between_is_kept() -> None:
    said = base64.encodebytes(SECRET.encode() * 2).decode()
    assert scrub("a\t0x1\\n", (SECRET,)) == "a\t0x1\\n"
    assert scrub(f"İ 1, {said!r}; 0x2, {SECRET.encode().hex(',')} 3", (SECRET,)).count(HIDDEN) == 3


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "a much longer name:"])
@pytest.mark.parametrize("after", ["", "x", ":yz"])
@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40))
def test_base64_hides_it_wherever_it_stands(before: str, after: str, secret: str) -> None:
    said = base64.b64encode(f"{before}{secret}{after}".encode()).decode()
    alone = base64.b64encode(secret.encode()).decode()
    shown = scrub(f"Basic {said}", parts((secret,)))
    assert HIDDEN in shown
    assert len(shown) <= len(f"Basic {HIDDEN}") + len(said) - len(alone) + 10


@pytest.mark.parametrize("said", KEY.splitlines()[1:3])
def test_a_line_of_a_key_of_several_is_a_secret(said: str) -> None:
    assert scrub(f"bad line {said}!", (KEY,)) == f"bad line {HIDDEN}!"
    assert scrub(base64.b64encode(f"x{said}".encode()).decode(), (KEY,)).count(HIDDEN) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"was '{SECRET[:20]}…'", f"was '{HIDDEN}…'"),
        (f"was '{SECRET[:20]} … {SECRET[-20:]}'", f"was '{HIDDEN} … {HIDDEN}'"),
        (f"was … {SECRET[-9:]} and more", f"was … {HIDDEN} and more"),
        (f"was '{base64.b64encode(SECRET.encode()).decode()[:20]}…'", f"was '{HIDDEN}…'"),
        ("a few … words …", "a few … words …"),
    ],
)
def test_what_a_cut_left_of_a_secret_is_hidden(text: str, shown: str) -> None:
    assert scrub(text, (SECRET,)) == shown


def test_scrubbing_takes_the_longest_first_and_what_repr_makes_of_a_secret() -> None:
    assert scrub("ab abc 'x\\ny'", ("ab", "abc", "x\ny")) == f"{HIDDEN} {HIDDEN} '{HIDDEN}'"
    assert scrub("nothing", ("",)) == "nothing"
    assert scrub_values(({"ab": [1, "xab", None]},), ("ab",)) == ({HIDDEN: [1, f"x{HIDDEN}", None]},)


def test_a_short_secret_is_hidden_only_as_it_is() -> None:
    assert scrub("abc ABC YWJj 616263", ("abc",)) == f"{HIDDEN} ABC YWJj 616263"


def test_a_long_word_or_line_of_a_secret_is_a_secret_and_a_short_one_is_not() -> None:
    assert parts(["Bearer s3cr3t-of-ours", "", "x y"]) == ("Bearer s3cr3t-of-ours", "x y", "s3cr3t-of-ours")
    assert parts(["a b c d e\nshort"]) == ("a b c d e\nshort", "a b c d e")
