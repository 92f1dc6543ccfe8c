from __future__ import annotations

import pytest

from reconciler.sources.commit import ListedFile, Listing
from reconciler.sources.git import Tree


def listed(*files: str, links: dict[str, str] | None = None, submodules: tuple[str, ...] = ()) -> dict[str, str]:
    """Path → blob id or, where there is none to read, the reason. A file's blob id is its path in capitals."""
    written = {path: f"link {path}" for path in links or {}}
    tree = Tree({path: path.upper() for path in files}, written, frozenset(submodules))
    listing = Listing(tree, {f"link {path}": text for path, text in (links or {}).items()})
    return {one.path: one.error or one.blob_id for one in listing}


def test_the_names_that_count_on_disk_count_here() -> None:
    files = ("instances/a.yaml", "instances/desk/b.yml", "instances/_templates/t.yaml", "instances/_halt.yaml")
    others = (
        "instances/README.md",
        "instances/_drafts/c.yaml",
        "strategies/_shared.py",
        "strategies/deep/s.py",
        "x.yaml",
    )
    assert listed(*files, "strategies/grid.py", *others) == {
        path: path.upper() for path in (*files, "strategies/grid.py")
    }


@pytest.mark.parametrize(
    ("path", "text", "target"),
    [
        ("instances/b.yaml", "a.yaml", "instances/a.yaml"),
        ("instances/b.yaml", "./desk/../a.yaml", "instances/a.yaml"),
        ("instances/desk/b.yaml", "../a.yaml", "instances/a.yaml"),
        ("instances/b.yaml", "_drafts/d.yaml", "instances/_drafts/d.yaml"),
        ("instances/b.yaml", "../instances/a.yaml", "instances/a.yaml"),
    ],
)
def test_a_link_leads_to_the_file_it_names(path: str, text: str, target: str) -> None:
    files = ("instances/a.yaml", "instances/desk/c.yaml", "instances/_drafts/d.yaml")
    assert listed(*files, links={path: text})[path] == target.upper()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nowhere.yaml", "is a link to nowhere.yaml, which leads nowhere"),
        ("a.yaml/x.yaml", "is a link to a.yaml/x.yaml, which leads nowhere"),
        ("/etc/passwd", "is a link to /etc/passwd, which leaves instances/"),
        ("../strategies/grid.py", "is a link to ../strategies/grid.py, which leaves instances/"),
        ("../README.md", "is a link to ../README.md, which leaves instances/"),
        ("../../a.yaml", "is a link to ../../a.yaml, which leaves instances/"),
        ("../../../a.yaml", "is a link to ../../../a.yaml, which leaves instances/"),
        ("..", "is a link to .., which leaves instances/"),
        ("b.yaml", "is a link to b.yaml, which leads nowhere"),
        ("desk", "expected a file, was a folder"),
    ],
)
def test_a_link_that_leads_to_no_file_is_refused(text: str, error: str) -> None:
    files = ("instances/a.yaml", "instances/desk/c.yaml", "strategies/grid.py")
    assert listed(*files, links={"instances/b.yaml": text})["instances/b.yaml"] == error


def test_links_through_links_are_followed() -> None:
    links = {"instances/b.yaml": "majors/c.yaml", "instances/majors": "_real", "instances/d.yaml": "b.yaml"}
    found = listed("instances/_real/c.yaml", links=links)
    assert found["instances/b.yaml"] == found["instances/d.yaml"] == "INSTANCES/_REAL/C.YAML"


def test_a_link_to_a_link_that_leaves_is_refused() -> None:
    found = listed("instances/a.yaml", links={"instances/b.yaml": "_c", "instances/_c": "/a.yaml"})
    assert found["instances/b.yaml"] == "is a link to _c, which leads nowhere"


def test_a_linked_folder_is_walked_under_the_name_of_the_link() -> None:
    links = {"instances/majors": "_real", "instances/_real/e.yaml": "../_real/c.yaml", "instances/gone": "nowhere"}
    assert listed("instances/_real/c.yaml", links=links) == {
        "instances/majors/c.yaml": "INSTANCES/_REAL/C.YAML",
        "instances/majors/e.yaml": "INSTANCES/_REAL/C.YAML",
    }


def test_a_link_back_to_a_folder_around_it_is_refused() -> None:
    found = listed("instances/desk/a.yaml", links={"instances/desk/loop": ".."})
    assert found["instances/desk/loop"] == "could not be read: a link leads back to a folder around it"


def test_folders_are_entered_to_the_depth_that_holds_on_disk() -> None:
    deep = "/".join(f"d{n}" for n in range(31))
    assert f"instances/{deep}/a.yaml" in listed(f"instances/{deep}/a.yaml")
    assert listed(f"instances/{deep}/more/a.yaml") == {
        f"instances/{deep}/more": "is nested deeper than 32 folders",
    }
    assert len(listed(f"instances/{'/'.join(['d'] * 3_000)}/a.yaml")) == 1


def test_names_that_cannot_be_printed_are_refused_and_escaped() -> None:
    found = listed("instances/\udcff.yaml", "instances/\udcfe/a.yaml")
    assert found == dict.fromkeys(("instances/\\udcff.yaml", "instances/\\udcfe"), "has a name that cannot be printed")


def test_a_folder_with_a_files_name_is_refused() -> None:
    assert listed("instances/a.yaml/b.yaml") == {"instances/a.yaml": "expected a file, was a folder"}


def test_submodules_hold_nothing() -> None:
    listing = Listing(Tree(submodules=frozenset({"instances/desk", "instances/_set_aside", "strategies"})), {})
    assert list(listing) == []


def test_instances_that_are_no_folder_are_lost() -> None:
    assert listed("instances") == {"instances": "expected a folder, was a file"}
    assert listed(links={"instances": "elsewhere"}) == {"instances": "is a link; expected a folder"}
    assert list(Listing(Tree(), {})) == []


def test_listed_twice_is_the_same() -> None:
    listing = Listing(Tree({"instances/a.yaml": "1"}), {})
    assert list(listing) == list(listing) == [ListedFile("instances/a.yaml", "1")]
