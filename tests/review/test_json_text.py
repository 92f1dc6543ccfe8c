from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from reconciler.visible import json_text, storable


@given(st.text(st.characters(exclude_categories=())))
def test_text_is_read_back_as_it_was_but_for_what_utf_8_cannot_hold(text: str) -> None:
    assert json.loads(json_text([text]).encode()) == [storable(text)]


def test_a_lone_surrogate_is_read_back_escaped() -> None:
    assert json.loads(json_text({"a": "x\ud800"}).encode()) == {"a": "x\\ud800"}
