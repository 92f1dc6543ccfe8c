"""The house stays one in which people find their way. Each bound is what holds now: lower it when it can be lower."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import grimp

HOUSE = Path(__file__).parent.parent / "reconciler"

MODULES = 245
MEDIAN_LINES = range(200, 290)
OLD_DOORS = {"records/document.py", "records/validation.py"}
SMALL_LINES, SMALL = 40, {"__main__.py", *OLD_DOORS}
LARGE_LINES, LARGE = 450, 6
LONGEST_LINES = 580
FILE_NAMES_TWICE = 5
CLASS_NAMES_TWICE = {"Beats", "MarketData"}
PARAMETERS = 8
LONG_CONSTRUCTORS: dict[str, int] = {}


@cache
def trees() -> dict[str, ast.Module]:
    return {path.relative_to(HOUSE).as_posix(): ast.parse(path.read_bytes()) for path in HOUSE.rglob("*.py")}


@cache
def lengths() -> dict[str, int]:
    """Lines of each module; a folder's `__init__.py` is no room of its own."""
    return {
        path.relative_to(HOUSE).as_posix(): len(path.read_bytes().splitlines())
        for path in HOUSE.rglob("*.py")
        if path.name != "__init__.py"
    }


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for name, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                yield name, node


def is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).startswith("Protocol") for base in node.bases)


def test_there_are_no_more_rooms_than_one_can_know() -> None:
    assert len(trees()) <= MODULES
    assert int(median(lengths().values())) in MEDIAN_LINES


def test_no_module_is_too_small_for_a_door_of_its_own() -> None:
    assert {name for name, lines in lengths().items() if lines < SMALL_LINES} <= SMALL


def test_no_module_grows_without_a_reason() -> None:
    large = {name: lines for name, lines in lengths().items() if lines > LARGE_LINES}
    assert len(large) <= LARGE, large
    assert max(large.values()) <= LONGEST_LINES, large


def test_a_file_name_means_one_thing() -> None:
    places = defaultdict(list)
    for name in lengths().keys() - OLD_DOORS:
        places[Path(name).name].append(name)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert len(twice) <= FILE_NAMES_TWICE, twice
    assert max(map(len, twice.values())) == 2, twice


def test_a_public_class_name_means_one_thing_or_is_a_protocol_and_its_maker() -> None:
    bearers: defaultdict[str, list[tuple[str, ast.ClassDef]]] = defaultdict(list)
    for where, node in classes():
        if not node.name.startswith("_"):
            bearers[node.name].append((where, node))
    twice = {name: borne for name, borne in bearers.items() if len(borne) > 1}
    assert set(twice) <= CLASS_NAMES_TWICE, {name: [where for where, _ in borne] for name, borne in twice.items()}
    for name, borne in twice.items():
        assert sorted(is_protocol(node) for _, node in borne) == [False, True], name


def methods(node: ast.ClassDef) -> set[str]:
    return {made.name for made in node.body if isinstance(made, ast.FunctionDef) and not made.name.startswith("_")}


def test_no_protocol_says_over_again_what_a_class_of_the_store_says() -> None:
    """The store lies below and may be imported. A port is for where there are two sides."""
    found = set()
    for where, port in classes():
        asked = methods(port)
        if is_protocol(port) and asked and not where.startswith("store/"):
            makers = [name for name, node in classes() if not is_protocol(node) and asked <= methods(node)]
            if makers and all(name.startswith("store/") for name in makers):
                found.add(port.name)
    assert not found


def test_no_constructor_takes_more_than_one_can_keep_in_mind() -> None:
    found = {}
    for _, node in classes():
        for made in node.body:
            if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                given = made.args
                count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) - 1
                if count > PARAMETERS:
                    found[node.name] = count
    assert found.keys() <= LONG_CONSTRUCTORS.keys(), found
    assert all(count <= LONG_CONSTRUCTORS[name] for name, count in found.items()), found


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for the type checker, and those within functions, count: whoever reads follows them, too."""
    graph = grimp.build_graph("reconciler", cache_dir=None)
    below = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while free := [module for module, imported in below.items() if not imported & below.keys()]:
        for module in free:
            del below[module]
    assert not below, "in a circle, or above one"


def test_every_property_test_draws_more_at_night() -> None:
    said = re.compile(r"max_examples=[\d(]")
    tests = [path for path in Path(__file__).parent.rglob("*.py") if path != Path(__file__)]
    assert [path.name for path in tests if said.search(path.read_text(encoding="utf-8"))] == []
