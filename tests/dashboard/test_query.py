"""Query strings: what is understood, and what is refused by name."""

from __future__ import annotations

import pytest

from reconciler.dashboard.query import Filters, Query, QueryRefusal, parse

FILTERS: Filters = {"q": None, "mode": ("off", "observe", "active")}


def fault_of(*pairs: tuple[str, str], paged: bool = True, filters: Filters = FILTERS) -> str:
    with pytest.raises(QueryRefusal) as caught:
        parse(pairs, filters, paged=paged)
    assert caught.value.status == 400
    assert caught.value.code == "bad_query"
    return caught.value.message


def test_nothing_asked_is_the_first_hundred() -> None:
    assert parse([], FILTERS, paged=True) == Query((), 100, 0)


def test_filters_limit_and_offset_are_read() -> None:
    query = parse([("offset", "200"), ("mode", "off"), ("limit", "50"), ("q", "a&b")], FILTERS, paged=True)
    assert query == Query((("q", "a&b"), ("mode", "off")), 50, 200)
    assert query.get("mode") == "off"
    assert query.get("label") == ""


def test_two_orders_of_one_question_are_equal() -> None:
    left = parse([("q", "x"), ("mode", "off")], FILTERS, paged=True)
    assert left == parse([("mode", "off"), ("limit", "100"), ("q", "x")], FILTERS, paged=True)


def test_an_empty_form_field_is_no_filter() -> None:
    assert parse([("mode", ""), ("q", ""), ("limit", "")], FILTERS, paged=True) == Query()


@pytest.mark.parametrize("limit", ["1", "1000"])
def test_the_edges_of_limit_are_allowed(limit: str) -> None:
    assert parse([("limit", limit)], FILTERS, paged=True).limit == int(limit)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.0", "ten", "+5", " 5", "٣", "1e2", "99999999999999999999"])
def test_a_bad_limit_says_what_was_expected(limit: str) -> None:
    assert fault_of(("limit", limit)) == f"limit: expected a whole number from 1 to 1000, was {limit!r}"


@pytest.mark.parametrize("offset", ["-1", "1000000001", "x"])
def test_a_bad_offset_says_what_was_expected(offset: str) -> None:
    assert fault_of(("offset", offset)) == f"offset: expected a whole number from 0 to 1000000000, was {offset!r}"


def test_an_unknown_parameter_gets_a_did_you_mean() -> None:
    expected = "unknown parameter 'mod': expected one of q, mode, limit, offset (did you mean mode?)"
    assert fault_of(("mod", "off")) == expected


def test_where_nothing_is_expected_it_says_so() -> None:
    assert fault_of(("limit", "5"), paged=False, filters={}) == "unknown parameter 'limit': expected none"


def test_a_word_that_is_not_one_of_them_gets_a_did_you_mean() -> None:
    expected = "mode: expected one of off, observe, active, was 'Activ' (did you mean active?)"
    assert fault_of(("mode", "Activ")) == expected


def test_a_parameter_given_twice_is_refused() -> None:
    assert fault_of(("q", "a"), ("q", "b")) == "q: expected it once, was given more than once"


def test_a_filter_that_is_too_long_is_refused() -> None:
    assert fault_of(("q", "x" * 201)) == "q: expected at most 200 characters, was 201"
    assert parse([("q", "x" * 200)], FILTERS, paged=True).get("q") == "x" * 200


def test_everything_wrong_is_said_at_once() -> None:
    message = fault_of(("limit", "0"), ("offset", "-1"), ("mode", "x"), ("nope", ""))
    assert len(message.split("; ")) == 4


def test_an_address_leaves_out_what_is_default_and_quotes_the_rest() -> None:
    assert Query().to_url("/") == "/"
    assert Query((("q", "a&b=c"),), 50, 100).to_url("/") == "/?q=a%26b%3Dc&limit=50&offset=100"
    assert Query((), 50, 100).at(-5).offset == 0


def test_a_filter_may_be_anything_that_is_understood() -> None:
    filters: Filters = {"number": int}
    assert parse([("number", "12")], filters, paged=True).get("number") == "12"
    assert fault_of(("number", "x"), filters=filters).startswith("number: invalid literal for int()")
    assert fault_of(("number", "1" * 201), filters=filters) == "number: expected at most 200 characters, was 201"
