"""Our ids as UUIDs and as 128 bits in hex, and back."""

from __future__ import annotations

import re
import uuid
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.exec_mcp.contract import Form, formed, unformed

IDS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=18)
FORMS = pytest.mark.parametrize("form", get_args(Form))


@FORMS
@given(id=IDS, other=IDS)
def test_what_is_formed_is_told_apart_and_comes_back_however_it_is_spelled(form: Form, id: str, other: str) -> None:
    told = formed(id, form)
    assert unformed(told, form) == unformed(told.upper(), form) == unformed(told.replace("-", ""), form) == id
    assert (formed(other, form) == told) is (other == id)


def test_the_forms_are_those_that_servers_check_and_never_change() -> None:
    """An order placed by an older version must be found by a newer one."""
    assert formed("8fl267loyw3v28l39j", "hex128") == "0x7265636f0defc25e1e207ab9c528a5a4"
    assert formed("8fl267loyw3v28l39j", "uuid") == "b1958f03-7bf0-4978-9e20-7ab9c528a5a4"
    assert re.fullmatch("0x[0-9a-f]{32}", formed("0", "hex128"))
    told = uuid.UUID(formed("abc", "uuid"))
    assert (told.version, told.variant) == (4, uuid.RFC_4122)


@FORMS
@given(number=st.integers(0, 2**128 - 1))
def test_what_others_made_is_no_id_of_ours(form: Form, number: int) -> None:
    for told in (f"0x{number:032x}", str(uuid.UUID(int=number)), str(uuid.UUID(int=number, version=4))):
        assert (found := unformed(told, form)) is None or formed(found, form) == str(told)


@FORMS
@pytest.mark.parametrize("told", ["", "abc123", "0x", "0x" + "g" * 32, "-" * 40, "1_0" * 11, "٣" * 32])
def test_what_has_no_such_form_is_no_id_of_ours(form: Form, told: str) -> None:
    assert unformed(told, form) is None


@pytest.mark.parametrize("id", ["", "A", "a-b", "a" * 19, "é"])
def test_what_is_no_id_of_ours_has_no_form(id: str) -> None:
    with pytest.raises(ValueError, match="expected at most 18 characters of a-z and 0-9"):
        formed(id, "uuid")
