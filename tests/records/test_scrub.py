"""Scrubbing: no secret, and no word of one, is left in what is shown."""

from __future__ import annotations

from reconciler.records.scrub import HIDDEN, parts, scrub, scrub_values


def test_scrubbing_takes_the_longest_first_and_what_repr_makes_of_a_secret() -> None:
    assert scrub("ab abc 'x\\ny'", ("ab", "abc", "x\ny")) == f"{HIDDEN} {HIDDEN} '{HIDDEN}'"
    assert scrub("nothing", ("",)) == "nothing"
    assert scrub_values(({"ab": [1, "xab", None]},), ("ab",)) == ({HIDDEN: [1, f"x{HIDDEN}", None]},)


def test_a_long_word_of_a_secret_is_a_secret_and_a_short_one_is_not() -> None:
    assert parts(["Bearer s3cr3t-of-ours", "", "x y"]) == ("Bearer s3cr3t-of-ours", "x y", "s3cr3t-of-ours")
