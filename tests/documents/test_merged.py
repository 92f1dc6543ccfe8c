from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents.document import INHERITED, Document, Merged, merged, parse
from reconciler.documents.wording import Path
from reconciler.records.evaluation import leaves

INSTANCE = """\
id: a
template: grid
config:
  levels: 7
  feed: {url: wss://example.com}
  ladder: [1]
"""
TEMPLATE = """\
x-owner: desk-a
config:
  spacing: 0.25
  levels: 5
  feed:
    token: {env: TOKEN}
  ladder:
    - {step: 1}
limits: {max_open_orders: 10}
"""


def document(text: str, path: str) -> Document:
    found = parse(text.encode(), path)
    assert isinstance(found, Document), found
    return found


@pytest.fixture
def both() -> Merged:
    return Merged(document(INSTANCE, "a.yaml"), document(TEMPLATE, "grid.yaml"))


def test_mappings_merge_lists_replace_and_the_instance_wins(both: Merged) -> None:
    assert both.values == {
        "id": "a",
        "template": "grid",
        "config": {
            "spacing": 0.25,
            "levels": 7,
            "feed": {"token": {"env": "TOKEN"}, "url": "wss://example.com"},
            "ladder": [1],
        },
        "limits": {"max_open_orders": 10},
    }


def test_a_template_s_notes_stay_its_own(both: Merged) -> None:
    assert "x-owner" not in both.values


def test_neither_document_is_changed_by_merging(both: Merged) -> None:
    assert both.values
    assert both.instance.values == document(INSTANCE, "").values
    assert both.template.values == document(TEMPLATE, "").values


@pytest.mark.parametrize(
    ("own", "inherited"),
    [({"file": "/run/b"}, {"env": "A"}), (5, {"a": 1}), (None, {"a": 1}), ({"a": 1}, 5), ([], [1]), ("keep", "cancel")],
)
def test_what_is_not_two_mappings_is_replaced_and_so_is_a_reference_to_a_secret(own: Any, inherited: Any) -> None:
    assert merged(inherited, own) == own


def test_an_empty_mapping_adds_nothing_and_takes_nothing_away() -> None:
    assert merged({"a": 1}, {}) == {"a": 1}
    assert merged({}, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("id",), ("a.yaml", 1, 5)),
        (("config",), ("a.yaml", 4, 3)),
        (("config", "levels"), ("a.yaml", 4, 11)),
        (("config", "spacing"), ("grid.yaml", 3, 12)),
        (("config", "feed"), ("a.yaml", 5, 9)),
        (("config", "feed", "token", "env"), ("grid.yaml", 6, 18)),
        (("config", "ladder"), ("a.yaml", 6, 11)),
        (("config", "ladder", 0), ("a.yaml", 6, 12)),
        (("config", "ladder", 0, "step"), ("a.yaml", 6, 12)),
        (("limits", "max_open_orders"), ("grid.yaml", 9, 27)),
        (("config", "nowhere"), ("a.yaml", 4, 3)),
        (("limits", "nowhere"), ("grid.yaml", 9, 9)),
        (("x-owner",), ("a.yaml", 1, 1)),
        ((), ("a.yaml", 1, 1)),
    ],
)
def test_a_value_stands_in_the_file_it_comes_from(both: Merged, path: Path, place: tuple[str, int, int]) -> None:
    assert both.place(path) == place


def test_so_does_its_key(both: Merged) -> None:
    assert both.key_place(("config", "feed", "token")) == ("grid.yaml", 6, 5)
    assert both.key_place(("config", "levels")) == ("a.yaml", 4, 3)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), ("a.yaml", 1, 1)),
        (("config",), ("a.yaml", 3, 1)),
        (("config", "feed", "token"), ("a.yaml", 5, 3)),
        (("limits",), ("a.yaml", 2, 1)),
    ],
)
def test_a_key_is_missing_in_the_instance_s_file(both: Merged, path: Path, place: tuple[str, int, int]) -> None:
    assert both.place_to_add(path) == place


def test_a_key_that_is_missing_within_a_template_s_list_is_missing_in_the_template() -> None:
    both = Merged(document("id: a\ntemplate: grid\n", "a.yaml"), document(TEMPLATE, "grid.yaml"))
    assert both.place_to_add(("config", "ladder", 0)) == ("grid.yaml", 8, 7)


keys = st.sampled_from(["a", "b", "c", "env", "file"])
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("xyz 5:#'", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
contents = st.fixed_dictionaries({}, optional=dict.fromkeys(INHERITED, trees))


def value_at(values: Any, path: Path) -> Any:
    for step in path:
        values = values[step]
    return values


@given(contents, contents)
def test_every_leaf_of_merged_values_is_what_stands_at_its_place_in_one_of_the_two_files(
    own: dict[str, Any], inherited: dict[str, Any]
) -> None:
    instance = document(json.dumps({"id": "a", **own}, indent=1), "a.yaml")
    template = document(json.dumps({"x-note": 1, **inherited}, indent=1), "grid.yaml")
    both = Merged(instance, template)
    for path, value in leaves(both.values):
        place = both.place(path)
        file = {"a.yaml": instance, "grid.yaml": template}[place.path]
        assert value_at(file.values, path) == value
        assert place == file.place(path)
        if not isinstance(value, (dict, list)):
            assert file.path_at(place.line, place.column) == path


@given(contents, contents)
def test_nothing_the_instance_says_is_lost(own: dict[str, Any], inherited: dict[str, Any]) -> None:
    both = Merged(document(json.dumps(own), "a.yaml"), document(json.dumps(inherited), "grid.yaml"))
    for path, value in leaves(own):
        if value != {}:
            assert value_at(both.values, path) == value
