"""The YAML test suite: what must be refused, and what is read as by everybody. See tests/suites/README.md."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from reconciler.documents.document import Document, parse
from reconciler.documents.scalars import values_of

SUITE = Path(__file__).parents[1] / "suites" / "yaml.json.gz"
OWN_RULES = {
    "yaml-alias",
    "yaml-anchor",
    "yaml-control",
    "yaml-directive",
    "yaml-documents",
    "yaml-empty",
    "yaml-key",
    "yaml-tag",
}
NOT_ALIKE = {"652Z", "HM87/1"}
"""Valid, but libyaml loses the `?` that a key or value begins with: refused rather than read otherwise."""

Case = dict[str, Any]


@cache
def cases() -> list[Case]:
    found: list[Case] = json.loads(gzip.decompress(SUITE.read_bytes()))
    return found


def read(case: Case) -> Document | None:
    document = parse(case["yaml"].encode(), "a.yaml")
    return document if isinstance(document, Document) else None


def rules(case: Case) -> set[str]:
    found = parse(case["yaml"].encode(), "a.yaml")
    return set() if isinstance(found, Document) else {problem.rule for problem in found}


def told(text: str) -> list[Any]:
    """The values of the documents that the suite has as JSON, one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = len(text) - len(text[end:].lstrip())
    return found


def test_what_is_no_yaml_is_refused() -> None:
    bad = [case for case in cases() if "fail" in case]
    assert len(bad) == 94
    assert [case["id"] for case in bad if read(case) is not None] == []


def test_what_is_read_is_read_as_everybody_reads_it() -> None:
    good = [case for case in cases() if "fail" not in case]
    documents = {case["id"]: read(case) for case in good}
    compared = {case["id"]: told(case["json"]) for case in good if documents[case["id"]] is not None and "json" in case}
    read_here = {id: [document.values] for id, document in documents.items() if document is not None and id in compared}
    assert {id: json.dumps(values, sort_keys=True) for id, values in read_here.items()} == {
        id: json.dumps(values, sort_keys=True) for id, values in compared.items()
    }
    assert len(good) == 308
    assert len(compared) >= 167


def test_what_is_valid_and_refused_is_refused_by_our_own_rules_or_by_the_parser() -> None:
    refused = {case["id"]: rules(case) for case in cases() if "fail" not in case and rules(case)}
    assert {id for id, found in refused.items() if "yaml-otherwise" in found} == NOT_ALIKE
    by_the_parser = [id for id, found in refused.items() if found - OWN_RULES and id not in NOT_ALIKE]
    assert len(by_the_parser) <= 51
    assert len(refused) - len(by_the_parser) - len(NOT_ALIKE) <= 86


def test_the_quick_way_reads_nothing_otherwise_than_the_parser() -> None:
    quick = {case["id"]: values for case in cases() if (values := values_of(case["yaml"].encode())) is not None}
    slow = {case["id"]: document.values for case in cases() if case["id"] in quick and (document := read(case))}
    assert quick == slow
    assert len(quick) == 8
