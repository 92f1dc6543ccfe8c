from __future__ import annotations

import pytest

from reconciler.documents.wording import Literal, find

# Joined here, so that nothing in this file looks like what it tests.
KEYS = {
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a Stripe key": "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "a GitHub token": "gh" + "p_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "a GitLab token": "gl" + "pat-" + "1234567890abcdefghij",
    "a Slack token": "xo" + "xb-" + "123456789012-abcdefghij",
    "a Google API key": "AI" + "za" + "SyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
    "a JSON Web Token": "ey" + "JhbGciOiJIUzI1NiJ9." + "ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "an API key": "sk-" + "a1B2c3D4e5F6g7H8" * 2,
}


@pytest.mark.parametrize(("what", "key"), KEYS.items())
def test_a_well_known_credential_is_found_where_it_stands(what: str, key: str) -> None:
    assert find(f"a: 1\nkey: {key} # so\n") == [Literal(what, 2, 6)]


def test_fine_grained_and_other_github_tokens_are_found() -> None:
    assert [literal.what for literal in find("github_" + "pat_11ABCDEFG0123456789_abc")] == ["a GitHub token"]
    assert [literal.column for literal in find("x gh" + "o_16C7e42F292c6912E7710c838347")] == [3]


@pytest.mark.parametrize(
    "text",
    [
        "client_id: desk-a",
        "market: ASIA/USD",
        "task-list-with-a-long-name-of-many-words-in-it: 1",
        "eyJ is how they begin",
        "xoxo",
        "# paste nothing that begins with AKIA or ghp_",
        "-----BEGIN CERTIFICATE-----",
        "",
    ],
)
def test_words_that_only_resemble_a_credential_are_left_alone(text: str) -> None:
    assert find(text) == []


def test_what_was_found_never_carries_the_text() -> None:
    key = KEYS["a GitHub token"]
    assert key not in repr(find(key))
